"""Mappings in YAML, read block by block: a hundred versions of params.yaml differ in a few lines, and only those are parsed anew.

To parse a params.yaml as a whole takes 40 ms, a block that was read before nothing.
"""

import re
from functools import cache
from typing import Any

from darkroom.base.yaml_file import parse_yaml

# A key that is not indented, or by two spaces. Other lines belong to the block before them.
BLOCK = re.compile(r"^(?:  )?[^\s#\-\]})]", re.MULTILINE)
COMMENTS = re.compile(r"(?:[ \t]*(?:#.*)?\n)*(?:[ \t]*(?:#.*)?)")
MAX_CHARACTERS = 1_000_000


def read_mapping(text: str) -> dict[str, Any]:
    """Return the content of a YAML file of sections; nobody may change it.

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
    if not COMMENTS.fullmatch(text[: starts[0]] if starts else text):
        raise ValueError("begins with something else than a key")
    content: dict[str, Any] = {}
    section: dict[str, Any] | None = None
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        block = _parsed(text[start:end])
        goal = section if text[start] == " " else content
        if not isinstance(block, dict) or len(block) != 1 or goal is None:
            raise ValueError("is no mapping of one key")
        key, value = next(iter(block.items()))
        if key in goal:
            raise ValueError(f"has {key} twice")
        if goal is content:
            # The keys of a section follow as blocks of their own, unless it has other values already.
            section = {} if value is None else None
            value = section if value is None else value
        goal[key] = value
    return content


@cache
def _parsed(text: str) -> Any:
    try:
        return parse_yaml(text)
    except Exception as error:  # of ruamel, on any text
        raise ValueError("is not YAML") from error
