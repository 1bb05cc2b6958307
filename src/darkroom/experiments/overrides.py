"""params.yaml with the presets of conf/ and the `-S` settings of a command line applied to it."""

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darkroom.base import paths, renamed
from darkroom.base.errors import InputError, one_line
from darkroom.base.params import Params
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.experiments.presets import overlaid, read_preset, shown_preset
from darkroom.experiments.yaml_edits import write_params
from darkroom.repository.origins import revisions_in, with_commit

Settings = dict[str, Any]
"""Values by dotted key, in the order in which they are set: `train.optimizer` before `train.optimizer.momentum`."""
# Sections of params.yaml that download, split and train depend on.
SECTIONS = ("base", "download", "split", "train")


def read_request(path: Path, presets: Path, names: Sequence[str], settings: Sequence[str]) -> tuple[dict[str, Any], Params]:
    """Return the content of params.yaml with presets and settings applied, as plain mappings and checked.

    Trainings that it names, such as in `train.init_from`, are named by their commits, so that all runs mean the same.

    Parameters
    ----------
    path
        params.yaml.
    presets
        The folder conf/.
    names
        Names or paths of presets; later ones win.
    settings
        `key=value`, as after `-S` of `dvc exp run`; they win over presets.

    Raises
    ------
    InputError
        If a preset is unknown, a setting cannot be parsed, or the result is not valid.
    """
    content = read_yaml(path)
    check_params(content)
    for name in names:
        content = overlaid(content, read_preset(presets, name))
        check_params(content, shown_preset(name))
    if settings:
        _refuse_old_keys(settings)
        content = _overridden(path, content, settings)
    params = check_params(content)
    for key, name in revisions_in(params.train).items():
        if (fixed := with_commit(paths.main_repository(), name)) not in (None, name):
            content = with_settings(content, {key: fixed})
    return content, check_params(content)


def _refuse_old_keys(settings: Sequence[str]) -> None:
    for setting in settings:
        key = setting.partition("=")[0].lstrip("+~")
        if key in renamed.KEYS:
            raise InputError(f"-S {key}: is now called {renamed.KEYS[key]}; rename it")


def with_settings(content: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the content of a params.yaml with values set by dotted keys.

    Raises
    ------
    InputError
        If a key goes through a value that is not a mapping.
    """
    result = copy.deepcopy(content)
    for key, value in settings.items():
        *sections, last = key.split(".")
        place = result
        for section in sections:
            place = place.setdefault(section, {}) if isinstance(place, dict) else place
            if not isinstance(place, dict):
                raise InputError(
                    f"params.yaml: tune.search_space.{key}: {section} is not a mapping here; correct the key, or add a 'when'"
                )
        place[last] = copy.deepcopy(value)
    return result


def _overridden(path: Path, content: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    # DVC takes most of a second; without settings nobody waits for it.
    from dvc.utils.hydra import apply_overrides

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "params.yaml")
        copy.write_bytes(path.read_bytes())
        write_params(copy, content)
        try:
            apply_overrides(copy, list(settings))
        except Exception as error:  # of DVC, Hydra or OmegaConf
            reason = one_line(str(error.__cause__ or error).partition("\n")[0])[:200]
            raise InputError(f"-S: DVC cannot parse it ({reason}); write it as for 'dvc exp run'") from None
        found: dict[str, Any] = read_yaml(copy)
        return found
