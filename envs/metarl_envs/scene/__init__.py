"""The camera, and markers of goals."""
