"""Values, names and functions from outside, turned into plain ones or refused."""
