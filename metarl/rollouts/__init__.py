"""What is collected: episodes of many tasks at once, and their advantages."""
