"""What the modules of installed libraries define, read from their source text: importing torch takes seconds."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path

MAX_STEPS = 6  # from `from torch.nn.modules import *` to the file that defines a class
# Networks that timm and torchvision register by name.
REGISTERED = re.compile(rb"^@register_model.*?^def (\w+)\(", re.DOTALL | re.MULTILINE)


@cache
def find_module(path: str) -> Path | None:
    """Return the file, or folder without `__init__.py`, of a module; neither it nor the packages around it are imported."""
    places, found = list(sys.path), None
    for end in range(1, path.count(".") + 2):
        name = ".".join(path.split(".")[:end])
        try:
            spec = PathFinder.find_spec(name, places)
        except KeyError:  # a folder without `__init__.py` in another one, which Python looks up among what is imported
            spec = None
        if spec is not None and spec.origin is not None:
            found, places = Path(spec.origin), list(spec.submodule_search_locations or [])
            continue
        folders = [place / name.rpartition(".")[2] for place in map(Path, places)]
        places = [str(folder) for folder in folders if folder.is_dir()]
        if not places:
            return None
        found = Path(places[0])
    return found


@cache
def _parsed(path: str) -> ast.Module | None:
    file = find_module(path)
    if file is None or file.suffix != ".py":
        return None
    try:
        return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def defined_names(path: str, steps: int = MAX_STEPS, *, lazy: bool = False) -> dict[str, str] | None:
    """Return the names in a module by what they come from, `module.name`; None if its text does not say them all.

    Those that a module makes only when they are asked for, by its `__getattr__`, are missing if `lazy`.
    """
    tree = _parsed(path)
    if tree is None or steps == 0:
        return None
    names: dict[str, str] = {}
    for node in _statements(tree.body):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names[node.name] = f"{path}.{node.name}"
        elif isinstance(node, ast.Assign):
            names |= {target.id: "" for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.Import):
            names |= {(alias.asname or alias.name).partition(".")[0]: "" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(path, node)
            for alias in node.names:
                if alias.name != "*":
                    names[alias.asname or alias.name] = f"{source}.{alias.name}"
                elif (others := defined_names(source, steps - 1)) is None:
                    return None
                else:
                    names |= others
    return None if "__getattr__" in names and not lazy else names


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module, also those inside `if` and `try`."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try):
            yield from _statements(
                [*node.body, *node.orelse, *(each for case in getattr(node, "handlers", ()) for each in case.body)]
            )


def _absolute(path: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    file = find_module(path)
    package = path if file and file.name == "__init__.py" else path.rpartition(".")[0]
    for _ in range(node.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{node.module}" if node.module else package


def arguments_of(path: str, steps: int = MAX_STEPS) -> list[str] | None:
    """Return the arguments of a class at `module.name`; None if its text does not say them all."""
    module, _, name = path.rpartition(".")
    origin = (defined_names(module) or {}).get(name, "")
    if origin != path:
        return arguments_of(origin, steps - 1) if origin and steps else None
    tree = _parsed(module)
    assert tree is not None
    classes = [node for node in _statements(tree.body) if isinstance(node, ast.ClassDef) and node.name == name]
    if len(classes) != 1 or classes[0].decorator_list:
        return None
    methods = {node.name: node for node in classes[0].body if isinstance(node, ast.FunctionDef)}
    made = methods.get("__init__")
    if made is None or "__new__" in methods or made.args.kwarg is not None:
        return None
    return [each.arg for each in (*made.args.posonlyargs, *made.args.args, *made.args.kwonlyargs)][1:]


@cache
def registered_networks(package: str) -> tuple[list[str], bytes] | None:
    """Return the names of the networks that timm.models or torchvision.models registers, and the text of the package."""
    file = find_module(package)
    if file is None:
        return None
    text = b"\n".join(each.read_bytes() for each in sorted(file.parent.rglob("*.py")))
    return [name.decode() for name in REGISTERED.findall(text)], text
