"""What DVC removed before a stage that failed, and how to bring it back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from darkroom.base import paths
from darkroom.base.errors import InputError, RunError, listed
from darkroom.base.yaml_file import read_yaml


@contextmanager
def saying_what_is_lost() -> Iterator[None]:
    """Add to an error of a stage that DVC runs what it had written before, and the command that brings this back."""
    try:
        yield
    except (InputError, RunError) as error:
        stage = os.environ.get("DVC_STAGE")
        lost = _removed(stage) if stage and paths.in_workspace() else []
        if not lost:
            raise
        raise type(error)(f"{error} (DVC removed {listed(lost)} before; 'dvc checkout {stage}' brings it back)") from error


def _removed(stage: str) -> list[str]:
    """Return the outputs that dvc.lock records of a stage, DVC keeps in its cache, and are not there."""
    try:
        recorded = read_yaml(paths.ROOT / "dvc.lock")["stages"][stage]["outs"]
        places = [each["path"] for each in recorded]
        uncached = {name for each in _declared(stage) if isinstance(each, dict) for name in each}
        return [each for each in places if each not in uncached and not (paths.ROOT / each).exists()]
    except (InputError, OSError, KeyError, TypeError, IndexError):
        return []


def _declared(stage: str) -> list[object]:
    """Return outputs and metrics of a stage, those with options, such as `cache: false`, as mappings."""
    from darkroom.base.nested import OUTPUTS, read_stages

    found = read_stages(paths.PIPELINE).get(stage, {})
    return [each for kind in OUTPUTS for each in found.get(kind, [])]
