"""What a person asks for on the command line: params.yaml with presets of conf/ and `-S` settings laid over it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from darkroom.errors import InputError, one_line
from darkroom.params import Params
from darkroom.params_file import check_params, read_yaml
from darkroom.presets import overlaid, read_preset
from darkroom.search.writing import write_params


def read_request(path: Path, presets: Path, names: Sequence[str], settings: Sequence[str]) -> tuple[dict[str, Any], Params]:
    """Return the content of params.yaml as asked for, and the same checked.

    Parameters
    ----------
    path
        params.yaml.
    presets
        The folder conf.
    names
        Of presets; later ones win.
    settings
        `key=value` as behind `-S` of `dvc exp run`; they win over presets.

    Raises
    ------
    InputError
        If a preset is unknown, or the result is not valid.
    """
    content = read_yaml(path)
    check_params(content)
    for name in names:
        content = overlaid(content, read_preset(presets, name))
        check_params(content, f"conf/{name}.yaml")
    if settings:
        content = _overridden(path, content, settings)
    return content, check_params(content)


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
            raise InputError(f"-S: DVC does not take it ({one_line(error)[:200]}); write it as for 'dvc exp run'") from None
        found: dict[str, Any] = read_yaml(copy)
        return found
