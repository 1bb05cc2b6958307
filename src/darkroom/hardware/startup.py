"""What a process that trains does first: it keeps freed memory, and imports torchmetrics without what that brings along.

Lightning imports torchmetrics, and that imports what it has for every package that it finds installed: for sound, text and made
images, with scipy.signal and transformers, half of Lightning's import. Metrics of classes need none of them. A plug-in finds
`torchmetrics.classification` as it is, but not the metrics of these packages.
"""

import re
from typing import Any

from lightning_utilities.core import imports

from darkroom.hardware.memory import keep_freed_memory

# Whatever else is installed, torchmetrics is told that it is not; plotting a metric needs matplotlib.
USED = ("torch", "torchmetrics", "matplotlib")


def prepare() -> None:
    """Do both, before anything imports Lightning."""
    keep_freed_memory()
    import_torchmetrics()


def import_torchmetrics() -> None:
    """Import torchmetrics, to which few packages are installed meanwhile; what it asks later is answered as ever."""
    known: Any = imports
    is_met, is_there = known.RequirementCache.__bool__, known.package_available

    def is_met_and_used(self: Any) -> bool:
        name = re.match(r"[\w-]*", self.requirement or self.module or "")
        return name is not None and name[0] in USED and is_met(self)

    known.RequirementCache.__bool__ = is_met_and_used
    known.package_available = lambda name: name in USED and is_there(name)
    try:
        import torchmetrics  # noqa: F401
    finally:
        known.RequirementCache.__bool__, known.package_available = is_met, is_there
