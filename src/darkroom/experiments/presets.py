"""Presets: overlays of params.yaml in conf/, turned into the `-S` arguments of `dvc exp run`.

A preset's value of `section.key` replaces the whole value in params.yaml, also where both are mappings.
"""

import copy
import math
import re
from pathlib import Path
from typing import Any

from darkroom.base.errors import InputError, listed, nearest, warn
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml

KEY = re.compile(r"[A-Za-z0-9_./-]+")
PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*|[a-z0-9]+://[A-Za-z0-9_./-]+")
WORDS_WITH_MEANING = ("null", "true", "false", "nan", "inf")


def preset_names(folder: Path) -> list[str]:
    """Return the names of all presets, such as `cifar10` and `model/vit_tiny`."""
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def summary(folder: Path, name: str) -> str:
    """Return the first line of a preset's opening comment, its title."""
    return (folder / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def read_preset(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    """Read one preset, by its name in the folder or by the path of a .yaml file.

    Raises
    ------
    InputError
        If there is none of that name, with the nearest one, or if it is not a mapping of sections.
    """
    path, shown = folder / f"{name}.yaml", shown_preset(name)
    known = preset_names(folder)
    if is_path(name):
        path = Path(name).expanduser()
        if not path.is_file():
            raise InputError(f"{shown}: there is no such file; correct the path")
    elif name not in known:
        hint = nearest(name, known, f"there are {listed(known)}")
        raise InputError(f"{shown}: there is no such preset; {hint}")
    overlay = read_yaml(path)
    if not isinstance(overlay, dict) or not all(isinstance(section, dict) for section in overlay.values()):
        raise InputError(f"{shown}: is not a mapping of sections; write it like params.yaml")
    return overlay


def is_path(name: str) -> bool:
    """Return whether a preset is named by the path of a file."""
    return name.endswith((".yaml", ".yml"))


def shown_preset(name: str) -> str:
    """Return a preset's file for messages."""
    return name if is_path(name) else f"conf/{name}.yaml"


def overlaid(content: dict[str, Any], overlay: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the content of params.yaml with the values of a preset."""
    result = copy.deepcopy(content)
    for section, values in overlay.items():
        result.setdefault(section, {}).update(copy.deepcopy(values))
    return result


def set_arguments(content: dict[str, Any], overlays: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Return the arguments of `dvc exp run` for presets by name; of several, later ones win.

    No argument contains white space or characters that a shell would change, so `$(…)` passes them on unchanged.

    Raises
    ------
    InputError
        If params.yaml would not be valid because of the presets.
    """
    fault = _fault(content, "")
    if fault:
        if not isinstance(content, dict) or not all(isinstance(section, dict) for section in content.values()):
            raise InputError(f"params.yaml{fault}")
        warn(f"params.yaml{fault}")
    before = content
    merged: dict[str, dict[str, Any]] = {}
    for name, overlay in overlays.items():
        content = overlaid(content, overlay)
        found = _fault(content, "")
        if found and found != fault:  # one that was there before is params.yaml's; the stage check refuses it
            raise InputError(f"{shown_preset(name)}{found}")
        merged = overlaid(merged, overlay)
    words = []
    for section, values in merged.items():
        for key, value in values.items():
            # `-S key={…}` would be merged into the old mapping, so that is removed first (docs/decisions/0004); null cannot be.
            whole = isinstance(value, dict | list) and before.get(section, {}).get(key) is not None
            words += ["-S", f"~{section}.{key}", "-S", f"+{section}.{key}={_word(value)}"] if whole else []
            words += [] if whole else ["-S", f"{section}.{key}={_word(value)}"]
    return words


def _fault(content: dict[str, Any], name: str) -> str | None:
    """Return what is wrong with the content of params.yaml, as a message does after the name of the file."""
    try:
        check_params(content, name)
    except InputError as error:
        return str(error)
    return None


def _word(value: Any) -> str:
    """Return a value in Hydra's grammar, which `-S` uses: https://hydra.cc/docs/advanced/override_grammar/basic/."""
    if isinstance(value, dict):
        for key in value:
            if not KEY.fullmatch(str(key)):
                raise InputError(f"conf: the key {key!r} cannot be passed through a shell; set it in params.yaml")
        return "{" + ",".join(f"{key}:{_word(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_word(item) for item in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        assert isinstance(value, int) or math.isfinite(value)
        return repr(value)
    if re.search(r"[\s'\"\\$`*?]", value):
        raise InputError(f"conf: the text {value!r} cannot be passed through a shell; set it in params.yaml")
    return override_text(value)


def override_text(value: str) -> str:
    """Return text in Hydra's grammar, for a shell still to be quoted."""
    is_plain = PLAIN.fullmatch(value) and value.lower() not in WORDS_WITH_MEANING
    return value if is_plain else "'" + value.replace("'", r"\'") + "'"
