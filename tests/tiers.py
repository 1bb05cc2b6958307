"""Which of the tests marked thorough CI runs."""

from collections import Counter
from collections.abc import Hashable, Iterable

SHARES = 20


def in_share(files: Iterable[Hashable], share: int) -> list[bool]:
    """Return for each test, given its file, whether it belongs to a share, a twentieth: each has its part of the tests of every file.

    The first test of each file is in another share than that of the file before.
    """
    seen: Counter[Hashable] = Counter()
    chosen = []
    for file in files:
        first = list(seen).index(file) if file in seen else len(seen)
        chosen.append((first + seen[file]) % SHARES == share)
        seen[file] += 1
    return chosen
