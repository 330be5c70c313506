"""The shipped task families, one file per robot."""
