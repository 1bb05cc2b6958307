"""The stage predict: which images, and the tables of what a model says of them."""
