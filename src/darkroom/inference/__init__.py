"""From a published model to predictions."""
