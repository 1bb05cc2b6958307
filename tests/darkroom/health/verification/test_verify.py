"""verify compares dvc.lock and the stages' records with the workspace: each kind of false number is found without running anything."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clones import Finished
from ruamel.yaml import YAML

from darkroom.base import files
from darkroom.base.yaml_file import read_yaml
from darkroom.health.verification import trained
from darkroom.health.verification.lock_file import Hashes, check_lock, entries_of
from darkroom.health.verification.records import RECORDS, check_records
from darkroom.health.verification.verified import FAIL, NOTE, Finding
from darkroom.health.verification.verify import verify
from darkroom.stage.record import digest

pytestmark = pytest.mark.slow
Edit = Callable[[bytes], bytes | None]
DECISION, METRICS, CARD, RUN = (
    "src/darkroom/metrics/decision.py",
    "metrics/evaluate.json",
    "models/model.json",
    "models/run.json",
)


@pytest.fixture(scope="module")
def root(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished.copy(tmp_path_factory.mktemp("verify") / "darkroom").path


def replaced(old: str, new: str) -> Edit:
    def edit(content: bytes) -> bytes:
        assert old.encode() in content
        return content.replace(old.encode(), new.encode(), 1)

    return edit


def resealed(**changes: Any) -> Edit:
    """Return an edit of a sealed JSON that also mends its seal."""

    def edit(content: bytes) -> bytes:
        return sealed({**files.parse_sealed_json(content), **changes})

    return edit


def sealed(content: dict[str, Any]) -> bytes:
    before, mark, after = files._json(content | {files.SEAL: ""}).rpartition(f'"{files.SEAL}": "')
    return (before + mark + files._text_sha256(before + mark + after) + after).encode()


def written(text: str) -> Edit:
    return lambda _: text.encode()


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@contextmanager
def changed(root: Path, edits: dict[str, Edit]) -> Iterator[None]:
    """Edit files, without writing to what DVC has linked to its cache, and bring them back."""
    before = {name: (root / name).read_bytes() if (root / name).is_file() else None for name in [*edits, "dvc.lock"]}
    try:
        for name, edit in edits.items():
            put(root / name, edit(before[name] or b""))
        yield
    finally:
        for name, content in before.items():
            put(root / name, content)


def put(path: Path, content: bytes | None) -> None:
    path.unlink(missing_ok=True)
    if content is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def commit(root: Path) -> None:
    """Write dvc.lock as `dvc commit --force` does: whatever is there now counts as made by the last run."""
    lock, params, hashes = read_yaml(root / "dvc.lock"), read_yaml(root / "params.yaml"), Hashes(root)
    for stage in lock["stages"].values():
        for item in [*stage.get("deps", []), *stage["outs"]]:
            now = hashes.of(item["path"])
            if now is not None:
                item.update({key: value for key, value in now._asdict().items() if value is not None})
        for section in stage.get("params", {}).get("params.yaml", {}):
            stage["params"]["params.yaml"][section] = copy.deepcopy(params[section])
    with (root / "dvc.lock").open("w") as file:
        YAML(typ="safe", pure=True).dump(lock, file)


def faults(found: Iterator[Finding] | list[Finding], mark: str = FAIL) -> list[str]:
    return [f"{each.what}: {each.text}" for each in found if each.mark == mark]


def test_a_finished_pipeline_has_neither_mismatches_nor_notes(root: Path) -> None:
    assert [each for each in verify(root) if each.mark != "ok"] == []


COMMITTED: dict[str, tuple[dict[str, Edit], list[str]]] = {
    "learning rate": (
        {"params.yaml": replaced("lr: 0.01", "lr: 0.5")},
        ["params.yaml: train.lr is 0.5, but train ran with 0.01"],
    ),
    "download": (
        {"params.yaml": replaced("timeout_seconds: 30.0", "timeout_seconds: 31.0")},
        ["params.yaml: download.timeout_seconds is 31.0, but download ran with 30.0"],
    ),
    "split": ({"params.yaml": replaced("near_distance: 24", "near_distance: 23")}, ["params.yaml: split.near_distance is 23"]),
    "evaluate": ({"params.yaml": replaced("ece_bins: 15", "ece_bins: 14")}, ["params.yaml: evaluate.ece_bins is 14"]),
    "seed": (
        {"params.yaml": replaced("seed: 0", "seed: 1")},
        ["params.yaml: base.seed is 1, but split", "params.yaml: base.seed is 1, but train"],
    ),
    "key removed": (
        {"params.yaml": replaced("  ece_bins: 15\n", "")},
        ["params.yaml: evaluate.ece_bins is not set, but evaluate ran with 15"],
    ),
    "code": (
        {DECISION: replaced("THRESHOLD = 0.5", "THRESHOLD = 0.4")},
        [f"{DECISION}: is not the code that {stage} ran with" for stage in ("train", "evaluate", "predict")],
    ),
    "code removed": (
        {"src/darkroom/data/decoding/tiff.py": lambda _: None},
        ["src/darkroom/data/decoding/tiff.py: is not the code that download"],
    ),
    "code added": (
        {"src/darkroom/input/dataset/__init__.py": written("")},
        ["src/darkroom/input/dataset/__init__.py: was added since evaluate ran"],
    ),
    "metrics": ({METRICS: replaced('"accuracy": 0', '"accuracy": 1')}, [f"{METRICS}: is not what evaluate wrote"]),
    "curve": ({"metrics/train/metrics.json": replaced("0.", "1.")}, ["metrics/train/metrics.json: is not what train wrote"]),
    "published": (
        {"metrics/train.json": replaced('"accuracy": 0', '"accuracy": 1')},
        ["metrics/train.json: is not what train wrote", "metrics/train.json: accuracy is 1"],
    ),
    "data card": ({"metrics/split/card.md": lambda text: text + b"more"}, ["metrics/split/card.md: is not what split wrote"]),
    "model card": (
        {"models/README.md": replaced("value: 0.", "value: 1.")},
        ["models/README.md: is not what evaluate wrote (metrics/evaluate/run.json)"],
    ),
    "predictions": (
        {"data/predictions/predictions.csv": flipped},
        ["data/predictions/predictions.csv: is not what predict wrote"],
    ),
    "a file more": ({"metrics/evaluate/more.json": written("{}")}, ["metrics/evaluate/more.json: was not written by evaluate"]),
    "a file less": (
        {"metrics/evaluate/per_class.csv": lambda _: None},
        ["metrics/evaluate/per_class.csv: is missing, though evaluate"],
    ),
    "no record": (
        {"metrics/evaluate/run.json": lambda _: None},
        ["metrics/evaluate/run.json: is missing, which says what evaluate"],
    ),
    "record of another stage": (
        {"metrics/evaluate/run.json": resealed(stage="split")},
        ["metrics/evaluate/run.json: is the record of split; "],
    ),
    "a photo more": ({"data/photos/a.png": written("x")}, ["data/photos: is not what download ran with"]),
    "other data": (
        {"data/raw/dataset.json": resealed(licence="mine")},
        [
            "data/raw: is not what split ran with",
            "data/raw/dataset.json: is not what download wrote",
            "models/model.json: was trained on another data/raw",
        ],
    ),
    "model.json of another training": (
        {CARD: resealed(score=0.1)},
        [
            f"{CARD}: is not what train wrote",
            f"{CARD}: is not what evaluate ran with",
            f"{CARD}: is not what predict ran with",
            "metrics/train.json: accuracy is 0.",
        ],
    ),
    "run.json of another training": (
        {RUN: resealed(params={}, origin={"source": "a", "licence": None, "sha256": {}})},
        [f"{CARD}: params is not what", f"{CARD}: origin is not what", "params.yaml: base.seed is 0, but train ran with not set"],
    ),
    "weights of another training": (
        {"models/model.safetensors": flipped},
        [
            "models/model.safetensors: is not what train wrote",
            "models/model.safetensors: is not what evaluate ran with",
            "models/model.json: model.safetensors does not have",
        ],
    ),
}
QUICK = (
    "learning rate",
    "evaluate",
    "code",
    "metrics",
    "model card",
    "other data",
    "model.json of another training",
    "run.json of another training",
)


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.thorough) for case in COMMITTED]
)
def test_what_dvc_commit_recorded_falsely_is_found(root: Path, case: str) -> None:
    edits, expected = COMMITTED[case]
    with changed(root, edits):
        commit(root)
        found = faults(verify(root))
        for start in expected:
            assert any(each.startswith(start) for each in found), (start, found)
        assert all("; " in each for each in found), found  # what to do


def test_dvc_commit_itself_hides_nothing(finished: Finished, tmp_path: Path) -> None:
    clone = finished.copy(tmp_path / "darkroom")
    clone.edit({"lr: 0.01": "lr: 0.5"})
    assert "up to date" in clone.run("dvc commit -q -f && dvc status").stdout
    done = clone.run("./darkroom verify", status=1)
    assert "FAIL  params.yaml: train.lr is 0.5, but train ran with 0.01 (models/run.json)" in done.stdout
    assert done.stdout.endswith(" checked, 1 mismatch: each line above says what to run\n")


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        ({"params.yaml": replaced("num_workers: ", "num_workers:  ")}, ["params.yaml: is not as check read it, in comments"]),
        (
            {"src/plugins/unused.py": written("X = 1")},
            [f"src/plugins/unused.py: was added since {stage} ran" for stage in ("train", "evaluate", "predict")],
        ),
    ],
)
def test_what_may_differ_is_a_note(root: Path, edits: dict[str, Edit], told: list[str]) -> None:
    with changed(root, edits):
        if "params.yaml" not in edits:
            commit(root)
        found = list(verify(root))
        assert faults(found) == []
        notes = faults(found, NOTE)
        assert len(notes) == len(told)
        assert all(any(note.startswith(start) for note in notes) for start in told), notes


def test_code_that_no_stage_depends_on_does_not_count(root: Path) -> None:
    with changed(root, {"src/darkroom/cli/doctor.py": lambda text: text + b"# more"}):
        assert [each for each in verify(root) if each.mark != "ok"] == []


def test_other_versions_are_a_note(root: Path) -> None:
    record = files.read_sealed_json(root / "metrics/evaluate/run.json")
    other = resealed(packages=record["packages"] | {"numpy": "1.0", "nothing": "2.0"}, python="3.9.1")
    with changed(root, {"metrics/evaluate/run.json": other}):
        commit(root)
        found = list(verify(root))
        assert faults(found) == []
        (note,) = faults(found, NOTE)
        assert note.startswith("metrics/evaluate/run.json: evaluate ran with Python 3.9.1, here 3.")
        assert "numpy 1.0, here " in note
        assert "nothing 2.0, here none" in note


def test_a_stage_that_did_not_run_is_a_note_and_its_results_are_not(root: Path) -> None:
    lock = read_yaml(root / "dvc.lock")
    del lock["stages"]["evaluate"]
    with changed(root, {}):
        with (root / "dvc.lock").open("w") as file:
            YAML(typ="safe", pure=True).dump(lock, file)
        (told,) = faults(verify(root))
        assert told.startswith("metrics/evaluate/run.json: is a result of evaluate, of which dvc.lock records nothing; ")
        shutil.move(root / "metrics/evaluate", root / "aside")
        try:
            found = list(verify(root))
        finally:
            shutil.move(root / "aside", root / "metrics/evaluate")
        assert faults(found) == []
        assert faults(found, NOTE) == ["dvc.lock: evaluate did not run; 'dvc repro' runs it"]


PLUGIN = "src/plugins/mine.py"


@pytest.mark.parametrize(
    ("plugin", "more", "told"),
    [
        ("import helpers\n", {"src/helpers.py": written("")}, f"src/helpers.py: is used by {PLUGIN}, but no dependency of train"),
        ("def f():\n    from mylib.deep import x\n", {"src/mylib/deep.py": written("")}, "src/mylib/deep.py: is used by"),
        ("import numpy\nfrom plugins import augmentation\n", {}, None),
    ],
)
def test_code_of_ones_own_that_is_no_dependency_is_found(
    root: Path, plugin: str, more: dict[str, Edit], told: str | None
) -> None:
    with changed(root, {PLUGIN: written(plugin), **more}):
        code = files.read_sealed_json(root / RUN)["code"] | {PLUGIN: files.sha256(root / PLUGIN)}
        with changed(root, {RUN: resealed(code=code)}):
            found = [each for each in faults(records(root)) if each.startswith("src/")]
    found = [each for each in found if "train" in each]
    assert (len(found) == 1 and found[0].startswith(told)) if told else found == []


def records(root: Path) -> list[Finding]:
    """Compare the records alone, as if dvc.lock agreed with everything."""
    pipeline = read_yaml(root / "dvc.yaml")["stages"]
    return list(check_records(root, read_yaml(root / "params.yaml"), pipeline, {stage: set() for stage in RECORDS}))


def test_a_module_that_params_name_is_a_dependency(root: Path) -> None:
    named = replaced("_target_: torch.nn.CrossEntropyLoss", "_target_: mylib.Loss")
    with changed(root, {"params.yaml": named, "src/mylib/__init__.py": written("")}):
        told = [each for each in faults(records(root)) if each.startswith("src/mylib/__init__.py")]
    assert told == [
        "src/mylib/__init__.py: is used by params.yaml: train.loss._target_, but no dependency of train, so that nothing "
        "notices its edits; move it into src/plugins"
    ]


def test_what_a_folder_links_to_counts(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "images").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "loop").symlink_to(tmp_path / "set")
    (tmp_path / "store" / "a.png").write_text("a")
    before = digest(tmp_path, "set")
    (tmp_path / "store" / "a.png").write_text("b")
    assert before is not None
    assert digest(tmp_path, "set") != before


@pytest.mark.parametrize("key", ["train.init_from", "train.teacher.model", "train.resume_from"])
def test_another_model_in_the_folder_that_was_started_from_is_found(root: Path, tmp_path: Path, key: str) -> None:
    shutil.copytree(root / "models", tmp_path / "start")
    model = {name: files.sha256(root / "models" / name) for name in ("model.json", "model.safetensors")}
    origin = {
        "source": "start",
        "sha256": model if key == "train.resume_from" else {"model.safetensors": model["model.safetensors"]},
    }
    (tmp_path / "start" / "checkpoints" / "index.json").unlink()
    assert trained._check_origin(tmp_path, key, "start", origin, "train again").mark == "ok"
    put(tmp_path / "start" / "model.safetensors", b"other")
    found = trained._check_origin(tmp_path, key, "start", origin, "train again")
    assert found.mark == FAIL
    assert found.what == f"params.yaml: {key}"
    assert found.text.startswith("start is another model than the training started from (start); train again")
    shutil.rmtree(tmp_path / "start")
    assert trained._check_origin(tmp_path, key, "start", origin, "train again").mark == NOTE  # of a commit that is not here


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value that is no mapping or list, or an empty one."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value)) if isinstance(value, (dict, list)) else []
    for key, item in items:
        yield from leaves(item, (*path, key))
    if not items:
        yield path


def mutated(content: Any, path: tuple[Any, ...]) -> Any:
    """Return a copy with one value changed: to another one of its type, where it has one."""
    if not path and isinstance(content, bool):
        return not content
    if not path:
        return content + 1 if isinstance(content, (int, float)) else f"{content or ''}x"
    other = copy.copy(content)
    other[path[0]] = mutated(content[path[0]], path[1:])
    return other


# What somebody can change who mends the seal of a record and lets dvc.lock agree, and why nothing contradicts it.
NOT_FOUND = {
    "packages": "versions may differ between machines: a note, or nothing if nothing here contradicts it",
    "python": "the same",
    "state": "the name of the states of a training, of which nothing depends",
}


@pytest.mark.parametrize("name", [*RECORDS.values(), CARD])
def test_no_value_of_a_record_can_change_unnoticed(root: Path, name: str) -> None:
    content = json.loads((root / name).read_text())
    for path in leaves(content):
        with pytest.raises((ValueError, KeyError)):
            files.parse_sealed_json(json.dumps(mutated(content, path), indent=2, ensure_ascii=False).encode() + b"\n")


@pytest.mark.thorough
@pytest.mark.parametrize("name", [*RECORDS.values(), CARD])
def test_no_value_of_a_record_can_change_unnoticed_with_its_seal_mended(root: Path, name: str) -> None:
    content = files.read_sealed_json(root / name)
    # One file of code, one package, one parameter is like another.
    alike: dict[Any, list[tuple[Any, ...]]] = {}
    for path in leaves(content):
        alike.setdefault(path[0], []).append(path)
    for path in [path for paths in alike.values() for path in paths[:4]]:
        with changed(root, {name: lambda _, path=path: sealed(mutated(content, path))}):
            found = faults(records(root))
            expected = name == CARD or path[0] not in NOT_FOUND or (path[0] == "packages" and path[1] in card_packages(root))
            assert bool(found) == expected or (name != RUN and path[0] == "packages"), (path, found)


def card_packages(root: Path) -> list[str]:
    names: list[str] = list(files.read_sealed_json(root / CARD)["packages"])
    return names


def test_no_value_of_dvc_lock_can_change_unnoticed(root: Path) -> None:
    lock, params = read_yaml(root / "dvc.lock"), read_yaml(root / "params.yaml")
    pipeline, hashes = read_yaml(root / "dvc.yaml")["stages"], Hashes(root)
    whole = check_lock(entries_of(lock), pipeline, params, hashes)
    assert not any(faults(found) for found in whole.values())
    unnoticed = []
    for path in leaves(lock):
        other = mutated(lock, path)
        try:
            found = check_lock(entries_of(other), pipeline, params, hashes)
        except (KeyError, TypeError, ValueError):
            continue
        if not any(faults(of_stage) for of_stage in found.values()):
            unnoticed.append((path, [note for of_stage in found.values() for note in faults(of_stage, NOTE)]))
    # Comments and settings of the machine may differ.
    assert {path[:4] for path, _ in unnoticed} == {("stages", "check", "deps", 0)}
    assert all(notes for _, notes in unnoticed)


@pytest.mark.parametrize("kind", ["deps", "outs", "params"])
def test_no_entry_of_dvc_lock_can_go_unnoticed(root: Path, kind: str) -> None:
    lock, params = read_yaml(root / "dvc.lock"), read_yaml(root / "params.yaml")
    pipeline, hashes = read_yaml(root / "dvc.yaml")["stages"], Hashes(root)
    for name, stage in lock["stages"].items():
        entries = stage.get(kind, {}).get("params.yaml", []) if kind == "params" else stage[kind]
        for place in list(entries) if kind == "params" else range(len(entries)):
            other = copy.deepcopy(lock)
            del (other["stages"][name][kind]["params.yaml"] if kind == "params" else other["stages"][name][kind])[place]
            found = check_lock(entries_of(other), pipeline, params, hashes)
            assert any(f"dvc.lock: {name} lacks the " in each for each in faults(found[name])), (name, place)
