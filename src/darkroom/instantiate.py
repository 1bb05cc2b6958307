"""From `_target_` in params.yaml to an object: the import allow-list, the kind asked for, the check of its arguments."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from darkroom.errors import InputError, described
from darkroom.params import Target

# Where a class must be defined to be named; that a module here imports it is not enough. Other modules are not even imported:
# torch.hub, torch.jit, torch.fx, torchmetrics.text and their like make code, or download it, from their arguments.
PLACES = (
    *("torch.nn", "torch.optim", "torchvision.models", "torchvision.ops", "torchvision.transforms"),
    *("timm.layers", "timm.loss", "timm.models", "timm.optim", "torchmetrics.classification"),
    *("pytorch_lightning.callbacks", "pytorch_lightning.loggers", "optuna.samplers", "optuna.pruners"),
    *("darkroom.input", "darkroom.objective", "darkroom.models", "darkroom.training", "plugins"),
)
# Of the libraries' functions, only the builders that these packages list; the others load checkpoints. Beside them stands
# what returns the builder of a name.
BUILDERS = {"torchvision.models": "get_model_builder", "timm.models": "model_entrypoint"}


# Where a name without dots is looked up, in this order.
SHORT = {
    "train.loss": ("torch.nn", "darkroom.objective.losses", "timm.loss"),
    "train.optimizer": ("torch.optim", "timm.optim"),
    "train.scheduler": ("torch.optim.lr_scheduler", "darkroom.objective.schedules"),
    "train.loggers": ("pytorch_lightning.loggers",),
    "train.augment": ("darkroom.input.augment", "torchvision.transforms.v2"),
    "train.metrics": ("torchmetrics.classification",),
    "evaluate.metrics": ("torchmetrics.classification",),
    "tune.sampler": ("optuna.samplers",),
    "tune.pruner": ("optuna.pruners",),
}


@dataclass(frozen=True)
class Builder:
    """Builds what `_target_` names, if it is an instance of `kinds` and defined in an allowed package.

    That is a subclass of `kinds` in `PLACES` or `allow`, a function in plugins or `allow`, or a library's network builder.

    Parameters
    ----------
    key
        Where the target stands in params.yaml, for error messages: `train.optimizer`.
    kinds
        Classes of which the object, and every object inside its arguments, must be an instance.
    allow
        Further packages that may be named: `base.allow_targets`.
    filled
        Arguments given to what takes them by name, unless params.yaml gives them.
    """

    key: str
    kinds: tuple[type, ...]
    allow: Iterable[str] = ()
    filled: Mapping[str, Any] = field(default_factory=dict)

    def build(self, target: Target, *positional: Any, **given: Any) -> Any:
        """Return the object that the target names, made with its arguments and with those `given`, which params.yaml must leave.

        Raises
        ------
        InputError
            If the name is not allowed, does not exist or is of another kind, or if its arguments do not fit.
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
            raise InputError(f"params.yaml: {self.key}._target_: {target.target} makes a {type(made).__name__}; {self._wanted()}")
        return made

    def find(self, path: str) -> Callable[..., Any]:
        """Return the class or function at an import path, refusing what is not allowed or of another kind."""
        packages = dict.fromkeys(place.partition(".")[0] for place in self._places())
        if "." not in path:
            path = self._long(path)
        package = path.partition(".")[0]
        if package not in packages:
            raise InputError(
                f"{self._where()}: {path} is in none of {', '.join(packages)}; "
                f"name another, or add {package} to base.allow_targets if you trust it"
            )
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
        """Return the import path of a name that one of the usual libraries has."""
        # Of a mapping of targets, `train.metrics.auroc`, the places are those of all.
        places = SHORT.get(self.key) or SHORT.get(self.key.rpartition(".")[0], ())
        modules = {module: importlib.import_module(module) for module in places}
        for module, content in modules.items():
            if not name.startswith("_") and hasattr(content, name):
                return f"{module}.{name}"
        names = [known for content in modules.values() for known in dir(content) if self._allows(getattr(content, known))]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "write an import path such as plugins.mine.Thing"
        raise InputError(f"{self._where()}: there is no {name} in {', '.join(modules) or 'this place'}; {hint}")

    def _choice(self, name: str, value: Any, taken: Mapping[str, inspect.Parameter]) -> Any:
        """Return the member of an enumeration that text names where an argument is one, such as a policy of AutoAugment."""
        kind = type(taken[name].default) if name in taken else None
        if not (isinstance(value, str) and kind is not None and issubclass(kind, Enum)):
            return value
        for member in kind:
            if value.casefold() in (member.name.casefold(), str(member.value).casefold()):
                return member
        known = ", ".join(member.name.lower() for member in kind)
        raise InputError(f"params.yaml: {self.key}.{name}: is '{value}'; write one of {known}")

    def _enter(self, name: str, path: str) -> ModuleType:
        """Import a module on the way to `path`, after its parents, if it lies in or above one of the places."""
        parent, _, last = name.rpartition(".")
        owner = self._enter(parent, path) if parent else None
        is_open = any(_within(name, place) or _within(place, name) for place in self._places())
        if is_open:
            try:
                return importlib.import_module(name)
            except ModuleNotFoundError as error:
                if error.name != name:
                    raise InputError(f"{self._where()}: {name} cannot be imported ({error}); install what it needs") from error
            except Exception as error:
                raise InputError(f"{self._where()}: {name} cannot be imported ({described(error)}); mend it") from error
        if owner is None:
            raise InputError(f"{self._where()}: there is no module {name}; check the spelling")
        if is_open or PathFinder.find_spec(name, getattr(owner, "__path__", ())) is None:  # it finds, and does not import
            self._check_name(owner, last)
        raise self._unusable(path)

    def _check_name(self, module: ModuleType, name: str) -> None:
        names = [known for known in dir(module) if not known.startswith("_")]
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else "check the spelling"
            raise InputError(f"{self._where()}: {module.__name__} has no {name}; {hint}")

    def _allows(self, found: Any) -> bool:
        if inspect.isclass(found):
            return issubclass(found, self.kinds) and any(_within(found.__module__, place) for place in self._places())
        if not inspect.isfunction(found):
            return False
        # A lambda, a method or what a function returned has another name than the place where it is found.
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
        """Build the targets inside arguments, such as the transforms of torchvision's RandomApply."""
        if isinstance(value, dict) and "_target_" in value:
            try:
                target = Target.model_validate(value)
            except ValidationError:
                wrong = value["_target_"]
                raise InputError(
                    f"params.yaml: {self.key}: {wrong!r} is no import path; write one such as torch.optim.SGD"
                ) from None
            return self.build(target)
        if isinstance(value, dict):
            return {name: self._nested(item) for name, item in value.items()}
        return [self._nested(item) for item in value] if isinstance(value, list) else value

    def _check_given(self, target: Target, taken: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> None:
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
        for name in given:
            if name in target.arguments:
                raise InputError(f"params.yaml: {self.key}.{name}: is not set here, the training gives it; remove it")
            if name not in taken and not takes_any:
                raise InputError(
                    f"params.yaml: {self.key}: {target.target} does not take {name}, which the training gives it; "
                    "let it take **given and hand that on to its base class"
                )

    def _check_arguments(
        self, path: str, made_by: Callable[..., Any], positional: tuple[Any, ...], arguments: dict[str, Any]
    ) -> None:
        taken = _parameters(made_by)
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
        for name, value in arguments.items():
            if name not in taken and not takes_any:
                near = difflib.get_close_matches(name, taken, n=1, cutoff=0.5)
                hint = f"did you mean '{near[0]}'?" if near else f"it takes {', '.join(taken)}"
                raise InputError(f"params.yaml: {self.key}.{name}: {path} takes no such argument; {hint}")
            if name.startswith("pretrained_cfg") and isinstance(value, dict) and _builds_network(made_by):
                raise InputError(
                    f"params.yaml: {self.key}.{name}: names where weights come from; "
                    "give pretrained_cfg the tag of weights that timm lists"
                )
        try:
            inspect.signature(made_by).bind(*positional, **arguments)
        except TypeError as error:
            raise InputError(f"params.yaml: {self.key}: {path}: {error}; add it beside _target_") from None


def _builds_network(function: Callable[..., Any]) -> bool:
    """Tell whether torchvision or timm lists the function as the builder of the network of its name."""
    for package, builder_of in BUILDERS.items():
        if _within(function.__module__, package):
            models, name = importlib.import_module(package), function.__name__
            return name in models.list_models() and getattr(models, builder_of)(name) is function
    return False


def _within(path: str, package: str) -> bool:
    return path == package or path.startswith(package + ".")


def _parameters(made_by: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(made_by).parameters
