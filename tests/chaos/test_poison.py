"""Files made to run code, or to write where they should not: no code of theirs runs, and nothing is written outside the folder.

Every file is opened in a process of its own, under an audit hook, which cannot be removed.
"""

import builtins
import functools
import hashlib
import io
import json
import os
import pickle
import re
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.data.pack import Pack
from darkroom.models.model_json import science
from darkroom.models.networks import build_network
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.saving import load_model, save_model
from darkroom.prediction.predictions import Predictions, write_predictions
from darkroom.sources.pack_writer import write_pack
from darkroom.sources.read import read_source
from darkroom.splitting.assign import assign_splits
from darkroom.splitting.split_writer import write_split
from darkroom.training.checkpoints.saved_states import StateStore

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
FORBIDDEN = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect")
MARK = "planted"


class Case(NamedTuple):
    """A poisoned file, and how it would be opened."""

    name: str
    plant: Callable[[Path, Params], None]
    open_it: Callable[[Path, Params], Any]
    is_refused: bool = True


class Reduced:
    """Becomes a call when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def payloads() -> dict[str, Any]:
    touch = f"touch {MARK}"
    return {
        "os.system": Reduced(os.system, touch),
        "exec": Reduced(builtins.exec, f"open({MARK!r}, 'w').close()"),
        "eval": Reduced(builtins.eval, f"open({MARK!r}, 'w').close()"),
        "open": Reduced(io.open, MARK, "w"),
        "partial": Reduced(functools.partial(os.system, touch)),
        "mkdir": Reduced(os.mkdir, MARK),
        "torch.load": Reduced(torch.load, MARK),
        "import": Reduced(builtins.__import__, MARK),
    }


SMALL = {"provider": "builtin", "name": "small_cnn", "pretrained": False, "kwargs": {"width": 4, "stages": 1}}
SEEN = Preprocessing(image_size=8, channels=1, mean=(0.5,), std=(0.25,))


def publish(folder: Path, params: Params) -> None:
    network = Normalized(build_network(params.train.model, num_classes=2, channels=1), SEEN)
    card = {"network": SMALL, "classes": ["a", "b"], "preprocessing": SEEN.model_dump(mode="json"), "epoch": 1}
    card |= {"monitor": "val/loss", "score": 0.5, "data_sha256": {}, "params": science(params)}
    save_model(folder, network.state_dict(), card)


def weights(content: bytes) -> Callable[[Path, Params], None]:
    """Put other bytes in place of the weights, with the right hash on the card."""

    def plant(folder: Path, params: Params) -> None:
        publish(folder, params)
        path = folder / "model.safetensors"
        path.write_bytes(content)
        card = files.read_sealed_json(folder / "model.json")
        files.write_sealed_json(folder / "model.json", card | {"weights_sha256": files.sha256(path)})

    return plant


def card(**changes: Any) -> Callable[[Path, Params], None]:
    def plant(folder: Path, params: Params) -> None:
        publish(folder, params)
        path = folder / "model.json"
        files.write_sealed_json(path, files.read_sealed_json(path) | changes)

    return plant


def saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def safetensors(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def models() -> Iterator[Case]:
    for name, payload in payloads().items():
        yield Case(f"weights that are a pickle: {name}", weights(pickle.dumps(payload)), load_model)
        yield Case(f"weights that are a torch file: {name}", weights(saved({"network.head.weight": payload})), load_model)
    yield Case(
        "weights that are an old torch file",
        weights(saved(payloads()["os.system"], _use_new_zipfile_serialization=False)),
        load_model,
    )
    yield Case("weights with a huge header", weights(struct.pack("<Q", 1 << 60)), load_model)
    yield Case(
        "weights that lead outside",
        weights(safetensors(b'{"../../x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}') + b"0000"),
        load_model,
    )
    for target in ("os.system", "builtins.exec", f"{MARK}.Net", "subprocess.Popen", "torch.hub.load", "torch.load"):
        yield Case(f"a card that names {target}", card(network={"_target_": target, "command": f"touch {MARK}"}), load_model)
    for kwargs in ({"checkpoint_path": f"{MARK}.pth"}, {"_target_": "os.system"}, {"width": {"_target_": "os.system"}}):
        yield Case(f"a card with {kwargs}", card(network=SMALL | {"kwargs": kwargs}), load_model)


def states() -> Iterator[Case]:
    def open_it(folder: Path, _: Params) -> None:
        if StateStore(folder, {}).latest() is not None:
            raise AssertionError("it was opened")
        raise InputError("no state: it was refused")

    def plant(content: bytes) -> Callable[[Path, Params], None]:
        def write(folder: Path, _: Params) -> None:
            store = StateStore(folder, {})
            store.folder.mkdir(parents=True)
            (store.folder / f"{9:012d}-1-{hashlib.sha256(content).hexdigest()}.ckpt").write_bytes(content)

        return write

    for name, payload in payloads().items():
        yield Case(f"a state that is a torch file: {name}", plant(saved({"global_step": 9, "planted": payload})), open_it)


def parameters() -> Iterator[Case]:
    def open_it(folder: Path, _: Params) -> None:
        check_params(read_yaml(folder / "params.yaml"))

    for tag in (
        "!!python/object/apply:os.system ['touch planted']",
        "!!python/object/new:os.system ['touch planted']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/object:builtins.object {}",
        "!!js/function 'x'",
        "!include /etc/passwd",
        "${env:HOME}",
    ):
        text = (paths.PARAMS).read_text(encoding="utf-8").replace("source: digits", f"source: {tag}")
        yield Case(f"params.yaml with {tag}", lambda folder, _, text=text: (folder / "params.yaml").write_text(text), open_it)


def archives() -> Iterator[Case]:
    def plant(content: bytes, name: str) -> Callable[[Path, Params], None]:
        return lambda folder, _: (folder / name).write_bytes(content) and None

    def opener(name: str) -> Callable[[Path, Params], Any]:
        def open_it(folder: Path, params: Params) -> None:
            source = {"source": "archive", "archive": str(folder / name), "sha256": files.sha256(folder / name)}
            (folder / "raw").mkdir()
            with read_source(params.download.model_copy(update=source), folder / "raw") as listing:
                write_pack(listing, folder / "raw", params.download)

        return open_it

    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    image = file.getvalue()
    kinds = {"link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "device": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE}
    names = ("../outside.png", "/tmp/outside.png", "a/../../outside.png", "a//../../outside.png")
    for name in names:
        for ending in ("tar", "zip"):
            yield Case(f"{ending} with {name}", plant(packed(ending, image, name), f"x.{ending}"), opener(f"x.{ending}"))
    for name, kind in kinds.items():
        yield Case(f"tar with a {name}", plant(packed("tar", image, "a/x.png", kind), "x.tar"), opener("x.tar"))


def packed(ending: str, image: bytes, name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    """An archive of two classes, and one member that is not what it should be."""
    file = io.BytesIO()
    good = [f"{label}/{number}.png" for label in "ab" for number in range(3)]
    if ending == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            for member in (*good, name):
                archive.writestr(member, image)
        return file.getvalue()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for member in (*good, name):
            info = tarfile.TarInfo(member)
            if member == name:
                info.type, info.linkname = kind, "/etc/passwd"
            info.size = len(image) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(image))
    return file.getvalue()


def packs() -> Iterator[Case]:
    def plant(name: str, content: bytes) -> Callable[[Path, Params], None]:
        def write(folder: Path, params: Params) -> None:
            with read_source(params.download, folder) as listing:
                write_pack(listing, folder, params.download)
            (folder / name).write_bytes(content)
            dataset = files.read_sealed_json(folder / "dataset.json")
            dataset["files"][name] = files.sha256(folder / name)
            files.write_sealed_json(folder / "dataset.json", dataset)

        return write

    for name, payload in payloads().items():
        file = io.BytesIO()
        np.save(file, np.array([payload], dtype=object), allow_pickle=True)
        yield Case(f"images that are a pickle: {name}", plant("images.npy", file.getvalue()), lambda folder, _: Pack.open(folder))
    yield Case(
        "an index that is a pickle", plant("index.parquet", pickle.dumps(payloads()["exec"])), lambda folder, _: Pack.open(folder)
    )


def names() -> Iterator[Case]:
    """Names that a spreadsheet or a page would run; they are kept, but escaped."""

    def open_it(folder: Path, params: Params) -> None:
        (folder / "raw").mkdir()
        (folder / "split").mkdir()
        source = {"source": "folder", "folder": str(folder / "set")}
        with read_source(params.download.model_copy(update=source), folder / "raw") as listing:
            write_pack(listing, folder / "raw", params.download)
        pack = Pack.open(folder / "raw")
        write_split(folder / "split", pack, assign_splits(pack, params.split, 0), params.split, 0)
        predictions = Predictions(pack.classes, pack.ids, np.full((len(pack), 2), 0.5), [pack.classes[0]] * len(pack))
        write_predictions(folder / "out.csv", predictions, 2)
        for table in (folder / "split" / "manifest.csv", folder / "out.csv"):
            cells = [cell for line in table.read_text(encoding="utf-8").splitlines() for cell in re.split(r'[,"]', line) if cell]
            assert not any(cell[0] in "=+@\t\r" for cell in cells), table

    for bad in ("=cmd|' /C calc'!A0", "@SUM(1)", "+1+1", "=HYPERLINK(1)", "<img onerror=alert(1) src=x>", "a\nb", "\x1b[31mred"):

        def plant(folder: Path, _: Params, bad: str = bad) -> None:
            for label, name in enumerate((bad, "good")):
                (folder / "set" / name).mkdir(parents=True)
                for number in range(20):
                    Image.new("L", (8, 8), 100 * label + number).save(folder / "set" / name / f"{number}.png")

        yield Case(f"a class called {bad!r}", plant, open_it, is_refused=False)


def watched(case: Case, folder: Path, params: Params, told: int) -> None:
    """Open a file and write down what happened: `refused`, `opened`, or what it should not have done."""
    events: list[str] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FORBIDDEN:
            events.append(f"{event} {arguments!r:.80}")
        if (
            event == "open"
            and isinstance(arguments[0], str)
            and isinstance(arguments[2], int)
            and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        ):
            path = Path(os.path.abspath(arguments[0]))  # noqa: PTH100  (which does not follow links)
            if not path.is_relative_to(folder) and not str(path).startswith(("/dev/", "/proc/")):
                events.append(f"writes {path}")
        if event == "import" and arguments[0] == MARK:
            events.append("import")

    sys.addaudithook(hook)
    try:
        case.open_it(folder, params)
        outcome = "opened"
    except InputError as error:
        outcome = "refused" if "\n" not in str(error) else f"several lines: {error}"
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"
    os.write(told, json.dumps([outcome, events]).encode())


KINDS = (models, states, parameters, archives, packs, names)
CASES = [case for kind in KINDS for case in kind()]


def test_there_are_enough() -> None:
    assert len(CASES) >= 40


@pytest.mark.sample(24)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_runs_and_nothing_leaves_its_folder(
    case: Case, content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome, events = opened_apart(case, content, tmp_path, monkeypatch)
    assert events == []
    assert outcome == ("refused" if case.is_refused else "opened")
    assert not (tmp_path / "inside" / MARK).exists()
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


@pytest.mark.parametrize("name", ["os.system", "exec", "open", "import"])
def test_the_watch_sees_what_a_careless_reader_runs(
    name: str, content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = pickle.dumps(payloads()[name])
    careless = Case(name, lambda *_: None, lambda *_: pickle.loads(planted))
    _, events = opened_apart(careless, content, tmp_path, monkeypatch)
    assert events or (tmp_path / "inside" / MARK).exists()


def opened_apart(case: Case, content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[str]]:
    """Plant a file and open it in a watched process; return the outcome and what it should not have done."""
    content["train"]["model"] = SMALL
    params = check_params(content)
    folder = tmp_path / "inside"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DARKROOM_CACHE", str(folder / "cache"))
    case.plant(folder, params)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            watched(case, folder, params, write)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        outcome, events = json.loads(answer.read() or '["died", []]')
    os.waitpid(pid, 0)
    return outcome, events
