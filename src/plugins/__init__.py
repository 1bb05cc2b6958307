"""Your own sources, networks, losses, transforms, loggers: see README.md."""
