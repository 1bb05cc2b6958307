"""Which images train, validate and test: everything that the split stage alone needs."""
