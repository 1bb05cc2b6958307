"""`./darkroom find model`: which network, trained in which way, suits the images, tried within stated minutes."""
