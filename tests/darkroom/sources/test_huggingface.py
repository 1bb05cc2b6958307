"""Data sets of the library `datasets`: its files in a folder, and the hub's, of which a commit is asked for."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forked_stages import Result, forked
from hub import COMMIT, Hub, hub

from darkroom.base import files, paths
from darkroom.base.errors import InputError, RunError
from darkroom.base.params import DownloadParams
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.data.pack import Pack
from darkroom.sources.pack_writer import write_pack
from darkroom.sources.read import read_source

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
ROOT = Path(__file__).resolve().parents[3]
SOURCE = str(ROOT / "src")


@pytest.fixture
def make_set(image: Callable[..., bytes]) -> Callable[..., datasets.Dataset]:
    """Return images with labels, 0 and 1 by turns, and two more columns."""

    def make(count: int = 6, seed: int = 0, **columns: Any) -> datasets.Dataset:
        content = {
            "image": [{"bytes": image(seed + number), "path": f"{number}.png"} for number in range(count)],
            "label": [number % 2 for number in range(count)],
            "patient": [f"p{number // 2}" for number in range(count)],
            "age": [40 + number for number in range(count)],
        } | columns
        made = datasets.Dataset.from_dict(content).cast_column("image", datasets.Image())
        return made.cast_column("label", datasets.ClassLabel(names=["cat", "dog"])) if "label" not in columns else made

    return make


@pytest.fixture
def folder(root: Path) -> Path:
    """The folder of the data set."""
    made = root / "set"
    (made / "data").mkdir(parents=True)
    return made


@pytest.fixture
def pack(root: Path, download: Callable[..., DownloadParams]) -> Callable[..., Pack]:
    def run(**changes: Any) -> Pack:
        params = download(**({"source": "huggingface", "folder": "set"} | changes))
        with files.replaced_dir(root / "raw") as directory, read_source(params, directory) as listing:
            write_pack(listing, directory, params)
        return Pack.open(root / "raw")

    return run


def test_parquet_in_a_folder(
    folder: Path, pack: Callable[..., Pack], make_set: Callable[..., datasets.Dataset], root: Path
) -> None:
    make_set().to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    make_set(4, 50).to_parquet(folder / "data" / "test-00000-of-00001.parquet")
    packed = pack(**{"columns.group": "patient"})
    assert packed.ids == [f"train/{number}" for number in range(6)] + [f"test/{number}" for number in range(4)]
    assert packed.classes == ["cat", "dog"]
    assert packed.labels.tolist() == [0, 1] * 5
    assert packed.splits.tolist() == ["train"] * 6 + ["test"] * 4
    assert packed.groups[:3] == ["p0", "p0", "p1"]
    assert packed.extra(np.arange(10))[1] == {"age": "41"}
    assert sorted(path.name for path in (root / "raw").iterdir()) == ["dataset.json", "images.npy", "index.parquet"]
    # What has changed since is read anew: nothing is taken from a cache by its name.
    make_set(6, 99).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    again = pack()
    assert not np.array_equal(again[0], packed[0])


def test_the_pixels_are_those_that_were_saved(
    folder: Path, pack: Callable[..., Pack], make_set: Callable[..., datasets.Dataset]
) -> None:
    made = make_set()
    made.to_parquet(folder / "train.parquet")
    packed = pack()
    assert all(np.array_equal(packed[row], np.asarray(made[row]["image"])) for row in range(6))


@pytest.mark.parametrize("form", ["saved", "saved parts", "images"])
def test_other_forms(
    form: str, folder: Path, pack: Callable[..., Pack], make_set: Callable[..., datasets.Dataset], image: Callable[..., bytes]
) -> None:
    if form == "saved":
        make_set().save_to_disk(folder)
    elif form == "saved parts":
        datasets.DatasetDict({"train": make_set(), "validation": make_set(2, 20)}).save_to_disk(folder)
    else:
        for number in range(6):
            path = folder / "train" / ["cat", "dog"][number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image(number))
    packed = pack()
    assert packed.classes == ["cat", "dog"]
    assert packed.splits.tolist() == ["train"] * 6 + (["val"] * 2 if form == "saved parts" else [])


def test_several_labels_and_names_as_labels(
    folder: Path, pack: Callable[..., Pack], make_set: Callable[..., datasets.Dataset]
) -> None:
    kind = datasets.List(datasets.ClassLabel(names=["a", "b", "c"]))
    make_set(label=[[0], [1, 2], [], [2], [0, 1], [1]]).cast_column("label", kind).to_parquet(folder / "train.parquet")
    packed = pack()
    assert packed.classes == ["a", "b", "c"]
    assert packed.labels.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 1], [1, 1, 0], [0, 1, 0]]

    make_set(label=["x", "y"] * 3).to_parquet(folder / "train.parquet")
    assert pack().classes == ["x", "y"]
    make_set(label=[7, 10] * 3).to_parquet(folder / "train.parquet")
    assert pack().classes == ["7", "10"]
    make_set(label=["x;y", "y", "", "x", "y", "x"]).to_parquet(folder / "train.parquet")
    assert pack(**{"columns.separator": ";"}).labels[:3].tolist() == [[1, 1], [0, 1], [0, 0]]


def test_chosen_parts(folder: Path, pack: Callable[..., Pack], make_set: Callable[..., datasets.Dataset]) -> None:
    parts = {"train": make_set(), "test": make_set(4, 50), "unlabelled": make_set(2, 70)}
    for name, part in parts.items():
        (folder / name).mkdir()
        part.to_parquet(folder / name / "0.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        + "".join(f"  - split: {name}\n    path: {name}/0.parquet\n" for name in parts)
        + "---\n"
    )
    with pytest.raises(InputError, match=r"has a split 'unlabelled', which is not train, .* -S 'download\.arguments\.split="):
        pack()
    assert pack(arguments={"split": ["train", "test"]}).splits.tolist() == ["train"] * 6 + ["test"] * 4
    assert pack(arguments={"split": "test"}).splits.tolist() == ["train"] * 4
    assert len(pack(arguments={"split": "train[:4]"})) == 4
    with pytest.raises(InputError, match=r'set: cannot be read \(Unknown split "tset"'):
        pack(arguments={"split": "tset"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arguments": {"trust_remote_code": True}}, r"download\.arguments\.trust_remote_code: is not one of name, revision"),
        ({"columns.label": "breed"}, r"download\.columns\.label: set has no column 'breed'"),
        ({"columns.group": "site"}, r"download\.columns\.group: set has no column 'site'"),
        ({"columns.path": "age"}, r"download\.columns\.path: set has no images in a column 'age'; they are in image"),
        ({"columns.split": "age"}, r"set: row 1 has the unknown split '40'; use train, val, test"),
        ({"folder": "nowhere"}, r"download\.folder: nowhere does not exist"),
        ({"folder": "s3://bucket/x"}, r"download\.folder: s3://bucket/x .*; correct it"),
        ({"dataset": "cifar10"}, r"download\.dataset: 'cifar10' is not the name .*; write it as owner/name"),
        ({"arguments": {"name": "large"}}, r"set: cannot be read \(BuilderConfig 'large' not found"),
        ({"arguments": {"data_files": "*.nothing"}}, r"set: cannot be read \(No \(supported\) data files found"),
    ],
)
def test_mistakes_in_params(
    changes: dict[str, Any], message: str, folder: Path, pack: Callable[..., Pack], make_set: Callable[..., datasets.Dataset]
) -> None:
    make_set().to_parquet(folder / "train.parquet")
    with pytest.raises(InputError, match=message):
        pack(**changes)


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("empty", r"set: cannot be read \(.*"),
        ("damaged", r"set: cannot be read \("),
        ("text", r"set: has text files; Darkroom reads parquet, arrow, imagefolder, webdataset"),
        ("no images", r"set: has 0 columns of images; use a data set of images with labels"),
        ("two images", r"set: has 2 columns of images; set download\.columns\.path to one of image, other"),
        ("two labels", r"set: has 2 columns that may be the label; set download\.columns\.label to one of label, coarse"),
        ("no label", r"set: has 0 columns that may be the label; set download\.columns\.label to one of patient, age"),
        ("none labelled", r"set: the split 'test' has no labels; name the splits that have labels"),
        ("one unlabelled", r"set: row 3 has no label; add one, or remove the row"),
        ("elsewhere", r"set: reads .*secret\.parquet, which is outside of the folder"),
        ("arrow elsewhere", r"set: reads .*secret\.arrow, which is outside of the folder"),
        ("a file of this machine", r"1 unreadable image\(s\).*'train/0' has no content"),
        ("bytes that are no image", r"1 unreadable image\(s\).*'train/0' is not a JPEG"),
    ],
)
def test_data_sets_that_cannot_be_used(  # noqa: C901
    case: str,
    message: str,
    folder: Path,
    pack: Callable[..., Pack],
    make_set: Callable[..., datasets.Dataset],
    image: Callable[..., bytes],
    root: Path,
) -> None:
    path = folder / "train.parquet"
    made = make_set()
    if case == "damaged":
        made.to_parquet(path)
        path.write_bytes(path.read_bytes()[:-100])
    elif case == "text":
        (folder / "train.txt").write_text("one\n")
    elif case == "arrow elsewhere":
        made.save_to_disk(folder)
        (folder / "data-00000-of-00001.arrow").rename(folder.parent / "secret.arrow")
        state = folder / "state.json"
        state.write_text(state.read_text().replace("data-00000-of-00001", "../secret"))
    elif case == "no images":
        made.remove_columns("image").to_parquet(path)
    elif case == "two images":
        datasets.concatenate_datasets([made, made.select_columns("image").rename_column("image", "other")], axis=1).to_parquet(
            path
        )
    elif case == "two labels":
        made.add_column("coarse", [0] * 6).cast_column("coarse", datasets.ClassLabel(names=["pet"])).to_parquet(path)
    elif case == "no label":
        made.remove_columns("label").to_parquet(path)
    elif case == "none labelled":
        made.to_parquet(path)
        kind = datasets.ClassLabel(names=["cat", "dog"])
        make_set(4, 50, label=[-1] * 4).cast_column("label", kind).to_parquet(folder / "test.parquet")
    elif case == "one unlabelled":
        kind = datasets.ClassLabel(names=["cat", "dog"])
        make_set(label=[0, 1, None, 0, 1, 1]).cast_column("label", kind).to_parquet(path)
    elif case == "elsewhere":
        made.to_parquet(root / "secret.parquet")
        (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files: {root}/secret.parquet\n---\n")
    elif case == "a file of this machine":
        (root / "secret.png").write_bytes(image())
        write_with_cell(made, {"bytes": None, "path": str(root / "secret.png")}, path)
    elif case == "bytes that are no image":
        write_with_cell(made, {"bytes": b"none", "path": None}, path)
    with pytest.raises(InputError, match=message):
        pack()


def write_with_cell(made: datasets.Dataset, cell: dict[str, Any], path: Path) -> None:
    """Write a data set with another first image than the library would write."""
    cells = [cell, *(each.as_py() for each in made.with_format("arrow")[1:]["image"])]
    column = pa.array(cells, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    pq.write_table(made.data.table.set_column(0, "image", column), path)


def test_without_the_library(
    monkeypatch: pytest.MonkeyPatch, folder: Path, pack: Callable[..., Pack], make_set: Callable[..., datasets.Dataset]
) -> None:
    make_set().to_parquet(folder / "train.parquet")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        InputError, match=r"huggingface needs the package datasets,.*; run 'pip install -c requirements-dev\.txt datasets'"
    ):
        pack()


class TestHub:
    """In processes of their own: the libraries read the hub's address as they are imported."""

    @pytest.fixture(scope="class")
    def started(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Path, subprocess.Popen[str]]]:
        """A hub, the folder of the libraries, and a process that has imported them, which forks to read a data set."""
        home = tmp_path_factory.mktemp("hub")
        with hub() as served:
            env = {
                "HF_ENDPOINT": served.address,
                "HF_HOME": str(home),
                "PYTHONPATH": f"{SOURCE}{os.pathsep}{ROOT / 'tests'}",
                "HF_HUB_DOWNLOAD_TIMEOUT": "3",
            }
            command = [sys.executable, __file__]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            with subprocess.Popen(command, env=os.environ | env, text=True, **pipes) as process:
                yield served, home, process

    @pytest.fixture
    def served(self, started: Any, root: Path, make_set: Callable[..., datasets.Dataset]) -> Hub:
        served, home, _ = started
        shutil.rmtree(home, ignore_errors=True)
        served.status, served.cut = 200, False
        served.asked.clear()
        make_set(200).to_parquet(root / "train.parquet")
        served.files["me/pets"] = {
            "README.md": b"---\nlicense: mit\n---\n# Pets\n",
            "data/train-00000-of-00001.parquet": (root / "train.parquet").read_bytes(),
        }
        return served

    @pytest.fixture
    def run(self, started: Any, root: Path) -> Callable[..., Result]:
        def run(dataset: str, arguments: dict[str, str]) -> Result:
            *_, process = started
            changes = {"source": "huggingface", "dataset": dataset, "arguments": arguments}
            process.stdin.write(json.dumps([str(root), changes]) + "\n")
            process.stdin.flush()
            return Result(*json.loads(process.stdout.readline()))

        return run

    def test_a_data_set_at_a_commit(self, served: Hub, run: Callable[..., Any], root: Path) -> None:
        done = run("me/pets", {"revision": COMMIT})
        assert done.status == 0, done.err
        dataset = json.loads((root / "raw" / "dataset.json").read_text())
        assert dataset["count"] == 200
        assert dataset["classes"] == ["cat", "dog"]
        assert (dataset["name"], dataset["arguments"], dataset["licence"]) == ("me/pets", {"revision": COMMIT}, "mit")
        assert str(root) not in json.dumps(dataset)
        asked = len([line for line in served.asked if "parquet" in line and line.startswith("GET")])
        assert run("me/pets", {"revision": COMMIT}).status == 0
        assert len([line for line in served.asked if "parquet" in line and line.startswith("GET")]) == asked

    @pytest.mark.usefixtures("served")
    def test_a_branch_is_refused_with_its_commit(self, run: Callable[..., Any]) -> None:
        for arguments in ({}, {"revision": "main"}):
            done = run("me/pets", arguments)
            assert done.status == 2
            assert done.err.count("\n") == 1
            assert f"-S download.arguments.revision={COMMIT}" in done.err

    def test_faults(self, served: Hub, run: Callable[..., Any]) -> None:
        pinned = {"revision": COMMIT}
        for dataset, arguments, status, message in (
            ("me/cats", pinned, 2, "download.dataset: the hub refuses me/cats (status 404)"),
            ("me/pets", {"revision": "f" * 40}, 2, "the hub refuses me/pets (status 404)"),
            ("me/pets", pinned | {"name": "large"}, 2, "BuilderConfig 'large' not found"),
        ):
            done = run(dataset, arguments)
            assert (done.status, done.err.count("\n")) == (status, 1), done.err
            assert message in done.err
        served.cut = True
        done = run("me/pets", pinned)
        assert (done.status, "me/pets" in done.err) == (1, True), done.err
        served.cut = False
        for status, code in ((401, 2), (500, 1)):
            served.status = status
            done = run("me/pets", pinned)
            assert done.status == code, done.err
            assert f"status {status}" in done.err


def read_from_the_hub(root: Path, changes: dict[str, Any]) -> None:
    content = read_yaml(ROOT / "params.yaml")
    content["download"] |= changes
    paths.ROOT = root
    params = check_params(content).download
    with files.replaced_dir(root / "raw") as directory, read_source(params, directory) as listing:
        write_pack(listing, directory, params)


def test_a_hub_that_cannot_be_reached(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    changes = {"source": "huggingface", "dataset": "me/pets", "arguments": {"revision": COMMIT}}
    with pytest.raises(RunError, match="the hub cannot be reached"):
        read_from_the_hub(root, changes)


if __name__ == "__main__":  # what TestHub starts
    for line in sys.stdin:
        root, changes = json.loads(line)
        main = partial(read_from_the_hub, Path(root), changes)
        print(json.dumps(forked("download", main, lambda _: None)), flush=True)
