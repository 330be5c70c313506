"""What `metarl check` tries on a family before anyone trains on it."""
