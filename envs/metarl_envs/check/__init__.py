"""Checks of a task family before training, run by `metarl check`."""
