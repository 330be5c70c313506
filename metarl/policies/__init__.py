"""What acts: policies as pure functions of named parameters."""
