"""Families as Gymnasium environments, single and vector."""
