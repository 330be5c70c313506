"""Measurement: adaptation curves on held-out tasks, with controls and intervals."""
