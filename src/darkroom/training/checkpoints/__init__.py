"""What a training keeps: states to resume from, and the weights of its best epochs."""
