"""Programs on top of metarl: the demo, benchmarks, reproductions. Not part of the wheel."""
