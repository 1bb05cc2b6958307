"""What other revisions recorded: for `python src/compare.py`, and for `train.init_from`, whose hash is part of the result."""
