"""The tour names files and functions that exist, and leads from `dvc repro` to the step, each file calling the next."""

import ast
import re
from pathlib import Path

import pytest
from pytorch_lightning import Trainer

from darkroom.base.yaml_file import read_yaml

ROOT = Path(__file__).resolve().parents[1]
TOUR = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
# Of what the tour names in code, all that is neither a file nor defined in this repository.
ELSEWHERE = {"dvc repro", "python src/train.py", "(N, C, H, W)", "(N, K)", "trainer.fit", "train"}
FILE = re.compile(r"`((?:src/|dvc)[\w./]*\.(?:py|yaml))`")


def defined(path: Path) -> set[str]:
    """Return the functions and classes of a file, methods and fields as `Class.name`."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            members = [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
            members += [ast.unparse(each.target) for each in node.body if isinstance(each, ast.AnnAssign)]
            names |= {f"{node.name}.{name}" for name in members} | set(members)
    return names


def called(path: Path, function: str) -> set[str]:
    """Return the names that a function of a file calls."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (found,) = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function]
    return {ast.unparse(node.func) for node in ast.walk(found) if isinstance(node, ast.Call)}


def steps() -> list[tuple[Path, str]]:
    """Return file and text of each step of the walk."""
    items = re.split(r"(?m)^\d\. ", TOUR.partition("\n## ")[0])[1:]
    return [(ROOT / FILE.findall(item)[0], item) for item in items]


def named(text: str) -> set[str]:
    return {name for name in re.findall(r"`([^`]+)`", text) if name not in ELSEWHERE and not FILE.fullmatch(f"`{name}`")}


def test_the_walk_has_five_files_and_visits_none_twice() -> None:
    files = [path for path, _ in steps()]
    assert len(set(files)) == len(files) == 5
    assert [path.exists() for path in files] == [True] * 5


def test_each_file_leads_to_the_next() -> None:
    dvc, train, plan, fit, classifier = (path for path, _ in steps())
    assert read_yaml(dvc)["stages"]["train"]["cmd"] == f"python {train.relative_to(ROOT)}"
    assert {"make_plan", "fit", "publish"} <= called(train, "main")
    assert {"make_plan", "build_classifier"} <= defined(plan)
    assert {"build_model", "build_training_images", "build_objective", "build_classifier", "dry_run"} <= called(plan, "make_plan")
    assert "trainer.fit" in called(fit, "fit")
    assert "super().optimizer_step" in called(classifier, "optimizer_step")
    assert hasattr(Trainer, "fit")


@pytest.mark.parametrize("path", sorted(set(FILE.findall(TOUR))))
def test_every_file_exists(path: str) -> None:
    assert (ROOT / path).is_file()


def test_every_name_is_defined_in_the_files_of_the_tour() -> None:
    known = set().union(*(defined(ROOT / path) for path in set(FILE.findall(TOUR)) if path.endswith(".py")))
    parameters = {name for name in named(TOUR) if name.startswith("train.")}
    content = read_yaml(ROOT / "params.yaml")["train"]
    assert {name.removeprefix("train.") for name in parameters} <= set(content)
    assert named(TOUR) - parameters - known == set()
    assert "fitt" not in known


def test_the_walk_names_what_its_own_files_define() -> None:
    for path, text in steps():
        if path.suffix == ".py":
            assert named(text) & defined(path), path


def test_the_hooks_of_a_step_stand_in_the_order_of_the_docstring() -> None:
    path = steps()[-1][0]
    listed = re.findall(r"(?m)^\d\. `(\w+)`", ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
    text = path.read_text(encoding="utf-8")
    places = [text.index(f"    def {name}(") for name in listed]
    assert len(listed) >= 6
    assert places == sorted(places)
