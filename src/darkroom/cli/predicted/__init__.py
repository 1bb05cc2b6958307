"""What ./darkroom predict does beside the classes of images."""
