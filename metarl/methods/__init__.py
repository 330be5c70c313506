"""Named methods and baselines, with settings that work; what a family changes in them."""
