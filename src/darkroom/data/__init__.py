"""Images, labels and splits as the stages read them from data/raw and data/split; no module imports torch."""
