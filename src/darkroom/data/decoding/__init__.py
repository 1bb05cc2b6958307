"""From an image file to pixels: bounds, JPEG, orientation, and what Pillow's modes become."""
