"""The metrics of training and evaluation."""
