"""Predictions without end: inputs of every kind, read while the network computes, results in parts that survive a kill."""
