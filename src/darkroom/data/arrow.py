"""pyarrow as a stage uses it: without pandas, which it would import to ask whether an array is one of pandas'."""

import functools
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Hidden:
    """Finds no pandas."""

    def find_spec(self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None) -> ModuleSpec | None:
        if name == "pandas":
            raise ImportError("pandas is not needed here")
        return None


@functools.cache
def leave_pandas_out() -> None:
    """Import pyarrow while it finds no pandas; it looks once, and `to_pandas` looks again.

    pandas takes 0.2 s of a core to import, in each of five stages, and none of them uses it. Code of plug-ins that imports pandas
    gets it, and pyarrow converts its columns as it converts any sequence.
    """
    if "pandas" in sys.modules:
        return
    hidden = _Hidden()
    sys.meta_path.insert(0, hidden)
    try:
        import pyarrow

        # Its Python part and its C++ part look at different times: for an array, and for strings.
        pyarrow.array([""])
    finally:
        sys.meta_path.remove(hidden)
