"""Campaigns of faults: processes, disks and files in trouble, inputs that nobody would write."""
