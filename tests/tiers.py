"""Which of the tests marked thorough CI runs."""

from collections import Counter
from collections.abc import Hashable, Iterable

TENTHS = 10


def in_tenth(files: Iterable[Hashable], tenth: int) -> list[bool]:
    """Return for each test, given its file, whether it belongs to a tenth: each tenth has its share of the tests of every file.

    The first test of each file is in another tenth than that of the file before.
    """
    seen: Counter[Hashable] = Counter()
    chosen = []
    for file in files:
        first = list(seen).index(file) if file in seen else len(seen)
        chosen.append((first + seen[file]) % TENTHS == tenth)
        seen[file] += 1
    return chosen
