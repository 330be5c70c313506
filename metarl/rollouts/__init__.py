"""Collection of episodes of many tasks at once, and their advantages."""
