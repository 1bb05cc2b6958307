"""Tables that stand in memory, for Arrow to read."""

import pyarrow as pa


def reader_of(content: bytes) -> pa.BufferReader:
    """Return a reader of a copy of some bytes.

    A thread of Arrow may hold what it read a moment longer. If that is a Python object and the process ends meanwhile, as it
    does after a mistake, the process is aborted instead of returning its exit status.
    """
    stream = pa.BufferOutputStream()
    stream.write(content)
    return pa.BufferReader(stream.getvalue())
