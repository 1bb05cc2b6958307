"""Training from Python: `from darkroom.api import train`; docs/api.md shows it."""

from darkroom.api.data import LabelledImages
from darkroom.api.training import TrainedModel, train

__all__ = ["LabelledImages", "TrainedModel", "train"]
