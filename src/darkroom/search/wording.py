"""How trials and their settings are called."""

import json
from typing import Any

from darkroom.search.space import Settings


def experiment_name(study: str, number: int) -> str:
    """Return what the experiment of a trial is called."""
    return f"{study}-{number:04d}"


def described(settings: Settings) -> str:
    """Return settings on one line."""
    return "  ".join(f"{key}={shown(value)}" for key, value in settings.items())


def shown(value: Any) -> str:
    """Return a value as people write it."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
