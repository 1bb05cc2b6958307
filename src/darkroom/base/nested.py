"""Nested mappings, such as params.yaml, as flat ones with dotted keys."""

from collections.abc import Iterator, Mapping
from typing import Any


def flatten(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of every leaf, in order; an empty mapping and a list are leaves.

    Parameters
    ----------
    value
        A mapping of mappings, or a leaf.
    key
        Key of `value` itself, which the yielded keys begin with.
    """
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from flatten(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value
