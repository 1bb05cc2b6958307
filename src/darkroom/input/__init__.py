"""From packed images to batches: datasets, samplers, loaders and augmentation."""
