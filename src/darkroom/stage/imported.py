"""Which files of code can have had an effect on this process: modules that were imported, and what these may have read."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from darkroom.base import paths


def may_have_been_read(name: str) -> bool:
    """Return whether an input of a stage counts, by its name in `read_inputs`: all do but code that nothing has imported.

    A module counts if it was imported, or if an imported one names it: a worker, which is another process, may have imported it.
    Any other file beside modules, such as a table of a plug-in, counts as soon as one of them was imported.
    """
    place = PurePosixPath(name)
    if place.parts[0] != "src" or len(place.parts) == 2:  # parameters, data, the script itself
        return True
    if place.suffix != ".py":
        return any(module.startswith(f"{place.parts[1]}.") for module in sys.modules)
    module = place.relative_to("src").with_suffix("")
    module = module.parent if module.stem == "__init__" else module
    is_named = re.compile(rf"\b{re.escape(module.name)}\b").search
    return ".".join(module.parts) in sys.modules or any(is_named(source) for source in _imported_sources())


def _imported_sources() -> Iterator[str]:
    """Yield the text of all modules below src that this process has imported."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and Path(file).is_relative_to(paths.ROOT / "src") and Path(file).is_file():
            yield Path(file).read_text(encoding="utf-8")
