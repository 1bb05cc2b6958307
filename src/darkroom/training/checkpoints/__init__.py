"""States to resume from, and the weights of the best epochs."""
