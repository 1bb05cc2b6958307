"""What a model does not know: images of no class that was trained, and sets of classes in place of one. No torch."""
