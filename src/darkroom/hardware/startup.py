"""What a training does first: keep freed memory, and import torchmetrics without its optional dependencies.

Lightning imports torchmetrics, which imports its metrics for every package that is installed: for audio, text and generated
images, with scipy.signal and transformers. That takes half of Lightning's import, and classification needs none. A plug-in
can use `torchmetrics.classification`, but not the metrics that need these packages.
"""

import re
from typing import Any

from lightning_utilities.core import imports

from darkroom.hardware.memory import keep_freed_memory

# torchmetrics sees only these packages; plotting a metric needs matplotlib.
USED = ("torch", "torchmetrics", "matplotlib")


def prepare() -> None:
    """Do both; call this before anything imports Lightning."""
    keep_freed_memory()
    import_torchmetrics()


def import_torchmetrics() -> None:
    """Import torchmetrics while it sees few packages; afterwards it sees all that are installed."""
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
