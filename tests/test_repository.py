"""The files around the code agree with it: licence, citation, continuous integration, images, the page of licences."""

import ast
import importlib
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from darkroom.base.yaml_file import read_yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
DEVCONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
# What each workflow may do: one that commits results and comments on a pull request needs more.
RIGHTS = {"check": {"contents": "read"}, "experiment": {"contents": "write", "pull-requests": "write"}}
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LICENCES = load("third_party_licences")


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in read_yaml(workflow)["jobs"].values() for step in job["steps"]]


def test_licence_and_citation_agree_with_the_project() -> None:
    citation = read_yaml(ROOT / "CITATION.cff")
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    assert citation["version"] == PROJECT["version"]
    authors = [author["name"] for author in citation["authors"]]
    assert authors == [author["name"] for author in PROJECT["authors"]]
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert f"Copyright 2026 {authors[0]}" in licence
    assert [path for path in PROJECT["license-files"] if not (ROOT / path).exists()] == []


def test_ci_runs_every_python_that_is_supported() -> None:
    lowest, end = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups())  # type: ignore[union-attr]
    matrix = read_yaml(ROOT / ".github" / "workflows" / "check.yml")["jobs"]["check-and-test"]["strategy"]["matrix"]
    assert matrix["python"] == [f"3.{minor}" for minor in range(lowest, end)]
    image = re.search(r"^FROM python:3\.(\d+)\.\d+-", DOCKERFILE, re.MULTILINE)
    assert image
    assert lowest <= int(image[1]) < end


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_targets_that_exist_with_pinned_actions_and_few_rights(workflow: Path) -> None:
    content = read_yaml(workflow)
    assert content["permissions"] == RIGHTS[workflow.stem]
    if content["permissions"]["contents"] == "write":  # never with the code of strangers
        conditions = [job["if"] for job in content["jobs"].values()]
        assert all("head.repo.full_name == github.repository" in each for each in conditions)
    assert all("timeout-minutes" in job for job in content["jobs"].values())
    commands = [shlex.split(step["run"]) for step in steps(workflow) if "run" in step]
    made = {command[1] for command in commands if command[0] == "make"}
    assert made
    assert made <= TARGETS
    actions = [step["uses"] for step in steps(workflow) if "uses" in step]
    assert [action for action in actions if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+", action)] == []


def test_ci_checks_and_tests() -> None:
    runs = [step.get("run") for step in steps(ROOT / ".github" / "workflows" / "check.yml")]
    assert {"make check", "make test"} <= set(runs)


@pytest.mark.parametrize("target", ["setup", "setup-dev"])
@pytest.mark.parametrize("kind", ["CPU", "CUDA"])
def test_the_image_has_what_its_set_up_needs(target: str, kind: str, tmp_path: Path) -> None:
    first, _, _ = DOCKERFILE.partition("RUN PIP_NO_CACHE_DIR")
    for line in re.findall(r"^COPY (.+)$", first, re.MULTILINE):
        *sources, folder = line.split()
        for source in sources:
            place = tmp_path / folder / Path(source).name if folder.endswith("/") else tmp_path / folder
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, place)
    # `make` needs the requirements, the installer pyproject.toml.
    plan = subprocess.run(
        ["make", "-n", target, f"{kind}=1", "VENV=/opt/venv", f"PYTHON={sys.executable}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    command = shlex.split(plan.splitlines()[0].removeprefix("@"))
    assert command[1:5] == ["tools/install.py", "--venv", "/opt/venv", f"--{kind.lower()}"]
    imported = f"import sys; sys.path.insert(0, 'tools'); import install; assert install.suitable((3, 12)); open({command[-1]!r})"
    subprocess.run([sys.executable, "-c", imported], cwd=tmp_path, check=True)


def test_arguments_of_the_image_are_declared_and_name_targets() -> None:
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)", DOCKERFILE, re.MULTILINE))
    assert arguments == {"KIND": "CPU", "TARGET": "setup"}
    assert set(DEVCONTAINER["build"]["args"]) <= set(arguments)
    assert {arguments["TARGET"], DEVCONTAINER["build"]["args"]["TARGET"]} <= TARGETS
    folder = ROOT / ".devcontainer"
    assert (folder / DEVCONTAINER["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert set(re.findall(r"--build-arg (\w+)=", DOCKERFILE)) <= set(arguments)


def test_make_in_a_container_uses_the_packages_of_the_image() -> None:
    flags = re.search(r"MAKEFLAGS=(\S+)", DOCKERFILE)
    assert flags
    plan = subprocess.run(
        ["make", "-n", "setup"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "MAKEFLAGS": flags[1]},
    )
    assert "tools/install.py --venv /opt/venv" in plan.stdout
    interpreter = DEVCONTAINER["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert interpreter == "/opt/venv/bin/python"


def test_editors_are_offered_the_same_extensions() -> None:
    offered = json.loads((ROOT / ".vscode" / "extensions.json").read_text(encoding="utf-8"))["recommendations"]
    assert offered == DEVCONTAINER["customizations"]["vscode"]["extensions"]
    assert {"iterative.dvc", "ms-python.python"} <= set(offered)


def test_the_page_of_licences_lists_every_pinned_package() -> None:
    page = LICENCES.PAGE.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([\w.-]+) \| ([^|]+) \| [^|]+ \|$", page.partition("<!-- packages")[2], re.MULTILINE))
    rows.pop("package")
    assert rows == {name: ", ".join(versions) for name, versions in LICENCES.pinned(REQUIREMENTS).items()}, "run: make generated"
    for name in ("nvidia-", "pygit2", "asyncssh", "grandalf"):
        assert f"| `{name}" in page.partition("<!-- packages")[0]


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the page is made with the oldest Python; others have other versions")
def test_the_page_of_licences_says_what_the_packages_declare() -> None:
    page = LICENCES.PAGE.read_text(encoding="utf-8")
    assert LICENCES.renewed(page, REQUIREMENTS) == page, "run: make generated"


def test_a_package_without_a_licence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no-such-package: is not installed; run make setup"):
        LICENCES.table("no-such-package==1.0\n")
    monkeypatch.setattr(LICENCES, "declared", lambda _: "")
    with pytest.raises(SystemExit, match="numpy: its metadata name no licence"):
        LICENCES.table("numpy==1.0\n")


SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "tools").glob("*.py")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_benchmarks_and_tools_import_what_exists(script: Path) -> None:
    assert missing_names(script.read_text(encoding="utf-8")) == []


def missing_names(source: str) -> list[str]:
    """Return the names that a script imports from darkroom or from its own folder, also inside functions, and that are not there."""
    missing = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        names = [alias.name for alias in node.names]
        if node.module.partition(".")[0] == "darkroom":
            module = importlib.import_module(node.module)
            missing += [f"{node.module}.{name}" for name in names if not has(module, name)]
        elif (path := ROOT / "benchmarks" / f"{node.module}.py").exists():
            missing += [f"{node.module}.{name}" for name in names if name not in assigned(path)]
    return missing


def has(module: ModuleType, name: str) -> bool:
    package = hasattr(module, "__path__")
    return hasattr(module, name) or (package and importlib.util.find_spec(f"{module.__name__}.{name}") is not None)


def assigned(path: Path) -> set[str]:
    """Return the names at the top level of a script, without running it."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.ImportFrom):
            names |= {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
            names |= {alias.name for alias in getattr(node, "names", [])}
    return names


def test_a_name_that_is_not_there_is_found() -> None:
    assert missing_names(
        "def f():\n    from darkroom.base.errors import InputError, Gone\n    from peers import ROOT, gone\n"
    ) == [
        "darkroom.base.errors.Gone",
        "peers.gone",
    ]
