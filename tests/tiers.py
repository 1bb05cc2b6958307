"""Which of the tests marked thorough CI runs."""

from collections import Counter
from collections.abc import Hashable, Iterable

FIFTHS = 5


def in_fifth(files: Iterable[Hashable], fifth: int) -> list[bool]:
    """Return for each test, given its file, whether it belongs to a fifth: each fifth has its share of the tests of every file.

    The first test of each file is in another fifth than that of the file before.
    """
    seen: Counter[Hashable] = Counter()
    chosen = []
    for file in files:
        first = list(seen).index(file) if file in seen else len(seen)
        chosen.append((first + seen[file]) % FIFTHS == fifth)
        seen[file] += 1
    return chosen
