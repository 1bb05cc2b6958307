"""Keeps torch's compiler, torch._dynamo, out of a training that compiles nothing: importing it takes nearly as long as torch.

Lightning imports it for the name of one class, and torch's optimizers to say which of their methods it must not trace. As soon as
anything imports it, `torch.compile` first of all, everything is as it would be without this module (docs/decisions/0053).
"""

import sys
from collections.abc import Callable
from functools import wraps
from types import SimpleNamespace
from typing import Any

COMPILER = "torch._dynamo"
# Of a method that the compiler must not trace: where torch keeps what it calls, once the compiler has made it (torch._compile).
KEPT = "__dynamo_disable"
UNTRACED = ("state_dict", "load_state_dict", "zero_grad", "add_param_group")


class _AskedLater(type):
    """Makes classes that stand for one of a module that may not be imported yet: nothing is an instance of it until then."""

    def __new__(cls, module: str, name: str) -> type:
        return super().__new__(cls, name, (), {"__module__": module})

    def __init__(cls, module: str, name: str) -> None:
        super().__init__(name, (), {})
        cls.place = module, name

    def __instancecheck__(cls, instance: object) -> bool:
        module, name = cls.place
        made: Any = getattr(sys.modules.get(module), name, ())
        return isinstance(instance, made)


def class_of(module: str, name: str) -> SimpleNamespace:
    """Return what `from module import name` finds: a class for `isinstance` that imports nothing."""
    return SimpleNamespace(**{name: _AskedLater(module, name)})


def disable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Do what `torch.compiler.disable` does, a decorator of what must not be traced, once the compiler is imported."""
    from torch._compile import _disable_dynamo

    setattr(function, KEPT, _untraced(function))
    return _disable_dynamo(function)


def keep_out() -> None:
    """Let torch's optimizers, and its count of multiply-adds, do without the compiler until it is imported."""
    import torch
    from torch.optim import Optimizer, optimizer
    from torch.utils import flop_counter

    known: Any = optimizer
    marked: list[Any] = [getattr(Optimizer, name) for name in UNTRACED]
    marked.append(flop_counter._FlopCounterMode.__torch_dispatch__)
    for method in marked:
        if not hasattr(method.__wrapped__, KEPT):
            setattr(method.__wrapped__, KEPT, _untraced(method.__wrapped__))
    imports_compiler = known._use_grad_for_differentiable(keep_out).__code__
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
