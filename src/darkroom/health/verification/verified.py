"""What a comparison of `./darkroom verify` finds."""

from typing import Literal, NamedTuple

Mark = Literal["ok", "note", "FAIL"]
OK: Mark = "ok"
NOTE: Mark = "note"
FAIL: Mark = "FAIL"


class Finding(NamedTuple):
    """The result of one comparison."""

    mark: Mark
    """`note`: it differs, and may: no number is false because of it."""
    what: str
    """A path."""
    text: str
    """The result, and if it is not right how to restore the file."""
