"""One file per robot."""
