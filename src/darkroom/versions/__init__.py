"""What other revisions recorded, for `python src/compare.py`; no stage imports it, so that no result depends on it."""
