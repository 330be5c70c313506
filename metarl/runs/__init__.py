"""Files on disk: run folders, checkpoints, policies and metrics, written atomically."""
