"""What Arrow reads in memory is not a Python object, which its threads could let go of too late."""

import sys

import pyarrow as pa
import pytest

from darkroom.data.tables import reader_of


@pytest.mark.parametrize("make", [reader_of, pa.BufferReader])
def test_the_bytes_are_not_held(make: type[pa.BufferReader]) -> None:
    content = bytes(bytearray(range(256)))
    before = sys.getrefcount(content)
    reader = make(content)
    # Arrow's own reader, which does hold them, shows that the count tells.
    assert (sys.getrefcount(content) == before) == (make is reader_of)
    assert reader.read() == content
