"""Training from Python: `from darkroom.api import train`; docs/api.md shows it."""

from darkroom.api.training import TrainedModel, train
from darkroom.sources.own.datasets import LabelledImages

__all__ = ["LabelledImages", "TrainedModel", "train"]
