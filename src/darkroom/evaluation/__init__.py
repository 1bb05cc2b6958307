"""The stage evaluate: a published model on the images of the split, and what is written of it for people."""
