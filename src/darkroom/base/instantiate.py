"""Building objects from `_target_` in params.yaml: the allow-list of imports, the required kind, the check of the arguments."""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from darkroom.base.errors import InputError, described, listed, nearest
from darkroom.base.params import Target
from darkroom.base.renamed import MODULES

# Modules in which a class must be defined; that one of them imports the class is not enough. Other modules are not even
# imported: torch.hub, torch.jit, torch.fx, torchmetrics.text and others make or download code from their arguments.
PLACES = (
    *("torch.nn", "torch.optim", "torchvision.models", "torchvision.ops", "torchvision.transforms"),
    *("timm.layers", "timm.loss", "timm.models", "timm.optim", "torchmetrics.classification"),
    *("pytorch_lightning.callbacks", "pytorch_lightning.loggers", "optuna.samplers", "optuna.pruners"),
    *("darkroom.input", "darkroom.objective", "darkroom.models", "darkroom.training", "plugins"),
)
# Functions of libraries that may be named: only the network builders that this function of a package returns for a name.
BUILDERS = {"torchvision.models": "get_model_builder", "timm.models": "model_entrypoint"}

# Modules in which a name without dots is looked up, in this order.
SHORT = {
    "train.loss": ("torch.nn", "darkroom.objective.losses", "timm.loss"),
    "train.optimizer": ("torch.optim", "timm.optim"),
    "train.scheduler": ("torch.optim.lr_scheduler", "darkroom.objective.schedules"),
    "train.loggers": ("pytorch_lightning.loggers",),
    "train.callbacks": ("pytorch_lightning.callbacks",),
    "train.augment": ("darkroom.input.augment", "torchvision.transforms.v2"),
    "train.preprocess": ("torchvision.transforms.v2",),
    **dict.fromkeys(("train.metrics", "evaluate.metrics"), ("torchmetrics.classification",)),
    **{f"tune.{kind}": (f"optuna.{kind}s",) for kind in ("sampler", "pruner")},
}


def check_package(key: str, path: str, allow: Iterable[str]) -> None:
    """Raise InputError for an import path that begins with no package of `PLACES` or `allow`, and say how to allow it."""
    packages = dict.fromkeys(place.partition(".")[0] for place in (*PLACES, *allow))
    package = path.partition(".")[0]
    if package not in packages:
        wrong = f"params.yaml: {key}._target_: {path} is in none of {', '.join(packages)}"
        raise InputError(f"{wrong}; use another, or add {package} to base.allow_targets if you trust it")


@dataclass(frozen=True)
class Builder:
    """Builds what `_target_` names, if it is an instance of `kinds` and defined in an allowed package.

    Allowed are subclasses of `kinds` in `PLACES` or `allow`, functions in plugins or `allow`, and network builders of libraries.

    Parameters
    ----------
    key
        Key of the target in params.yaml, for error messages: `train.optimizer`.
    kinds
        Classes of which the object, and every object in its arguments, must be an instance.
    allow
        Further allowed packages: `base.allow_targets`.
    filled
        Arguments to pass if the class or function has parameters of these names and params.yaml does not set them.
    """

    key: str
    kinds: tuple[type, ...]
    allow: Iterable[str] = ()
    filled: Mapping[str, Any] = field(default_factory=dict)

    def build(self, target: Target, *positional: Any, **given: Any) -> Any:
        """Return the object that the target names, built with its arguments and with `given`, which params.yaml must not set.

        Raises
        ------
        InputError
            If the name is not allowed, does not exist or is of the wrong kind, or if its arguments do not fit.
        """
        made_by = self.find(target.target)
        arguments = {name: self._nested(value) for name, value in target.arguments.items()}
        taken = _parameters(made_by)
        arguments |= {name: value for name, value in self.filled.items() if name in taken and name not in arguments}
        arguments = {name: self._choice(name, value, taken) for name, value in arguments.items()}
        self._check_given(target, taken, given)
        arguments |= given
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
            raise InputError(
                f"params.yaml: {self.key}._target_: {target.target} returns a {type(made).__name__}; {self._wanted()}"
            )
        return made

    def find(self, path: str) -> Callable[..., Any]:
        """Return the class or function at an import path; raise an error if it is not allowed or of the wrong kind."""
        if "." not in path:
            path = self._long(path)
        check_package(self.key, path, self.allow)
        if "._" in path:
            raise self._unusable(path)
        parent, _, name = path.rpartition(".")
        module = self._enter(parent, path)
        self._check_name(module, name)
        found: Callable[..., Any] = getattr(module, name)
        if not self._allows(found):
            raise self._unusable(path)
        return found

    def _long(self, name: str) -> str:
        """Return the import path of a name without dots."""
        # The key of a target in a mapping, such as train.metrics.auroc, is looked up as that of the mapping.
        places = SHORT.get(self.key) or SHORT.get(self.key.rpartition(".")[0], ())
        modules = {module: importlib.import_module(module) for module in places}
        for module, content in modules.items():
            if not name.startswith("_") and hasattr(content, name):
                return f"{module}.{name}"
        names = [known for content in modules.values() for known in dir(content) if self._allows(getattr(content, known))]
        hint = nearest(name, names, "write an import path such as plugins.mine.Thing")
        raise InputError(f"{self._where()}: there is no {name} in {', '.join(modules) or 'this place'}; {hint}")

    def _choice(self, name: str, value: Any, taken: Mapping[str, inspect.Parameter]) -> Any:
        """Return the member of an enumeration that text names, if the argument is an enumeration, as AutoAugment's policy is."""
        kind = type(taken[name].default) if name in taken else None
        if not (isinstance(value, str) and kind is not None and issubclass(kind, Enum)):
            return value
        for member in kind:
            if value.casefold() in (member.name.casefold(), str(member.value).casefold()):
                return member
        known = ", ".join(member.name.lower() for member in kind)
        raise InputError(f"params.yaml: {self.key}.{name}: is '{value}'; write one of {known}")

    def _enter(self, name: str, path: str) -> ModuleType:
        """Import a module above `path`, after its parents, if it is one of the places, or inside or above one."""
        parent, _, last = name.rpartition(".")
        owner = self._enter(parent, path) if parent else None
        is_open = any(_within(name, place) or _within(place, name) for place in self._places())
        if is_open:
            try:
                return importlib.import_module(name)
            except ModuleNotFoundError as error:
                if error.name != name:  # a plug-in may have been written for an earlier version
                    fix = f"import {MODULES[error.name]} instead" if error.name in MODULES else "install what it needs"
                    raise InputError(f"{self._where()}: {name} cannot be imported ({error}); {fix}") from error
            except Exception as error:
                raise InputError(f"{self._where()}: {name} cannot be imported ({described(error)}); fix it") from error
        if owner is None:
            raise InputError(f"{self._where()}: there is no module {name}; check the spelling")
        if is_open or PathFinder.find_spec(name, getattr(owner, "__path__", ())) is None:  # this finds it without importing it
            self._check_name(owner, last)
        raise self._unusable(path)

    def _check_name(self, module: ModuleType, name: str) -> None:
        names = [known for known in dir(module) if not known.startswith("_")]
        if name not in names:
            raise InputError(f"{self._where()}: {module.__name__} has no {name}; {nearest(name, names, 'check the spelling')}")

    def _allows(self, found: Any) -> bool:
        if inspect.isclass(found):
            return issubclass(found, self.kinds) and any(_within(found.__module__, place) for place in self._places())
        if not inspect.isfunction(found):
            return False
        # The name of a lambda, of a method or of what another function returned is not that of a function in the module.
        is_own = found.__qualname__.isidentifier() and any(_within(found.__module__, place) for place in ("plugins", *self.allow))
        return is_own or _builds_network(found)

    def _places(self) -> tuple[str, ...]:
        return (*PLACES, *self.allow)

    def _where(self) -> str:
        return f"params.yaml: {self.key}._target_"

    def _unusable(self, path: str) -> InputError:
        return InputError(f"{self._where()}: {path} cannot be used here; {self._wanted()}")

    def _wanted(self) -> str:
        kinds = " or ".join(kind.__name__ for kind in self.kinds)
        return f"name a subclass of {kinds} defined in {', '.join(self._places())}"

    def _nested(self, value: Any) -> Any:
        """Build the targets in the arguments, such as the transforms of torchvision's RandomApply."""
        if isinstance(value, dict) and "_target_" in value:
            try:
                target = Target.model_validate(value)
            except ValidationError:
                wrong = f"{value['_target_']!r} is not an import path; write one such as torch.optim.SGD"
                raise InputError(f"params.yaml: {self.key}: {wrong}") from None
            return self.build(target)
        if isinstance(value, dict):
            return {name: self._nested(item) for name, item in value.items()}
        return [self._nested(item) for item in value] if isinstance(value, list) else value

    def _check_given(self, target: Target, taken: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> None:
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
        for name in given:
            if name in target.arguments:
                raise InputError(f"params.yaml: {self.key}.{name}: is set by the training; remove it")
            if name not in taken and not takes_any:
                raise InputError(
                    f"params.yaml: {self.key}: {target.target} has no parameter {name}, which the training passes; "
                    "let it take **given and pass that on to its base class"
                )

    def _check_arguments(
        self, path: str, made_by: Callable[..., Any], positional: tuple[Any, ...], arguments: dict[str, Any]
    ) -> None:
        taken = _parameters(made_by)
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
        for name, value in arguments.items():
            if name not in taken and not takes_any:
                hint = nearest(name, taken, f"it takes {listed(taken)}")
                raise InputError(f"params.yaml: {self.key}.{name}: {path} takes no such argument; {hint}")
            if name.startswith("pretrained_cfg") and isinstance(value, dict) and _builds_network(made_by):
                raise InputError(
                    f"params.yaml: {self.key}.{name}: is a source of weights, which is not allowed; "
                    "set pretrained_cfg to the tag of weights that timm lists"
                )
        try:
            inspect.signature(made_by).bind(*positional, **arguments)
        except TypeError as error:
            raise InputError(f"params.yaml: {self.key}: {path}: {error}; add it beside _target_") from None


def _builds_network(function: Callable[..., Any]) -> bool:
    """Return whether torchvision or timm lists the function as the builder of the network of its name."""
    for package, builder_of in BUILDERS.items():
        if _within(function.__module__, package):
            models, name = importlib.import_module(package), function.__name__
            return name in models.list_models() and getattr(models, builder_of)(name) is function
    return False


def _within(path: str, package: str) -> bool:
    return path == package or path.startswith(package + ".")


def _parameters(made_by: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(made_by).parameters
