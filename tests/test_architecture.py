"""The architecture: who imports whom, what a stage depends on, what an import costs, sizes. Every check has a twin that fails."""

import ast
import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from darkroom.base.yaml_file import read_yaml
from darkroom.stage.declared import UNRECORDED

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
# Who may import whom: base, itself, and the rooms named here. The order is that of the layers.
ROOMS: dict[str, set[str]] = {
    "repository": set(),
    "outputs": set(),
    "stage": set(),
    "data": set(),
    "hardware": set(),
    "precheck": {"repository"},
    "sources": {"data"},
    "splitting": {"data"},
    "models": {"data", "hardware"},
    "transfer": {"data", "hardware", "models"},
    "uncertainty": set(),
    "metrics": {"hardware", "uncertainty"},
    "versions": {"data", "metrics", "repository"},
    "history": {"repository", "versions"},
    "reporting": {"metrics"},
    "pages": {"data", "metrics", "repository", "versions"},
    "input": {"data", "hardware", "models"},
    "objective": {"data", "metrics", "models", "input", "transfer"},
    "inference": {"data", "hardware", "models", "metrics", "input", "uncertainty"},
    "evaluation": {"data", "hardware", "models", "metrics", "reporting", "input", "inference", "uncertainty"},
    "prediction": {"data", "hardware", "models", "metrics", "input", "inference", "uncertainty"},
    "features": {"data", "hardware", "models", "transfer", "metrics", "reporting", "input", "inference", "prediction"},
    "export": {"data", "hardware", "models", "metrics", "reporting", "input", "inference", "uncertainty"},
    "batch": {
        *("data", "hardware", "models", "metrics", "reporting", "sources", "input", "inference", "uncertainty", "pages"),
        "prediction",
    },
    "explanation": {"features", "data", "models", "metrics", "reporting", "input", "inference", "pages"},
    "labels": {
        *("data", "hardware", "repository", "sources", "splitting", "models", "metrics", "reporting", "pages", "input"),
        *("inference", "explanation", "features", "prediction", "transfer"),
    },
    "serving": {
        *("data", "hardware", "models", "metrics", "reporting", "sources", "input", "inference", "uncertainty"),
        *("explanation", "features", "pages", "export", "prediction"),
    },
    "drift": {
        *("data", "hardware", "models", "metrics", "reporting", "sources", "splitting", "pages", "input"),
        *("inference", "explanation", "features", "labels", "uncertainty", "comparison", "prediction"),
    },
    "training": {"stage", "repository", "data", "hardware", "models", "metrics", "input", "objective", "transfer"},
    "comparison": {"data", "metrics", "pages", "repository", "versions"},
    "health": {"precheck", "repository", "stage", "training", "versions"},
    "experiments": {"stage", "repository", "health"},
    "search": {"stage", "repository", "health", "experiments", "pages"},
    "model_choice": {
        *("data", "hardware", "models", "metrics", "reporting", "splitting", "input", "objective", "training"),
        *("comparison", "experiments", "transfer"),
    },
}
MAY_IMPORT = {
    "base": {"base"},
    **{room: {"base", room, *others} for room, others in ROOMS.items()},
    "cli": {"base", "cli", "api", *ROOMS},
    "api": {"base", "api", *ROOMS},
    "package": {"base", "api"},
    "script": {"base", *ROOMS},
    "plugins": {"base", "data", "reporting", "models", "metrics", "input", "objective", "training", "plugins"},
}
BASE_PACKAGES = {"pydantic", "pydantic_core", "ruamel"}
# A stage with `foreach` stands for one of its formats.
STAGES = {name: stage.get("do", stage) for name, stage in read_yaml(ROOT / "dvc.yaml")["stages"].items()}


@functools.cache
def imported(path: Path, source: str | None = None) -> set[str]:
    """Return the dotted names that a module imports anywhere, also inside functions; `from a import b` gives a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source if source is not None else path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@functools.cache
def file_of(name: str) -> Path | None:
    """Return the file of a first-party module, None for any other name."""
    place = SRC.joinpath(*name.split("."))
    candidates = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def reached(script: Path) -> tuple[set[Path], set[str]]:
    """Return the first-party files that a script reaches, and the top-level names of all other packages."""
    files, packages, waiting = set(), set(), [script]
    while waiting:
        path = waiting.pop()
        files.add(path)
        for name in imported(path):
            file = file_of(name)
            if file is None and file_of(name.rpartition(".")[0]) is None:
                packages.add(name.split(".")[0])
            elif file and file not in files:
                waiting.append(file)
    return files, packages


def layer_of(path: Path) -> str:
    parts = path.relative_to(SRC).parts
    if parts[0] == "plugins":
        return "plugins"
    if parts[0] != "darkroom":
        return "script"
    if parts == ("darkroom", "__init__.py"):
        return "package"
    return parts[1] if len(parts) > 2 else "base"


def layer_faults(path: Path, source: str | None = None) -> list[str]:
    allowed = MAY_IMPORT[layer_of(path)]
    others = {file for name in imported(path, source) if (file := file_of(name)) and file.name != "__init__.py"}
    faults = [f"{path.name} imports {other.relative_to(SRC)}" for other in others if layer_of(other) not in allowed]
    if layer_of(path) == "base":
        stdlib = sys.stdlib_module_names | BASE_PACKAGES | {"darkroom"}
        faults += [f"{path.name} imports {name}" for name in imported(path, source) if name.split(".")[0] not in stdlib]
    return faults


def missing_deps(stage: str, deps: list[str]) -> list[str]:
    files, _ = reached(SRC / f"{stage}.py")
    packages = {parent / "__init__.py" for file in files for parent in file.parents if parent.is_relative_to(SRC / "darkroom")}
    relative = {file.relative_to(ROOT).as_posix() for file in files | packages if file.exists()} - set(UNRECORDED)
    return sorted(file for file in relative if not any(file == dep or file.startswith(dep + "/") for dep in deps))


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda path: str(path.relative_to(SRC)))
def test_nobody_imports_upwards(path: Path) -> None:
    assert layer_faults(path) == []


def test_an_import_upwards_is_seen() -> None:
    assert layer_faults(SRC / "darkroom" / "data" / "pack.py", "def f():\n    from darkroom.training import fit") != []
    assert layer_faults(SRC / "train.py", "import split") != []
    assert layer_faults(SRC / "darkroom" / "data" / "pack.py", "from darkroom.versions import report") != []
    assert layer_faults(SRC / "darkroom" / "files.py", "import numpy") != []
    assert layer_faults(SRC / "darkroom" / "experiments" / "runs.py", "from darkroom.training import search_link") != []


@pytest.mark.parametrize("stage", STAGES)
def test_every_module_a_stage_reaches_is_a_dependency(stage: str) -> None:
    assert missing_deps(stage, STAGES[stage]["deps"]) == []


def unrecorded_faults(source: str) -> list[str]:
    """Return the statements of a module that could change a result: all but a docstring and a lazy import from `darkroom.api`."""
    faults = []
    for statement in ast.parse(source).body:
        match statement:
            case ast.Expr(value=ast.Constant()) | ast.ImportFrom(module="typing"):
                continue
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=[]):
                continue
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List()):
                continue
            case ast.FunctionDef(name="__getattr__", decorator_list=[]):
                asked = imported(Path("__getattr__"), ast.unparse(statement))
                if asked <= {"darkroom", "darkroom.api"}:
                    continue
        faults.append(ast.unparse(statement))
    return faults


def uses_of_package(source: str) -> list[str]:
    """Return the imports by which a module would run the `__getattr__` of the package: `from darkroom import Model`."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    from_it = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "darkroom"]
    from_it = [node for node in from_it if any(file_of(f"darkroom.{alias.name}") is None for alias in node.names)]
    return [ast.unparse(node) for node in from_it]


@pytest.mark.parametrize("name", [name for name in UNRECORDED if name.endswith(".py")])
def test_code_that_a_stage_reads_without_depending_on_it_changes_nothing(name: str) -> None:
    assert unrecorded_faults((ROOT / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_runs_code_that_it_does_not_depend_on(stage: str) -> None:
    files = [file for file in reached(SRC / f"{stage}.py")[0] if file.relative_to(ROOT).as_posix() not in UNRECORDED]
    assert [use for file in files for use in uses_of_package(file.read_text(encoding="utf-8"))] == []


def test_code_that_changes_something_unrecorded_is_seen() -> None:
    package = (SRC / "darkroom" / "__init__.py").read_text(encoding="utf-8")
    for added in ("import torch", "from darkroom.api import train", "torch.manual_seed(0)", "def train(): pass", "SEED = 1"):
        assert unrecorded_faults(f"{package}\n{added}\n") == [added.replace(": pass", ":\n    pass")]
    assert unrecorded_faults(package.replace("from darkroom import api", "from darkroom import training")) != []
    assert uses_of_package("def f():\n    from darkroom import Model") == ["from darkroom import Model"]
    assert uses_of_package("from darkroom import base") == []


@pytest.mark.slow
def test_the_package_brings_in_nothing_until_it_is_asked() -> None:
    package, model = loaded_by("import darkroom", "from darkroom import Model")
    assert package & (HEAVY | {"numpy", "PIL", "pydantic"}) == set()
    assert "torch" in model
    assert model & LIGHTNING == set()


# Lines of first-party code that a stage depends on and never reaches: an edit there repeats it needlessly. They may only fall;
# `PYTHONPATH=src python tests/test_architecture.py` prints them.
UNREACHED = {"check": 27, "download": 189, "split": 275, "train": 243, "evaluate": 627, "predict": 435, "export": 435}


def unreached(stage: str, deps: list[str]) -> dict[str, int]:
    """Return the files that a stage depends on and never imports, with their numbers of lines; plug-ins are found by name."""
    files, _ = reached(SRC / f"{stage}.py")
    found = {}
    for dep in deps:
        place = ROOT / dep
        if dep.startswith("src/darkroom/"):
            for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
                if path not in files and path.name != "__init__.py":
                    found[path.relative_to(SRC).as_posix()] = len(path.read_text(encoding="utf-8").splitlines())
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_little_that_it_never_reaches(stage: str) -> None:
    found = unreached(stage, STAGES[stage]["deps"])
    assert sum(found.values()) <= UNREACHED[stage], found


def test_an_unreached_dependency_is_seen() -> None:
    assert "darkroom/training/fit.py" in unreached("split", ["src/darkroom/training"])
    assert unreached("split", ["src/darkroom/splitting"]) == {}


@pytest.mark.parametrize(
    ("edited", "repeated"),
    [
        ("sources/http.py", {"download"}),
        ("evaluation/report.py", {"evaluate"}),
        ("inference/tta.py", {"evaluate", "predict", "export"}),
        ("splitting/stratified.py", {"split"}),
        ("stage/runner.py", {"check", "download", "split", "train", "evaluate", "predict", "export"}),
        ("data/pack.py", {"download", "split", "train", "evaluate", "predict", "export"}),
        ("cli/doctor.py", set()),
    ],
)
def test_an_edit_repeats_what_depends_on_it(edited: str, repeated: set[str]) -> None:
    path = f"src/darkroom/{edited}"
    depending = {name for name in STAGES if any(path == dep or path.startswith(dep + "/") for dep in STAGES[name]["deps"])}
    assert depending == repeated


@pytest.mark.parametrize("stage", STAGES)
def test_a_missing_dependency_is_seen(stage: str) -> None:
    for left_out in ("src/darkroom/stage", "src/darkroom/base", f"src/{stage}.py"):
        assert missing_deps(stage, [dep for dep in STAGES[stage]["deps"] if dep != left_out]) != []


@pytest.mark.parametrize("stage", STAGES)
def test_stage_script_and_params_section_have_one_name(stage: str, content: dict[str, Any]) -> None:
    assert STAGES[stage]["cmd"] == f"python src/{stage}.py"
    if stage == "check":  # it reads every section
        assert "params.yaml" in STAGES[stage]["deps"]
        return
    assert stage in STAGES[stage]["params"]
    assert stage in content
    assert "hardware" not in STAGES[stage]["params"]


HEAVY = {"torch", "torchvision", "timm", "pytorch_lightning", "torchmetrics", "dvclive", "lightning"}
LIGHTNING = {"pytorch_lightning", "dvclive", "torchmetrics", "lightning"}


@pytest.mark.parametrize(
    ("stage", "never"),
    [
        ("check", HEAVY | {"numpy", "pyarrow", "PIL", "dvc"}),
        ("download", HEAVY),
        ("split", HEAVY),
        ("evaluate", LIGHTNING - {"torchmetrics"}),
        ("predict", LIGHTNING),
        ("export", LIGHTNING),
    ],
)
def test_stages_never_import_what_they_do_not_need(stage: str, never: set[str]) -> None:
    assert reached(SRC / f"{stage}.py")[1] & never == set()


def test_the_search_for_heavy_imports_finds_them() -> None:
    assert {"torch", "pytorch_lightning", "dvclive"} <= reached(SRC / "train.py")[1]
    assert "torch" in reached(SRC / "predict.py")[1]


def loaded_by(*statements: str) -> list[set[str]]:
    """Run statements one after the other in a new process, and return the packages that are loaded after each."""
    code = f"import sys; sys.path.insert(0, {str(SRC)!r})\n" + "".join(f"{each}; print(*sys.modules)\n" for each in statements)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [{name.split(".")[0] for name in line.split()} for line in run.stdout.splitlines()]


@pytest.mark.thorough
@pytest.mark.slow
def test_other_packages_do_not_bring_in_the_heavy_ones(digits: Any) -> None:
    """Nor what few need: pandas and triton together would take half a second of each stage's start."""
    pack = f"from pathlib import Path; from darkroom.data.pack import Pack; Pack.open(Path({str(digits.raw)!r})).labels"
    build = "from darkroom.metrics.extra import build_metrics; build_metrics('', {}, num_classes=2, multilabel=False, allow=())"
    few, opened, predict, metrics, asked = loaded_by(
        "import download, split, darkroom.evaluation.report",
        pack,
        "import darkroom.inference.predict, darkroom.models.networks",
        build,
        "import pandas, scipy",
    )
    assert few & HEAVY == opened & HEAVY == set()
    assert (predict | metrics) & LIGHTNING == set()
    assert predict & {"pandas", "triton", "matplotlib", "sympy", "scipy"} == set()
    # The same search finds them where they are.
    assert "torch" in predict
    assert {"pandas", "scipy"} <= asked


@pytest.mark.slow
def test_commands_do_not_bring_in_the_heavy_packages() -> None:
    compare, page, search = loaded_by(
        "import darkroom.versions.report, dvc.api",
        "import darkroom.cli.report, darkroom.cli.predict, darkroom.pages.report, sklearn.manifold",
        "import darkroom.cli.tune, darkroom.cli.repeat, darkroom.search.report, darkroom.experiments.repeat",
    )
    assert compare & HEAVY == page & HEAVY == search & HEAVY == set()


@pytest.mark.thorough
@pytest.mark.slow
def test_lightning_brings_along_few_packages() -> None:
    """Scipy, timm, torchvision, and transformers where it is installed, would take a third of the start of train; others the same."""
    start = "from darkroom.hardware import startup; startup.prepare(); import darkroom.training.fit"
    asked = "from torchmetrics.utilities.imports import _SCIPY_AVAILABLE; assert _SCIPY_AVAILABLE"  # told the truth afterwards
    others = {"scipy", "timm", "torchvision", "transformers", "sympy", "triton", "pandas", "matplotlib"}
    (found,) = loaded_by(f"{start}; {asked}")
    assert found & others == set()
    assert found >= {"pytorch_lightning", "dvclive", "torchmetrics"}


@pytest.mark.parametrize("script", ["train.py", "darkroom/cli/find/__init__.py"])
def test_what_trains_prepares_for_it_first(script: str) -> None:
    lines = [line.strip() for line in (SRC / script).read_text(encoding="utf-8").splitlines()]
    first = next(line for line in lines if line.startswith(("from darkroom.hardware", "from darkroom.training")))
    assert first == "from darkroom.hardware import startup"
    assert lines.index("startup.prepare()") == lines.index(first) + 2


@pytest.mark.parametrize("path", sorted(SRC.glob("*.py")), ids=lambda path: path.name)
def test_scripts_are_short_recipes_without_classes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    assert not any(isinstance(node, ast.ClassDef) for node in ast.walk(ast.parse(text)))


def test_every_script_is_a_stage() -> None:
    """All else is a command of ./darkroom, a file in src/darkroom/cli."""
    assert {path.stem for path in SRC.glob("*.py")} == set(STAGES)


def test_lightning_stands_alone() -> None:
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert "\npytorch-lightning==" in pins
    assert "\nlightning==" not in pins


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)]


SOURCES = sorted(SRC.rglob("*.py"))
LONG_FILES = {"params.py"}
"""Tables of parameters, one section after the other."""


def test_rooms_files_functions_and_constructors_are_small() -> None:
    rooms = {folder: len(list(folder.glob("*.py"))) for folder in {path.parent for path in SOURCES}}
    assert {folder.name: count for folder, count in rooms.items() if count > 16} == {}
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {str(path.relative_to(SRC)): n for path, n in lines.items() if n > 250 and path.name not in LONG_FILES} == {}
    spans = {f"{path.relative_to(SRC)}:{f.name}": f.end_lineno - f.lineno + 1 for path in SOURCES for f in functions(path)}
    assert {name: span for name, span in spans.items() if span > 60} == {}
    constructors = {
        f"{path.relative_to(SRC)}:{f.lineno}": len(f.args.posonlyargs + f.args.args + f.args.kwonlyargs) - 1
        for path in SOURCES
        for f in functions(path)
        if f.name == "__init__"
    }
    assert {name: count for name, count in constructors.items() if count > 8} == {}


if __name__ == "__main__":
    for name, stage in STAGES.items():
        lines = unreached(name, stage["deps"])
        print(
            f"{name}: {sum(lines.values())} lines unreached", *(f"  {count:4} {file}" for file, count in lines.items()), sep="\n"
        )
