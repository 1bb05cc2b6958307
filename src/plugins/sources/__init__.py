"""Sources of images of your own: see README.md."""
