"""Reading and checking params.yaml: YAML 1.2, checked as a whole, each mistake explained on one line."""

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from darkroom.base import renamed
from darkroom.base.errors import InputError, listed, nearest, warn
from darkroom.base.params import PATTERNS, Params
from darkroom.base.params_checks import check_combinations
from darkroom.base.secrets import refuse_secrets
from darkroom.base.yaml_file import read_yaml

# The beginning of a message that already names its key.
NAMES_KEY = re.compile(r"[A-Za-z_]\w*(\.\w+)+:")


def load_params(path: Path) -> Params:
    """Read and check params.yaml as a whole.

    Raises
    ------
    InputError
        Naming the file and the key or line, and for an unknown key the new name or the nearest known one.
    """
    return check_params(read_yaml(path), _shown_file(path))


def load_sections(path: Path, *needed: str) -> Params:
    """Read params.yaml for a command that needs some sections; a mistake in another one is an error only where it is used.

    Raises
    ------
    InputError
        As `load_params`, for a mistake in one of these sections.
    """
    content, name = read_yaml(path), _shown_file(path)
    try:
        return check_params(content, name)
    except InputError as error:
        place = str(error).removeprefix(f"{name}: ").partition(":")[0].partition(".")[0]
        valid = _valid_sections(content) if isinstance(content, dict) else {}
        if place in needed or not all(section in valid for section in needed) or not _names_section(place, content):
            raise
        warn(f"{error}; this command does not need it")
        # A mistake in how sections go together is counted as one of the section that is named.
        params = _Sections.model_construct(None, **{each: valid[each] for each in valid if each != place})
        params._fault = str(error)
        return params


def _shown_file(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _names_section(place: str, content: dict[str, Any]) -> bool:
    """Return whether a message is about a section, not about the file as a whole."""
    return place in Params.model_fields or place in content


def _valid_sections(content: dict[str, Any]) -> dict[str, Any]:
    """Return the sections without a mistake in themselves."""
    valid = {}
    for section, field in Params.model_fields.items():
        kind = field.annotation
        assert isinstance(kind, type)
        assert issubclass(kind, BaseModel)
        try:
            valid[section] = kind.model_validate(content.get(section))
        except (ValidationError, UnicodeEncodeError):  # half a surrogate pair, which no message can show
            continue
    return valid


class _Sections(Params):
    """Those sections of params.yaml that have no mistake; using another one is an error that says what is wrong with it."""

    _fault: str = ""

    def __getattr__(self, name: str) -> Any:
        if name in Params.model_fields:
            raise InputError(self._fault)
        return super().__getattr__(name)  # type: ignore[misc]


def check_params(content: Any, name: str = "params.yaml") -> Params:
    """Check the content of a params.yaml that was read; `name` is the file in error messages.

    An old name under `_target_` is understood, with one warning; an old key is an error.
    """
    if not isinstance(content, dict):
        raise InputError(f"{name}: is not a mapping of sections; restore it with 'git checkout HEAD -- params.yaml'")
    _refuse_old_keys(content, name)
    refuse_secrets(content, name)
    try:
        params = Params.model_validate(content)
        json.dumps(params.model_dump(by_alias=True), ensure_ascii=False).encode()
    except ValidationError as error:
        raise InputError(f"{name}: {_explain(error.errors(include_url=False), content)}") from None
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: contains {error.object[error.start]!a}, half a character; remove it") from None
    except ValueError:  # Python refuses to write a number of more than 4300 digits, but reads one in hexadecimal
        raise InputError(f"{name}: contains a number of thousands of digits; lower it") from None
    try:
        check_combinations(params)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
    for key, old in renamed.old_targets(content):
        _warn_of_old_target(name, key, old)
    return params


def _refuse_old_keys(content: dict[str, Any], name: str) -> None:
    """Refuse the keys of earlier versions, all at once."""
    old = [key for key in renamed.KEYS if _has(content, key)]
    if old:
        are, them = ("is", "it") if len(old) == 1 else ("are", "them")
        new = ", ".join(renamed.KEYS[key] for key in old)
        raise InputError(f"{name}: {', '.join(old)}: {are} now called {new}; rename {them}")


def _has(content: Any, key: str) -> bool:
    for part in key.split("."):
        if not (isinstance(content, dict) and part in content):
            return False
        content = content[part]
    return True


@cache  # once per command: a search checks its parameters many times
def _warn_of_old_target(name: str, key: str, old: str) -> None:
    warn(f"{name}: {key}: {old} is now called {renamed.current_target(old)}; rename it")


def _explain(details: list[ErrorDetails], content: Any) -> str:
    """Return one line on the first mistake, with the number of further ones."""
    # A misspelt key gives an unknown and a missing key: the unknown one comes first.
    details = sorted(details, key=lambda detail: detail["type"] != "extra_forbidden")
    locations = [_location(detail, content) for detail in details]
    # A field that can have several types gives one error for each of them.
    alternatives = [detail for detail, location in zip(details, locations, strict=True) if location == locations[0]]
    key = ".".join(str(part) for part in locations[0])
    others = len({tuple(location) for location in locations}) - 1
    more = f" (and {others} more)" if others else ""
    match details[0]["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key; {_nearest_key(locations[0])}{more}"
        case "missing":
            return f"{key}: is missing; add it (docs/parameters.md lists its allowed values){more}"
        case "value_error":
            message = str(details[0]["ctx"]["error"])
            return (message if NAMES_KEY.match(message) else f"{key}: {message}") + more
        case _:
            shown = _shown(details[-1]["input"])
            allowed = " or ".join(_allowed(detail) for detail in alternatives)
            return f"{key}: is {shown if len(shown) <= 80 else shown[:77] + '...'}, but should be {allowed}{more}"


def _shown(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):  # keys that are not text, a number of thousands of digits
        return {"dict": "a mapping", "list": "a list"}.get(type(value).__name__, "a number of thousands of digits")


def _allowed(detail: ErrorDetails) -> str:
    if detail["type"] == "string_pattern_mismatch":
        return PATTERNS[detail["ctx"]["pattern"]]
    if detail["type"] in ("model_type", "dict_type"):
        return "a mapping"
    return detail["msg"].removeprefix("Input ").removeprefix("should be ")


def _location(detail: ErrorDetails, content: Any) -> list[str | int]:
    """Return the keys of an error, without pydantic's names for the members of a union, which are not in the file."""
    keys: list[str | int] = []
    for part in detail["loc"]:
        if isinstance(part, int) or (isinstance(content, dict) and part in content):
            keys.append(part)
            content = content[part]
    return [*keys, detail["loc"][-1]] if detail["type"] == "missing" else keys


def _nearest_key(location: list[str | int]) -> str:
    section: type[BaseModel] = Params
    for part in location[:-1]:
        if part not in section.model_fields:  # a key of a mapping of sections, or an index into a list of them
            continue
        members: list[Any] = [section.model_fields[str(part)].annotation]
        while members and not (isinstance(members[0], type) and issubclass(members[0], BaseModel)):
            members = [*getattr(members[0], "__args__", ()), *members[1:]]
        section = members[0]
    return nearest(str(location[-1]), section.model_fields, f"known keys here: {listed(section.model_fields)}")
