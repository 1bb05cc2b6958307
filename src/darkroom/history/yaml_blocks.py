"""Mappings in YAML, read block by block: a hundred versions of params.yaml differ in a few lines, and only those are parsed anew.

To parse a params.yaml as a whole takes 40 ms, a block that was read before nothing.
"""

import re
from functools import cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent

# A key that is not indented, or by two spaces. Other lines belong to the block before them.
BLOCK = re.compile(r"^(?:  )?[^\s#\-\]})]", re.MULTILINE)
MAX_CHARACTERS = 1_000_000


def read_mapping(text: str) -> dict[str, Any]:
    """Return the content of a YAML file of sections.

    Raises
    ------
    ValueError
        If it is no mapping, or damaged.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError("is too large")
    try:
        return _by_blocks(text)
    except ValueError:  # another layout, such as a list over several lines, or damage
        content = _parsed(text)
    if not isinstance(content, dict):
        raise ValueError("is not a mapping")
    return content


def _by_blocks(text: str) -> dict[str, Any]:
    starts = [match.start() for match in BLOCK.finditer(text)]
    content: dict[str, Any] = {}
    place = content
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        is_section = text[start] != " "
        block = _parsed(text[start:end])
        if not isinstance(block, dict) or len(block) != 1:
            raise ValueError("is no mapping of one key")
        (key, value), goal = next(iter(block.items())), content if is_section else place
        if key in goal:
            raise ValueError(f"has {key} twice")
        if is_section:
            place = content[key] = {} if value is None else value
        elif isinstance(place, dict):
            place[key] = value
    return content


@cache
def _parsed(text: str) -> Any:
    try:
        return _yaml().load(text)
    except Exception as error:  # of ruamel, on any text
        raise ValueError("is not YAML") from error
