"""Pictures of worlds: the studio, its floor, and maps of robots without a model."""
