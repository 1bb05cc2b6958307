"""Importing torchmetrics, on its own or for Lightning, without the packages that classification needs none of."""

import re
from typing import Any

from lightning_utilities.core import imports

from darkroom.hardware.imports import Later, without_collecting

# torchmetrics sees only these packages.
USED = ("torch", "torchmetrics")


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
        with without_collecting():  # torch first of all
            from torchmetrics.utilities import plot
    finally:
        known.RequirementCache.__bool__, known.package_available = is_met, is_there
    drawing: Any = plot
    if not hasattr(drawing, "plt"):
        drawing.matplotlib, drawing.plt = Later("matplotlib"), Later("matplotlib.pyplot")
