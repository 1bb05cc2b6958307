"""Reading params.yaml: as YAML 1.2, checked as a whole, every mistake explained on one line."""

import copy
import difflib
import json
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent

from darkroom.errors import InputError
from darkroom.params import PATTERNS, Params

# What an error that names another key than its own begins with.
NAMES_KEY = re.compile(r"[A-Za-z_]\w*(\.\w+)+:")


def load_params(path: Path) -> Params:
    """Read and check params.yaml as a whole.

    Raises
    ------
    InputError
        Naming the file and the key or line, and for an unknown key the nearest known one.
    """
    name = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    return check_params(read_yaml(path), name)


class _NoAliases(Composer):
    """Refuses `*name`: a few of them can stand for gigabytes, or for a value that contains itself."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.parser.check_event(AliasEvent):
            event = self.parser.peek_event()
            raise MarkedYAMLError(
                problem=f"the alias *{event.anchor} stands for a value elsewhere", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)


@lru_cache(maxsize=4)
def _parsed(text: str) -> Any:
    """Return what a text stands for; a stage reads params.yaml and dvc.yaml several times, to see that they are as they were."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _NoAliases
    return yaml.load(text)


def read_yaml(path: Path) -> Any:
    """Read a YAML 1.2 file into plain dicts, lists and scalars; aliases are refused.

    PyYAML is not used: it reads `1e-3` as text, `on` as true and `010` as 8, while DVC writes YAML 1.2.
    """
    try:
        return copy.deepcopy(_parsed(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{path.name}: does not exist; restore it with 'git checkout -- {path.name}'") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name}: is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise InputError(f"{path.name}:{line}: {str(error.problem).split(' with value')[0]}; remove one of the two") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise InputError(f"{path.name}:{line}: is not YAML ({error.problem}); mend that line") from None
    # What ruamel itself stumbles over is no YAML that a person would write.
    except (YAMLError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path.name}: is not YAML ({type(error).__name__}: {error}); mend it") from None


def check_params(content: Any, name: str = "params.yaml") -> Params:
    """Check the content of a params.yaml that was read; `name` stands in front of every error."""
    if not isinstance(content, dict):
        raise InputError(f"{name}: holds no mapping; restore it with 'git checkout -- params.yaml'")
    try:
        params = Params.model_validate(content)
        json.dumps(params.model_dump(by_alias=True), ensure_ascii=False).encode()
    except ValidationError as error:
        raise InputError(f"{name}: {_explain(error.errors(include_url=False), content)}") from None
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: holds {error.object[error.start]!a}, half a character; remove it") from None
    # Python writes no number of more than 4300 digits, and reads one in hexadecimal.
    except ValueError:
        raise InputError(f"{name}: holds a number of thousands of digits; lower it") from None
    return params


def _explain(details: list[ErrorDetails], content: Any) -> str:
    """Say on one line what is wrong with the first key, and how many more there are."""
    # A misspelt key shows as one unknown and one missing key: the unknown one is the one to name.
    details = sorted(details, key=lambda detail: detail["type"] != "extra_forbidden")
    locations = [_location(detail, content) for detail in details]
    # A field that may be of several types gives one error for each of them.
    alternatives = [detail for detail, location in zip(details, locations, strict=True) if location == locations[0]]
    key = ".".join(str(part) for part in locations[0])
    others = len({tuple(location) for location in locations}) - 1
    more = f" (and {others} more)" if others else ""
    match details[0]["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key; {_nearest_key(locations[0])}{more}"
        case "missing":
            return f"{key}: is missing; add it (the README's table of parameters says what it may be){more}"
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
    except (TypeError, ValueError):  # keys that are no text, a number of thousands of digits
        return f"a {type(value).__name__}"


def _allowed(detail: ErrorDetails) -> str:
    if detail["type"] == "string_pattern_mismatch":
        return PATTERNS[detail["ctx"]["pattern"]]
    if detail["type"] in ("model_type", "dict_type"):
        return "a mapping"
    return detail["msg"].removeprefix("Input ").removeprefix("should be ")


def _location(detail: ErrorDetails, content: Any) -> list[str | int]:
    """Return the keys of an error; pydantic's own names for the members of a union are not in the file and left out."""
    keys: list[str | int] = []
    for part in detail["loc"]:
        if isinstance(part, int) or (isinstance(content, dict) and part in content):
            keys.append(part)
            content = content[part]
    return [*keys, detail["loc"][-1]] if detail["type"] == "missing" else keys


def _nearest_key(location: list[str | int]) -> str:
    section: type[BaseModel] = Params
    for part in location[:-1]:
        if part not in section.model_fields:  # the key of a mapping, or the place in a list, of sections
            continue
        members: list[Any] = [section.model_fields[str(part)].annotation]
        while members and not (isinstance(members[0], type) and issubclass(members[0], BaseModel)):
            members = [*getattr(members[0], "__args__", ()), *members[1:]]
        section = members[0]
    near = difflib.get_close_matches(str(location[-1]), section.model_fields, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"known keys here: {', '.join(section.model_fields)}"
