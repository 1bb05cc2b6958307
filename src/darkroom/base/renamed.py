"""Names of earlier versions and what they are called now: keys of params.yaml, and what `_target_` names.

This is the only table of old names. A renamed key in params.yaml is an error that says the new name. An old `_target_` is
understood, so that experiments and models that were recorded earlier still work.
"""

from collections.abc import Iterator
from typing import Any

KEYS = {
    "evaluate.engine": "evaluate.backend",
    "evaluate.num_pictures": "evaluate.num_images",
    "hardware.hold_pictures": "hardware.cache_images",
    "predict.engine": "predict.backend",
}
# Modules that moved and whose classes params.yaml may name, or that a plug-in is likely to import.
MODULES = {
    "darkroom.data.pictures": "darkroom.data.images",
    "darkroom.data.randomness": "darkroom.data.rng",
    "darkroom.training.arrays": "darkroom.input.albumentations",
    "darkroom.training.augment": "darkroom.input.augment",
    "darkroom.training.averaging": "darkroom.objective.averaging",
    "darkroom.training.batches": "darkroom.input.dataset",
    "darkroom.training.huggingface": "darkroom.models.huggingface.network",
    "darkroom.training.loggers": "darkroom.training.observing.loggers",
    "darkroom.training.losses": "darkroom.objective.losses",
    "darkroom.training.networks": "darkroom.models.networks",
    "darkroom.training.schedules": "darkroom.objective.schedules",
    "darkroom.training.small_cnn": "darkroom.models.builtin.small_cnn",
    "darkroom.training.small_resnet": "darkroom.models.builtin.small_resnet",
    "darkroom.training.whitened_cnn": "darkroom.models.builtin.whitened_cnn",
}
# Names in these modules that changed as well, by their path in the new module.
NAMES = {
    "darkroom.input.augment.PictureAugmentation": "darkroom.input.augment.ImageAugmentation",
    "darkroom.models.networks.Normalized": "darkroom.models.preprocessing.Normalized",
    "darkroom.models.networks.Preprocessing": "darkroom.models.preprocessing.Preprocessing",
    "darkroom.training.observing.loggers.Beside": "darkroom.training.observing.resilient_logger.ResilientLogger",
}


def current_target(path: str) -> str:
    """Return today's import path of a class or function, which is `path` itself unless it moved."""
    module, _, name = path.rpartition(".")
    moved = f"{MODULES[module]}.{name}" if module in MODULES else path
    return NAMES.get(moved, moved)


def with_current_targets(value: Any) -> Any:
    """Return a value of params.yaml or model.json with today's names of classes, also inside mappings and lists.

    A `_target_` without arguments may be written as text alone, so all text is looked at.
    """
    if isinstance(value, dict):
        return {key: with_current_targets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_current_targets(item) for item in value]
    return current_target(value) if isinstance(value, str) else value


def old_targets(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted key and the text of everything in a value of params.yaml that names a class which moved."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from old_targets(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from old_targets(item, f"{key}.{place}")
    elif isinstance(value, str) and current_target(value) != value:
        yield key, value


def with_current_names(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of an earlier params.yaml with today's keys and targets."""
    current: dict[str, Any] = with_current_targets(content)
    for old, new in KEYS.items():
        section, _, key = old.partition(".")
        values = current.get(section)
        if isinstance(values, dict) and key in values:
            values[new.partition(".")[2]] = values.pop(key)
    return current
