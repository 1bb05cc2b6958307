"""What explains a prediction on the page: heat, and the nearest training images. H by W pixels, C channels, D features."""

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from darkroom.base.errors import InputError
from darkroom.data.images import ImageArray
from darkroom.data.labels import names
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.explanation.features import picture_of
from darkroom.explanation.mistakes import NONE, heat_or_warning
from darkroom.explanation.overlay import Picture, image_and_overlay, png
from darkroom.features.backbone import backbone_of
from darkroom.features.extract import pack_features
from darkroom.features.neighbours import nearest
from darkroom.hardware.devices import use_threads
from darkroom.models.model_json import data_hashes
from darkroom.serving.served import Served

SIDE = 256  # pixels of the heat on the page
NEAR_SIDE = 128

Near = Callable[[torch.Tensor], list[dict[str, Any]]]
"""From an image (1, C, H, W) to the nearest training images."""


class Explaining:
    """Explains single images for a model, in the thread that computes.

    Parameters
    ----------
    served
        The model.
    near
        Finds the nearest training images; None: they are not here.
    """

    def __init__(self, served: Served, near: Near | None = None):
        self.served, self.near = served, near
        self._has_heat = True
        # The layer is looked for now: where there is none that takes seconds, and is said once.
        self(served.noise(1)[0], 0)

    def __call__(self, image: ImageArray, label: int) -> dict[str, Any]:
        """Return what speaks for a class, given by its label, in an image (H, W, C) as `Served.read` makes it."""
        use_threads(self.served.threads)
        batch = torch.from_numpy(image[None]).permute(0, 3, 1, 2)
        heat = None
        if self._has_heat:
            heat = heat_or_warning(self.served.predictor, batch, np.array([label]))
            self._has_heat = heat is not None
        seen, drawn = image_and_overlay(picture_of(batch[0]), None if heat is None else heat[0], SIDE)
        return {
            "model": self.served.identity,
            "explained": self.served.classes[label],
            "image": data_url(seen),
            "heat": None if drawn is None else data_url(drawn),
            "nearest": self.near(batch) if self.near else [],
        }


def make_near(served: Served, pack: Pack, split: Split, count: int) -> Near:
    """Return what finds the nearest of the images that a model was trained on; their features are computed once, and kept.

    Raises
    ------
    InputError
        If the model was trained on other data, or its network has no last layer of its own.
    """
    if not served.predictor.model.card.data_sha256:
        raise InputError(f"{served.name}: does not say which images it was trained on; name a model that train has published")
    served.predictor.model.check_data(data_hashes(pack.directory, split))
    rows = split.rows["train"]
    backbone = backbone_of(served.predictor)
    features = pack_features(backbone, pack, rows)

    def near(batch: torch.Tensor) -> list[dict[str, Any]]:
        similarity, places = nearest(backbone.features(batch).numpy(), features, count)
        return [
            {
                "id": pack.ids[row],
                "class": names(pack.labels[row : row + 1], pack.classes)[0] or NONE,
                "similarity": value,
                "image": data_url(image_and_overlay(pack.shown(row), None, NEAR_SIDE)[0]),
            }
            for value, row in zip(similarity[0].tolist(), rows[places[0]].tolist(), strict=True)
        ]

    return near


def data_url(image: Picture) -> str:
    """Return an image as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png(image)).decode('ascii')}"
