"""Facts of a MuJoCo model: names of its elements, muscles, outputs, its log."""
