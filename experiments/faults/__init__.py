"""Campaigns of faults: what a killed process, a full disk or a clock costs a user of `metarl`."""
