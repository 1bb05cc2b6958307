"""Callbacks that end a training early, and those of `train.callbacks`."""
