"""Features of images by a pretrained network, and what can be read from them: classes, neighbours. For commands alone."""
