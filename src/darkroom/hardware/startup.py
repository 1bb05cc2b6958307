"""What a training does first: keep freed memory, and import Lightning without what it never uses here.

Lightning imports torchmetrics, which imports its metrics for every package that is installed: for audio, text and generated
images, with scipy.signal and transformers. That takes half of Lightning's import, and classification needs none. A plug-in
can use `torchmetrics.classification`, but not the metrics that need these packages. matplotlib, which draws metrics, and pandas,
of which DVCLive takes tables, are imported when they are used, and torch's compiler when something is compiled.
"""

from typing import Any

from darkroom.base.environment import sleep_beside_another
from darkroom.hardware import compiler
from darkroom.hardware.imports import COMPILER, Later, class_of, without_collecting
from darkroom.hardware.memory import keep_freed_memory
from darkroom.hardware.metrics_import import import_torchmetrics

OPTIMIZED = class_of(COMPILER, "OptimizedModule")
# What modules of libraries get in place of a module that they import at their top: by both names.
IN_PLACE: dict[tuple[str, str], Any] = {
    ("lightning_fabric.wrappers", COMPILER): OPTIMIZED,
    ("pytorch_lightning.utilities.compile", COMPILER): OPTIMIZED,
    ("torch.utils.flop_counter", "triton.runtime.jit"): class_of("triton.runtime.jit", "JITFunction"),
    ("dvclive.utils", "pandas"): Later("pandas"),
}


def prepare() -> None:
    """Do all of it; call this before anything imports Lightning."""
    sleep_beside_another()
    keep_freed_memory()
    import_torchmetrics()
    with without_collecting(), compiler.without_compiler(IN_PLACE):
        import dvclive.lightning  # noqa: F401
        import pytorch_lightning  # noqa: F401
    compiler.keep_out()
