"""`./darkroom verify --lock` in a clone without data says what DVC says where the data is: stale or not, for every kind of edit."""

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from repositories import shell
from ruamel.yaml import YAML

from darkroom.base.errors import InputError
from darkroom.base.yaml_file import read_yaml
from darkroom.health.verification.verified import FAIL, NOTE, Finding
from darkroom.health.verification.without_data import verify_lock

SRC = Path(__file__).resolve().parents[4] / "src"
FILES = {
    "params.yaml": "# settings\nsplit:\n  folder: data/photos\n  seed: 0\ntrain:\n  lr: 0.01  # a comment\n  deep: {a: 1}\nhardware:\n  n: 1\n",
    "dvc.yaml": """\
stages:
  check:
    cmd: mkdir -p data; echo ok > data/checked.txt
    deps:
    - params.yaml
    outs:
    - data/checked.txt:
        cache: false
  split:
    cmd: mkdir -p data/split && cat ${split.folder}/* > data/split/rows
    deps:
    - src/split.py
    - data/checked.txt
    - data/labels.csv
    - ${split.folder}
    params:
    - split
    outs:
    - data/split
  train:
    cmd:
    - cp data/split/rows model
    - echo {} > train.json
    deps:
    - src/lib
    - data/split
    params:
    - train
    outs:
    - model
    metrics:
    - train.json:
        cache: false
""",
    "src/split.py": "1\n",
    "src/lib/a.py": "1\n",
    "src/lib/b.py": "2\n",
    "data/photos/a.png": "a\n",
    "data/labels.csv": "a,1\n",
    ".gitignore": "/data/photos\n",
    ".dvcignore": "__pycache__\n",
}
Edit = Callable[[Path], object]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of DVC that ran, with its data."""
    root = tmp_path_factory.mktemp("lock") / "full"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    python = Path(sys.executable).parent
    shell(
        f"PATH={python}:$PATH; git init -q; dvc init -q; dvc add -q data/labels.csv; dvc repro -q; git add -A; git commit -qm ran",
        root,
    )
    return root


@pytest.fixture
def clones(full: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The project with its data, and a fresh clone, to which no data was pulled."""
    shell(f"cp -a {full} with-data; git clone -q {full} fresh", tmp_path)
    assert not any((tmp_path / "fresh" / name).exists() for name in ("data/photos", "data/labels.csv", "data/split", "model"))
    return tmp_path / "with-data", tmp_path / "fresh"


def faults(root: Path, mark: str = FAIL) -> list[str]:
    found: Iterator[Finding] = verify_lock(root)
    return [f"{each.what}: {each.text}" for each in found if each.mark == mark]


def stale_for_dvc(root: Path) -> set[str]:
    """Return the stages but check that DVC would run, as it says where the data is."""
    with Repo(str(root)) as repo:
        return {name.rpartition(":")[2] for name in repo.status()} - {"check"}


def replaced(name: str, old: str, new: str) -> Edit:
    def edit(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return edit


def written(name: str, text: str | None) -> Edit:
    def edit(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).unlink() if text is None else (root / name).write_text(text)

    return edit


def locked(change: Callable[[dict[str, Any]], object]) -> Edit:
    def edit(root: Path) -> None:
        lock = read_yaml(root / "dvc.lock")
        change(lock["stages"])
        with (root / "dvc.lock").open("w") as file:
            YAML(typ="safe", pure=True).dump(lock, file)

    return edit


STALE: dict[str, tuple[Edit, str]] = {
    "parameter": (replaced("params.yaml", "lr: 0.01", "lr: 0.1"), "params.yaml: train.lr has changed since train ran; run 'dvc repro'"),
    "nested parameter": (replaced("params.yaml", "a: 1", "a: 1, b: 2"), "params.yaml: train.deep.b has changed since train ran"),
    "section removed": (replaced("params.yaml", "train:", "trian:"), "params.yaml: train"),
    "code": (replaced("src/split.py", "1", "2"), "src/split.py: has changed since split ran; run 'dvc repro'"),
    "code in a folder": (replaced("src/lib/a.py", "1", "2"), "src/lib: has changed since train ran; run 'dvc repro'"),
    "code added": (written("src/lib/c.py", ""), "src/lib: has changed since train ran"),
    "code removed": (written("src/lib/b.py", None), "src/lib: has changed since train ran"),
    "file of code removed": (written("src/split.py", None), "src/split.py: is missing; run 'dvc repro'"),
    "command": (replaced("dvc.yaml", "cp data", "cp -f data"), "dvc.lock: train lacks the command cp -f"),
    "dependency": (replaced("dvc.yaml", "- src/lib\n", "- src/lib\n    - src/split.py\n"), "dvc.lock: train lacks the dependency src/split.py"),
    "section of parameters": (replaced("dvc.yaml", "- train\n", "- train\n    - split\n"), "dvc.lock: train lacks the section of params.yaml split"),
    "output": (replaced("dvc.yaml", "- model\n", "- model\n    - more\n"), "dvc.lock: train lacks the output more; run 'dvc repro train'"),
    "stage": (
        replaced("dvc.yaml", "stages:\n", "stages:\n  more:\n    cmd: 'true'\n    deps: [src/split.py]\n"),
        "dvc.lock: has nothing of more, which did not run; run 'dvc repro'",
    ),
    "stage that is not recorded": (locked(lambda stages: stages.pop("train")), "dvc.lock: has nothing of train"),
    "hash of code": (locked(lambda stages: stages["train"]["deps"][1].update(md5="0" * 32)), "src/lib: has changed since train ran"),
    "hash of data": (
        locked(lambda stages: stages["train"]["deps"][0].update(md5="0" * 32 + ".dir")),
        "dvc.lock: train ran on another version of data/split than split made; run 'dvc repro'",
    ),
    "value of a parameter": (
        locked(lambda stages: stages["train"]["params"]["params.yaml"]["train"].update(lr=5)),
        "params.yaml: train.lr has changed since train ran",
    ),
    "recorded command": (locked(lambda stages: stages["train"].update(cmd="true")), "dvc.lock: train has the command true, unlike dvc.yaml"),
    "metrics": (replaced("train.json", "{}", '{"accuracy": 1}'), "train.json: differs from the output of train; run 'git checkout"),
    "metrics removed": (written("train.json", None), "train.json: is missing; run 'git checkout HEAD -- train.json'"),
    "pinned data": (
        replaced("data/labels.csv.dvc", "md5: ", "md5: 0"),
        "data/labels.csv.dvc: names another version of data/labels.csv than split read; run 'dvc repro'",
    ),
}  # fmt: skip
# dvc.lock is not what dvc.yaml says, though DVC runs nothing.
MORE: dict[str, tuple[Edit, str]] = {
    "dependency removed": (replaced("dvc.yaml", "    - src/lib\n", ""), "dvc.lock: train has the dependency src/lib, unlike dvc.yaml"),
    "output removed": (replaced("dvc.yaml", "    outs:\n    - model\n", ""), "dvc.lock: train has the output model, unlike dvc.yaml"),
    "stage removed": (
        lambda root: (root / "dvc.yaml").write_text((root / "dvc.yaml").read_text().partition("  train:")[0]),
        "dvc.lock: has a stage train, which dvc.yaml does not have",
    ),
}  # fmt: skip
FRESH: dict[str, Edit] = {
    "nothing": lambda _: None,
    "comment": replaced("params.yaml", "# a comment", "# another"),
    "other section": replaced("params.yaml", "n: 1", "n: 2"),
    "notation": replaced("params.yaml", "lr: 0.01", "lr: 1.0e-2"),
    "code elsewhere": written("src/other.py", "3"),
    "left behind": written("src/lib/__pycache__/a.pyc", "3"),
    "order": replaced("dvc.yaml", "- src/lib\n    - data/split\n", "- data/split\n    - src/lib\n"),
    "title": replaced("dvc.yaml", "stages:\n", "# The pipeline\nstages:\n"),
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("case", STALE)
def test_every_kind_of_staleness_is_found(clones: tuple[Path, Path], case: str) -> None:
    edit, told = STALE[case]
    for root in clones:
        edit(root)
    found = faults(clones[1])
    assert any(each.startswith(told) for each in found), found
    assert all("; run '" in each for each in found), found
    if not case.startswith("pinned"):  # whose file DVC does not compare with what a stage read before it is there
        assert stale_for_dvc(clones[0]), "DVC sees it, too"


@pytest.mark.parametrize("case", MORE)
def test_what_dvc_does_not_see_is_found(clones: tuple[Path, Path], case: str) -> None:
    edit, told = MORE[case]
    edit(clones[1])
    assert any(each.startswith(told) for each in faults(clones[1])), faults(clones[1])


@pytest.mark.parametrize("case", FRESH)
def test_nothing_else_is_taken_for_stale(clones: tuple[Path, Path], case: str) -> None:
    for root in clones:
        FRESH[case](root)
    assert faults(clones[1]) == []
    assert faults(clones[0]) == []
    assert stale_for_dvc(clones[0]) == set()
    assert len(faults(clones[1], NOTE)) == (case in ("comment", "other section", "notation"))


def test_every_value_of_dvc_lock_counts(clones: tuple[Path, Path]) -> None:
    """But those that say what data was like, which only the data can contradict, and outputs that no other stage reads."""
    root = clones[1]
    lock = read_yaml(root / "dvc.lock")
    unnoticed = set()
    for stage, content in lock["stages"].items():
        for kind in ("deps", "outs"):
            for place, item in enumerate(content.get(kind, [])):
                for key in item:
                    other = copy.deepcopy(lock)
                    changed = other["stages"][stage][kind][place]
                    changed[key] = changed[key] + 1 if isinstance(changed[key], int) else f"0{changed[key]}"
                    with (root / "dvc.lock").open("w") as file:
                        YAML(typ="safe", pure=True).dump(other, file)
                    if not faults(root):
                        unnoticed.add((stage, kind, item["path"], key))
    of_data = {("split", "deps", "data/photos"), ("split", "deps", "data/labels.csv"), ("train", "outs", "model")}
    of_data |= {("split", "outs", "data/split"), ("train", "deps", "data/split"), ("check", "deps", "params.yaml")}
    of_data |= {("split", "deps", "data/checked.txt")}
    assert {each[:3] for each in unnoticed} <= of_data
    assert {each for each in unnoticed if each[3] == "path"} == set()
    assert {each[:3] for each in unnoticed if each[3] == "md5"} == {
        ("split", "deps", "data/photos"),
        ("train", "outs", "model"),
        ("check", "deps", "params.yaml"),
    }


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\nschema: '2.0'\n=======\n>>>>>>> other\n", "", "schema: '2.0'\nstages: [1]\n"])
def test_a_damaged_lock_is_one_line(clones: tuple[Path, Path], text: str) -> None:
    (clones[1] / "dvc.lock").write_text(text)
    with pytest.raises(InputError, match=r"^dvc\.lock(:2)?: .*; .*"):
        list(verify_lock(clones[1]))


def test_it_needs_neither_torch_nor_dvc() -> None:
    code = f"import sys; sys.path.insert(0, {str(SRC)!r}); import darkroom.health.verification.without_data; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.partition(".")[0] for name in run.stdout.split()} & {"torch", "dvc", "pyarrow", "PIL", "numpy"} == set()
