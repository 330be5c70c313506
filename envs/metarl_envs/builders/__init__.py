"""Families from an MJCF file, a Gymnasium environment or a Python file."""
