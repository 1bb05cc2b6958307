"""Images from their source to the packed form of data/raw, and their split; nothing in here imports torch."""
