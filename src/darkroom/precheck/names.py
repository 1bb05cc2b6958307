"""Names in params.yaml that no library has: classes of `_target_`, networks, data sets of torchvision.

train, download and predict find the same, but only once DVC has removed what they made before. What the source text of a library
does not say is left to them.
"""

from collections.abc import Iterator
from typing import Any

from darkroom.base.errors import InputError, listed, nearest
from darkroom.base.instantiate import SHORT, check_package
from darkroom.base.params import Network, Params, Target
from darkroom.precheck.source_text import arguments_of, defined_names, find_module, registered_networks

# What this project's own modules offer by name; a test compares it with them.
OWN = {
    "darkroom.input.augment": ("RandomCropResize", "RandomShift", "RandomFlip", "AlternatingFlip", "RandomColor"),
    "darkroom.objective.losses": ("FocalLoss", "BinaryLoss"),
    "darkroom.objective.schedules": ("WarmupCosine",),
}
OWN_NETWORKS = ("side_by_side", "small_cnn", "small_resnet", "small_resnet18", "small_vit", "whitened_cnn")
FIRST_PARTY = ("darkroom", "plugins")


def check_names(params: Params) -> None:
    """Refuse a class, function, argument, network or data set that does not exist.

    Raises
    ------
    InputError
        Naming the key and the nearest name that exists.
    """
    allow = params.base.allow_targets
    for key, target in _targets(params):
        _check_target(key, target.target, target.arguments, allow)
    if isinstance(params.train.model, Network):
        _check_network(params.train.model)
    _check_data_set(params)


def _targets(params: Params) -> Iterator[tuple[str, Target]]:
    """Yield every class or function that params.yaml names, by its key."""
    for section in ("download", "train", "evaluate", "tune"):
        for name, value in getattr(params, section):
            key = f"{section}.{name}"
            if isinstance(value, Target):
                yield key, value
            elif isinstance(value, dict):
                yield from ((f"{key}.{each}", item) for each, item in value.items() if isinstance(item, Target))
            elif isinstance(value, list):
                yield from ((f"{key}.{place}", item) for place, item in enumerate(value) if isinstance(item, Target))


def _check_target(key: str, path: str, arguments: dict[str, Any], allow: list[str]) -> None:
    if "." not in path:
        found = _find_short(key, path)
    else:
        check_package(key, path, allow)
        found = _find_long(key, path)
    taken = arguments_of(found) if found else None
    for name, value in arguments.items():
        if taken is not None and name not in taken:
            hint = nearest(name, taken, f"it takes {listed(taken)}")
            raise InputError(f"params.yaml: {key}.{name}: {path} takes no such argument; {hint}")
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict) and isinstance(inner.get("_target_"), str):
                given = {name: item for name, item in inner.items() if name != "_target_"}
                _check_target(key, inner["_target_"], given, allow)


def _find_short(key: str, name: str) -> str | None:
    """Return the path of a name without dots, None if it is this project's own, or cannot be told."""
    modules = SHORT.get(key) or SHORT.get(key.rpartition(".")[0], ())
    known: list[str] = []
    for module in modules:
        names = OWN.get(module) or defined_names(module)
        if names is None:
            return None
        if name in names:
            return None if module in OWN else f"{module}.{name}"
        known += [each for each in names if each[0].isupper()]
    hint = nearest(name, known, "write an import path such as plugins.mine.Thing")
    raise InputError(f"params.yaml: {key}._target_: there is no {name} in {', '.join(modules) or 'this place'}; {hint}")


def _find_long(key: str, path: str) -> str | None:
    module, _, name = path.rpartition(".")
    where = f"params.yaml: {key}._target_"
    for end in range(1, module.count(".") + 2):
        parent = ".".join(module.split(".")[:end])
        if find_module(parent) is None:
            package = parent.rpartition(".")[0]
            raise InputError(f"{where}: there is no module {parent}; {_nearest_module(package, parent)}")
    names = None if path.partition(".")[0] in FIRST_PARTY else defined_names(module)
    if names is None:
        return None
    if name not in names:
        known = [each for each in names if not each.startswith("_")]
        raise InputError(f"{where}: {module} has no {name}; {nearest(name, known, 'check the spelling')}")
    return path


def _nearest_module(package: str, parent: str) -> str:
    folder = find_module(package) if package else None
    folder = folder.parent if folder and folder.is_file() else folder
    beside = [] if folder is None else [each.stem for each in folder.iterdir() if each.suffix == ".py" or each.is_dir()]
    return nearest(parent.rpartition(".")[2], beside, "check the spelling", f"'{package}.{{}}'")


def _check_network(model: Network) -> None:
    if model.provider == "builtin":
        known, is_mentioned = list(OWN_NETWORKS), False
    elif model.provider in ("timm", "torchvision"):
        found = registered_networks(f"{model.provider}.models")
        if found is None:
            return
        # timm: `resnet18.a1_in1k` names weights, too; `hf-hub:owner/name` is not in its text; old names are in tables of it.
        known, is_mentioned = found[0], ":" in model.name or f"'{model.name}'".encode() in found[1]
    else:
        return
    plain = model.name.partition(".")[0] if model.provider == "timm" else model.name
    if plain not in known and not is_mentioned:
        hint = nearest(plain, known, "check the spelling")
        raise InputError(f"params.yaml: train.model.name: {model.provider} has no network '{model.name}'; {hint}")


def _check_data_set(params: Params) -> None:
    download = params.download
    names = defined_names("torchvision.datasets", lazy=True) if download.source == "torchvision" else None
    if names is not None and download.dataset is not None and download.dataset not in names:
        hint = nearest(download.dataset, names, "use a class of torchvision.datasets, such as CIFAR10")
        raise InputError(f"params.yaml: download.dataset: torchvision has no data set {download.dataset}; {hint}")
