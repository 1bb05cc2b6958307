"""From `_target_` in params.yaml to an object: the import allow-list, the kind asked for, the check of its arguments."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from darkroom.errors import InputError, described
from darkroom.params import Target

PACKAGES = ("torch", "torchvision", "timm", "torchmetrics", "pytorch_lightning", "darkroom", "plugins")
# Of these, functions may be called as well as classes. Elsewhere a function could be torch.load or torch.hub.load.
FUNCTION_PACKAGES = ("torchvision.models", "timm.models", "plugins")


@dataclass(frozen=True)
class Builder:
    """Builds what `_target_` names, if it is an instance of `kinds` and comes from an allowed package.

    Parameters
    ----------
    key
        Where the target stands in params.yaml, for error messages: `train.optimizer`.
    kinds
        Classes of which the object must be an instance.
    allow
        Further packages that may be named: `base.allow_targets`.
    filled
        Arguments given to what takes them by name, unless params.yaml gives them.
    """

    key: str
    kinds: tuple[type, ...]
    allow: Iterable[str] = ()
    filled: Mapping[str, Any] = field(default_factory=dict)

    def build(self, target: Target, *positional: Any) -> Any:
        """Return the object that the target names, made with its arguments.

        Raises
        ------
        InputError
            If the name is not allowed, does not exist or is of another kind, or if its arguments do not fit.
        """
        made_by = self.find(target.target)
        arguments = {name: self._nested(value) for name, value in target.arguments.items()}
        taken = _parameters(made_by)
        arguments |= {name: value for name, value in self.filled.items() if name in taken and name not in arguments}
        self._check_arguments(target.target, made_by, positional, arguments)
        try:
            made = made_by(*positional, **arguments)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"params.yaml: {self.key}: {target.target} refuses its arguments ({described(error)}); correct them"
            ) from error
        if not isinstance(made, self.kinds):
            raise InputError(f"params.yaml: {self.key}._target_: {target.target} makes a {type(made).__name__}; {self._wanted()}")
        return made

    def find(self, path: str) -> Callable[..., Any]:
        """Return the class or function at an import path, refusing what is not allowed or of another kind."""
        where = f"params.yaml: {self.key}._target_"
        if not _within(path, (*PACKAGES, *self.allow)):
            package = path.split(".")[0]
            raise InputError(
                f"{where}: {path} is in none of {', '.join((*PACKAGES, *self.allow))}; "
                f"name another, or add {package} to base.allow_targets if you trust it"
            )
        found: Callable[..., Any] = _import(path, where)
        is_class = inspect.isclass(found) and issubclass(found, self.kinds)
        is_function = inspect.isfunction(found) and _within(found.__module__, (*FUNCTION_PACKAGES, *self.allow))
        if not (is_class or is_function):
            raise InputError(f"{where}: {path} cannot be used here; {self._wanted()}")
        return found

    def _wanted(self) -> str:
        return f"name a subclass of {' or '.join(kind.__name__ for kind in self.kinds)}"

    def _nested(self, value: Any) -> Any:
        """Build the targets inside arguments, such as the transforms of torchvision's RandomApply."""
        if isinstance(value, dict):
            if "_target_" in value:
                return self.build(Target.model_validate(value))
            return {name: self._nested(item) for name, item in value.items()}
        return [self._nested(item) for item in value] if isinstance(value, list) else value

    def _check_arguments(
        self, path: str, made_by: Callable[..., Any], positional: tuple[Any, ...], arguments: dict[str, Any]
    ) -> None:
        taken = _parameters(made_by)
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
        for name in arguments:
            if name not in taken and not takes_any:
                near = difflib.get_close_matches(name, taken, n=1, cutoff=0.5)
                hint = f"did you mean '{near[0]}'?" if near else f"it takes {', '.join(taken)}"
                raise InputError(f"params.yaml: {self.key}.{name}: {path} takes no such argument; {hint}")
        try:
            inspect.signature(made_by).bind(*positional, **arguments)
        except TypeError as error:
            raise InputError(f"params.yaml: {self.key}: {path}: {error}; add it beside _target_") from None


def _within(path: str, packages: Iterable[str]) -> bool:
    return any(path == package or path.startswith(package + ".") for package in packages)


def _parameters(made_by: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(made_by).parameters


def _import(path: str, where: str) -> Any:
    """Import the longest prefix that is a module, then walk attributes; a module of another package is never entered."""
    parts = path.split(".")
    module: ModuleType | None = None
    for count in range(1, len(parts)):
        name = ".".join(parts[:count])
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise InputError(f"{where}: {name} cannot be imported ({error}); install what it needs") from error
            break
        except Exception as error:
            raise InputError(f"{where}: {name} cannot be imported ({described(error)}); mend it") from error
        depth = count
    if module is None:
        raise InputError(f"{where}: there is no module {parts[0]}; check the spelling")
    found: Any = module
    for part in parts[depth:]:
        names = [name for name in dir(found) if not name.startswith("_")]
        if part not in names:
            near = difflib.get_close_matches(part, names, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else "check the spelling"
            raise InputError(f"{where}: {getattr(found, '__name__', path)} has no {part}; {hint}")
        found = getattr(found, part)
        if inspect.ismodule(found) and not found.__name__.startswith(parts[0]):
            raise InputError(f"{where}: {path} leaves {parts[0]}; name a class by its own path")
    return found
