"""The networks that can be tried without a download: pretrained weights on this machine, else built-in ones from scratch.

No torch here: they are listed before anything is computed.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from darkroom.experiments.presets import override_text
from darkroom.models.timm.wheels import WHEELS, wheel_of

# Up to so many of the hub's cache are tried, the smallest ones.
MOST_CACHED = 6
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Backbone:
    """A network with pretrained weights.

    Attributes
    ----------
    name : str
        As the table shows it.
    settings : tuple of str
        What makes it the network of a preset of conf/ways, as after `-S`.
    num_bytes : int
        Size of its weights, by which those that are likely to be fast come first.
    origin : str
        Where the weights are.
    """

    name: str
    settings: tuple[str, ...]
    num_bytes: int
    origin: str


def find_backbones() -> list[Backbone]:
    """Return the networks whose pretrained weights are on this machine, those with the smallest files first."""
    installed = [_of_timm(name, wheel.file, "installed") for name, wheel in WHEELS.items() if wheel_of(name) and wheel.file]
    known = {each.name for each in installed}
    cached = [each for each in cached_networks(hub_cache()) if each.name.partition(".")[0] not in known]
    found = [*installed, *sorted(cached, key=lambda each: each.num_bytes)[:MOST_CACHED]]
    return sorted([*found, *_side_by_side(installed)], key=lambda each: each.num_bytes)


def hub_cache() -> Path:
    """Return the folder in which the Hugging Face hub keeps what timm has downloaded."""
    if chosen := os.environ.get("HF_HUB_CACHE"):
        return Path(chosen).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def cached_networks(folder: Path) -> list[Backbone]:
    """Return timm's networks in a cache of the hub, which has a folder `models--timm--NAME` of each, with its snapshots."""
    found = []
    for place in sorted(folder.glob("models--timm--*")):
        revision = _text(place / "refs" / "main")
        snapshot = place / "snapshots" / revision.strip() if revision else None
        weights = next((snapshot / each for each in WEIGHTS if (snapshot / each).is_file()), None) if snapshot else None
        if weights is not None and _classifies(weights.parent / "config.json"):
            found.append(_of_timm(place.name.removeprefix("models--timm--"), weights, "in the hub's cache"))
    return found


def _classifies(config: Path) -> bool:
    """Return whether timm's configuration, if there is one, is that of a network for images."""
    text = _text(config)
    try:
        return text is None or "architecture" in json.loads(text)
    except (ValueError, TypeError):
        return False


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _of_timm(name: str, weights: Path, origin: str) -> Backbone:
    return Backbone(name, (f"train.model.name={override_text(name)}",), weights.stat().st_size, origin)


def _side_by_side(installed: Sequence[Backbone]) -> list[Backbone]:
    """Return the smallest and the largest installed network side by side."""
    if len(installed) < 2:
        return []
    ranked = sorted(installed, key=lambda each: each.num_bytes)
    pair = [ranked[0], ranked[-1]]
    settings = (
        "train.model.provider=builtin",
        "train.model.name=side_by_side",
        f"+train.model.kwargs.networks=[{','.join(each.name for each in pair)}]",
        # As in conf/photos.yaml, for its reasons.
        "train.image_size=224",
        "evaluate.explained=0",
    )
    return [Backbone(" + ".join(each.name for each in pair), settings, sum(each.num_bytes for each in pair), "installed")]
