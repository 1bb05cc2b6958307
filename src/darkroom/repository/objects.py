"""Objects of Git, many at a time: one process reads all the files that a table of commits needs."""

from collections.abc import Sequence
from pathlib import Path

from darkroom.repository.git import WRITING_SECONDS, git


def read_objects(root: Path, names: Sequence[str]) -> list[str | None]:
    """Return the content of objects by their names; None for one that does not exist or is damaged.

    Parameters
    ----------
    root
        A folder of the repository.
    names
        `<commit>`, or `<commit>:<path from the top of the repository>`. Bytes that are no UTF-8 are surrogates, here and in the
        content.
    """
    found: list[str | None] = []
    while len(found) < len(names):
        asked = names[len(found) :]
        done = git(root, "cat-file", "--batch", given="".join(f"{name}\n" for name in asked), seconds=WRITING_SECONDS)
        # Git ends at an object that is damaged: it is left out, and the others are asked for again.
        found += [*_parsed(done.stdout, asked), None][: len(asked)]
    return found


def _parsed(output: str, names: Sequence[str]) -> list[str | None]:
    """Return the content of each object in the output of `git cat-file --batch`, as far as it goes."""
    data, place = output.encode("utf-8", "surrogateescape"), 0
    found: list[str | None] = []
    for _ in names:
        end = data.find(b"\n", place)
        header = data[place:end].rsplit(b" ", 2)
        place = end + 1
        if end < 0:
            break
        if len(header) < 3 or not header[-1].isdigit():
            found.append(None)
            continue
        size = int(header[-1])
        if len(data) <= place + size:
            break
        found.append(data[place : place + size].decode("utf-8", "surrogateescape"))
        place += size + 1
    return found
