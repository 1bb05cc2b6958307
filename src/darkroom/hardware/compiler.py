"""Keeps torch's compiler, torch._dynamo, out of a training that compiles nothing: importing it takes nearly as long as torch.

Lightning imports it for the name of one class, torchvision for a question, and torch's optimizers and timm to say what it must
not trace. As soon as anything imports it, `torch.compile` first of all, everything is as usual (docs/decisions/0053).
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from types import FunctionType
from typing import Any

from darkroom.hardware.imports import COMPILER, function_of, in_place, without_collecting

# Of a method that the compiler must not trace: where torch keeps what it calls, once the compiler has made it (torch._compile).
KEPT = "__dynamo_disable"
# It asks whether something can be compiled, in one of its layers.
OF_TORCHVISION = {
    ("torchvision.ops.roi_align", "torch._dynamo.utils"): function_of("torch._dynamo.utils", "is_compile_supported"),
}
UNTRACED = ("state_dict", "load_state_dict", "zero_grad", "add_param_group")


@contextmanager
def without_compiler(found: Mapping[tuple[str, str], Any]) -> Iterator[None]:
    """Let what is imported meanwhile do without the compiler, of which it gets what is `found` in `in_place`.

    `torch.compiler.disable`, a decorator, would import the compiler to mark a function; meanwhile it does so later.
    """
    import torch

    try:
        from torch._compile import _disable_dynamo
    except ImportError:  # another version of torch: the compiler is imported, as it is without all this
        yield
        return
    usual: Any = torch.compiler.disable

    def disable(function: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
        if not recursive or not isinstance(function, FunctionType):
            return usual(function, recursive, reason=reason)
        setattr(function, KEPT, _untraced(function))
        return _disable_dynamo(function)

    torch.compiler.disable = disable
    try:
        with in_place(found):
            yield
    finally:
        torch.compiler.disable = usual


def import_torchvision() -> None:
    """Import torchvision; call this before anything else imports it."""
    with without_collecting(), without_compiler(OF_TORCHVISION):
        import torchvision  # noqa: F401


def import_timm() -> None:
    """Import timm, and torchvision, which it uses; call this before anything else imports one of them."""
    with without_collecting(), without_compiler(OF_TORCHVISION):
        import timm  # noqa: F401


def keep_out() -> None:
    """Let torch's optimizers, and its count of multiply-adds, do without the compiler until it is imported.

    Where a version of torch has other names for what this changes, nothing is changed.
    """
    import torch
    from torch.optim import Optimizer, optimizer
    from torch.utils import flop_counter

    known: Any = optimizer
    counting: Any = flop_counter
    try:
        marked: list[Any] = [getattr(Optimizer, name).__wrapped__ for name in UNTRACED]
        marked.append(counting._FlopCounterMode.__torch_dispatch__.__wrapped__)
        imports_compiler = known._use_grad_for_differentiable(keep_out).__code__
    except AttributeError:
        return
    for method in marked:
        if not hasattr(method, KEPT):
            setattr(method, KEPT, _untraced(method))
    for kind in vars(torch.optim).values():
        step = vars(kind).get("step") if isinstance(kind, type) else None
        if getattr(step, "__code__", None) is imports_compiler:
            kind.step = _step(step)


def _untraced(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        if COMPILER not in sys.modules:
            return method(*arguments, **named)
        disabled = sys.modules[COMPILER].disable(method, True, wrapping=False)
        setattr(method, KEPT, disabled)
        return disabled(*arguments, **named)

    return call


def _step(original: Any) -> Callable[..., Any]:
    """Return `step` of an optimizer as torch decorates it, without the marks for the compiler."""
    import torch

    @wraps(original)
    def step(self: Any, *arguments: Any, **named: Any) -> Any:
        if COMPILER in sys.modules:
            return original(self, *arguments, **named)
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return original.__wrapped__(self, *arguments, **named)

    return step
