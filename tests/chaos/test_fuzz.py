"""Mutated inputs of every kind: each is accepted, or refused in one line, in time, and has no other effect.

Every fuzzer runs in a process of its own, which it may crash or fill. The case of a number is always the same one, so that
`PYTHONPATH=src python tests/chaos/test_fuzz.py params 1234` runs case 1234 of the fuzzer `params` again. `make test` takes the
first cases, `make test-all` some thousand, CHAOS=long three times as many.
"""

import contextlib
import copy
import faulthandler
import functools
import gzip
import hashlib
import io
import json
import lzma
import math
import os
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from darkroom.base import files, paths
from darkroom.base.errors import InputError, RunError, one_line
from darkroom.base.nested import outputs_of, read_stages
from darkroom.base.params import Params
from darkroom.base.params_file import check_params, load_sections
from darkroom.base.yaml_file import read_yaml
from darkroom.data.images import ImageError, decode
from darkroom.data.listing import Item, Listing
from darkroom.data.pack import Pack
from darkroom.data.resizing import fit
from darkroom.data.split_file import Split
from darkroom.experiments.presets import read_preset, set_arguments
from darkroom.health.verification.verify import verify
from darkroom.precheck.dependencies import check_dependencies, check_files
from darkroom.precheck.names import check_names
from darkroom.precheck.source_keys import check_source_keys
from darkroom.search.storage import check_journal
from darkroom.sources.manifest import list_manifest, read_table
from darkroom.sources.pack_writer import write_pack
from darkroom.sources.read import read_source
from darkroom.splitting.assign import assign_splits
from darkroom.splitting.split_writer import write_split
from darkroom.stage.inputs import read_inputs
from darkroom.stage.state_files import forget_finished

pytestmark = [pytest.mark.slow]

# As many as a minute allowed, on the machine of docs/benchmarks.md.
CASES = {"params": 3000, "texts": 6000, "archives": 4000, "data": 12000, "models": 4500, "images": 30000}
PARTS, LONG = 5, 3
FIRST = {"params": 150, "texts": 1500, "archives": 150, "data": 150, "models": 150, "images": 150}  # of texts, 150 of each
HANG_SECONDS = 10
# Beyond what the process has at its start: an input of a few kB needs no more.
MEMORY_BYTES = 2 << 30
IMAGE_SECONDS, IMAGE_BYTES = 5, 1 << 30  # of one decoding
MIN_OUTCOMES = 3
MAX_PIXELS = 1_000_000
ROOT = Path(__file__).resolve().parents[2]

# Whatever imports, compiles or looks up this name runs somebody else's code.
CANARY = "chaos_canary"
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.", "pickle.find_class", "pty.spawn")
WRITES = {"os.mkdir": 1, "os.rename": 2, "os.link": 2, "os.symlink": 2}
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

Numbers = random.Random
Plain = Any
"""What JSON holds."""


# Mutations of bytes.

WORDS = [
    *(b"", b"\0", b"\r\n", b"\r", b"\n", b"\t", b'"', b"'", b"\\", b"%s%n", b"../", b"/etc/passwd", b"C:\\", b"~", b"=1+1", b"#"),
    *(b"NaN", b"1e999", b"-0", b"-1", b"0", b"1" * 5000, b"18446744073709551616", b"null", b"true", b"[", b"{", b"]", b"}", b","),
    *(b"\xff", b"\xfe\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", "\u2028".encode(), "\u202e".encode(), b"\x1b[2J", b"_target_"),
    *(b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\x80", b"\0\0\0\0", b"\xff" * 8, b"A" * 3000),
]


def mutated(numbers: Numbers, data: bytes, words: list[bytes] = WORDS) -> bytes:
    """Return the bytes after one to six changes."""
    for _ in range(numbers.choice((1, 1, 1, 2, 3, 6))):
        data = _mutated_once(numbers, data, words)
    return data


def _mutated_once(numbers: Numbers, data: bytes, words: list[bytes]) -> bytes:
    start, place = numbers.randrange(len(data) + 1), numbers.randrange(len(data) + 1)
    end = min(len(data), start + int(2 ** numbers.uniform(0, 8)))
    word = numbers.choice(words)
    match numbers.randrange(8):
        case 0:
            return data[:start]
        case 1:
            return data[:start] + data[end:]
        case 2:
            return data[:start] + numbers.randbytes(end - start) + data[numbers.choice((start, end)) :]
        case 3:
            return data[:place] + data[start:end] * numbers.choice((1, 1, 2, 50)) + data[place:]
        case 4:
            return data[:start] + word + data[start + numbers.choice((0, 1, len(word))) :]
    flips = [(numbers.randrange(len(data)), 1 << numbers.randrange(8)) for _ in range(numbers.choice((1, 1, 2, 8))) if data]
    changed = bytearray(data)
    for place, bit in flips:
        changed[place] ^= bit
    return bytes(changed)


# Mutations of what JSON and YAML hold.

NAMES = [
    *("", ".", "..", "../x", "/etc/passwd", "a/../../b", "a\0b", "a\r\nb", "\x1b[2J", "\ud800", "=cmd()", "<script>", "x" * 3000),
]
VALUES: list[Plain] = [
    *(None, True, False, 0, -1, -0.0, 1, 3, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, 1e-320, 1e308, math.nan, math.inf),
    *([], {}, [[]], [None], [1] * 1000, ["a", "a"], {"": None}, {"_target_": f"{CANARY}.run"}, {"_target_": 1}),
    *({"_target_": "torch.nn.Linear"}, {"_target_": "os.system", "command": CANARY}, {"provider": "timm", "name": "test_vit"}),
    *("auto", "archive", "${base.seed}", "torch.load", "1e-3", "yes", "val/loss", "test_vit", "checkpoint_path", "a" * 64),
    *NAMES,
]
DEEP = 3000
# Each list but the first holds the one before nine times: 300 bytes that stand for 9 ** 9 values.
BOMB = "[&a [1], " + ", ".join(f"&{chr(code + 1)} [{', '.join([f'*{chr(code)}'] * 9)}]" for code in range(97, 106)) + "]"
YAML_LINES = r"""
&a [*a] | &a {b: *a} | {<<: &a {b: 1}} | &a {<<: *a} | *nowhere | &a b | {a: 1, a: 2} | {[a]: b} | {? {a: b} : c}
{1: 2} | {null: 1} | {1.5: 1} | {true: 1} | {2001-01-01: 1} | {.nan: 1} | "\ud800" | "\0" | "\x0d\n" | --- a | %TAG | ~
!x y | !!set {a, b} | !!omap [a: 1] | !!binary aGk= | !!binary '=' | !!timestamp x | !!int x | !!float x | !!bool x | !!map x
2001-01-01 | 2001-99-99 | 0o17 | 1_000 | 1:30:00 | .inf | -.INF | .NaN | 1e999
!!python/object/apply:os.system [touch CANARY] | !!python/name:CANARY.run | !!python/module:CANARY
"""
YAML_TEXTS = [text.strip() for text in YAML_LINES.strip().replace("CANARY", CANARY).replace("\n", "|").split("|")]
YAML_TEXTS += [BOMB, "[" * DEEP + "]" * DEEP, "{a: " * 200 + "}" * 200, "0x" + "f" * 4000, "9" * 5000, "|\n  a"]
JSON_TEXTS = [
    *("NaN", "-Infinity", "1e999", "-0", "9" * 5000, "[" * 100_000, "[" * DEEP + "]" * DEEP, '{"a": 1, "a": 2}', ""),
    *('"\\ud800"', '"\\u0000"', '"\\x"'),
]


def changed_text(numbers: Numbers, content: Plain, texts: list[str]) -> str:
    """Return content as JSON, which is YAML as well, after one to three changes of it, some of which are no JSON any more."""
    content = copy.deepcopy(content)
    for _ in range(numbers.choice((1, 1, 2, 3))):
        _change(numbers, content, texts)
    text = json.dumps(content, indent=1, default=str, ensure_ascii=numbers.random() < 0.5)
    text = re.sub(r'"@text (\d+)@"', lambda match: texts[int(match[1])], text)
    if numbers.random() < 0.1:
        lines = text.split("\n")
        lines.insert(numbers.randrange(len(lines)), numbers.choice(lines))
        text = "\n".join(lines)
    return text


def _change(numbers: Numbers, content: Plain, texts: list[str]) -> None:
    places = list(_places(content))
    if not places:
        return
    container, key = numbers.choice(places)
    kind = numbers.random()
    if kind < 0.45:
        container[key] = copy.deepcopy(numbers.choice(VALUES))
    elif kind < 0.65:
        container[key] = f"@text {numbers.randrange(len(texts))}@"
    elif kind < 0.75:
        other, name = numbers.choice(places)
        container[key] = copy.deepcopy(other[name])
    elif kind < 0.85:
        del container[key]
    elif isinstance(container, dict):
        name = numbers.choice((*NAMES, str(key) + "x", str(key)[:-1], "_target_", "@text 1@"))
        container[name] = container.pop(key) if numbers.random() < 0.5 else numbers.choice(VALUES)
    else:
        container.insert(key, container[key])


def _places(content: Plain) -> Iterator[tuple[Plain, Plain]]:
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in pairs:
        yield content, key
        yield from _places(value)


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def sealed(content: bytes) -> bytes:
    """Return JSON with the hash that `files.read_sealed_json` asks for, so that what is in it is read at all."""
    before, mark, after = content.rpartition(f'"{files.SEAL}": "'.encode())
    return before + mark + hashlib.sha256(before + mark + after[64:]).hexdigest().encode() + after[64:] if mark else content


def with_hash(report: bytes, key: str, content: bytes) -> bytes:
    """Return JSON in which what is recorded under a key, or the key with `_sha256` behind it, is the hash of a content."""
    digest = hashlib.sha256(content).hexdigest().encode()
    return re.sub(b'"%s(_sha256)?": "[0-9a-f]{64}' % re.escape(key.encode()), lambda match: match[0][:-64] + digest, report)


# The fuzzers. Each makes the case of a number, and reads it as the stages do, in a folder of its own.


class Fuzzer(Protocol):
    def __init__(self, folder: Path): ...

    def make(self, numbers: Numbers) -> Any: ...

    def read(self, case: Any) -> None: ...


class ParamsFuzzer:
    """params.yaml: what is accepted can be recorded in model.json, and a stage can list what it depends on."""

    def __init__(self, folder: Path):
        self.path = folder / "params.yaml"
        self.text = (ROOT / "params.yaml").read_bytes()
        self.content = read_yaml(ROOT / "params.yaml")
        paths.ROOT, paths.PARAMS, paths.PIPELINE = folder, self.path, folder / "dvc.yaml"
        for name in ("data/photos", "data/split"):
            (folder / name).mkdir(parents=True)
        sections = ", ".join(self.content)
        paths.PIPELINE.write_text(
            f"stages: {{all: {{deps: ['${{download.folder}}', '${{predict.input}}'], params: [{sections}]}}}}", encoding="utf-8"
        )

    def make(self, numbers: Numbers) -> bytes:
        if numbers.random() < 0.35:
            return mutated(numbers, self.text, WORDS + [encoded(text) for text in YAML_TEXTS])
        text = encoded(changed_text(numbers, self.content, YAML_TEXTS))
        return mutated(numbers, text) if numbers.random() < 0.1 else text

    def read(self, case: bytes) -> None:
        self.path.write_bytes(case)
        read_inputs("all")
        params = load_sections(self.path, "base")  # fails for what is wrong in it alone
        params = check_params(read_yaml(self.path))
        check_dependencies(read_stages(paths.PIPELINE), read_yaml(self.path), self.path.parent)
        check_files(params)
        check_names(params)
        files.write_json(self.path.with_name("card.json"), params.model_dump(by_alias=True))


class TextFuzzer:
    """All other texts that a command reads before it knows who wrote them, one of `TEXTS` at a time."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name, content in SAMPLES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        paths.ROOT, paths.PARAMS, paths.PIPELINE = folder, folder / "params.yaml", folder / "dvc.yaml"

    def make(self, numbers: Numbers) -> tuple[str, bytes]:
        name = numbers.choice(list(TEXTS))
        text = SAMPLES[name]
        if numbers.random() < 0.5:
            return name, mutated(numbers, text, WORDS + [encoded(text) for text in YAML_TEXTS])
        if name.endswith(".yaml") or name == "dvc.lock":
            return name, encoded(changed_text(numbers, read_yaml(self.folder / name), YAML_TEXTS))
        if name.endswith(("json", "jsonl", "log")):
            lines = [
                encoded(re.sub(r"\n *", "", changed_text(numbers, json.loads(line), JSON_TEXTS))) for line in text.split(b"\n")
            ]
            return name, b"\n".join(lines)
        lines = [re.split(b"([,\t])", line) for line in text.split(b"\n")]
        row = numbers.choice(lines)
        row[numbers.randrange(len(row))] = numbers.choice(WORDS)
        return name, b"\n".join(b"".join(line) for line in lines)

    def read(self, case: tuple[str, bytes]) -> None:
        name, content = case
        path = self.folder / name
        path.write_bytes(content)
        try:
            TEXTS[name](path)
        finally:
            path.write_bytes(SAMPLES[name])


def _read_pipeline(path: Path) -> None:
    stages = read_stages(path)
    read_inputs("train")
    check_dependencies(stages, read_yaml(paths.PARAMS), path.parent)
    assert all(isinstance(out, str) for stage in stages.values() for out in outputs_of(stage))


def _read_lock(path: Path) -> None:
    check_source_keys(parameters().download.model_copy(update={"dataset": "MNIST", "source": "torchvision"}), path)
    assert all(one_line(finding.text) for finding in verify(path.parent))


def _read_preset(path: Path) -> None:
    words = set_arguments(read_yaml(paths.PARAMS), {path.name: read_preset(path.parent, str(path))})
    assert all(not re.search(r"\s", word) for word in words)


def _read_manifest(path: Path) -> None:
    table = read_table(path.name, path.read_bytes(), path.name)
    listing = list_manifest(table, parameters().download.columns, lambda _: b"", path.name, {})
    assert all(item.id for item in listing.items)


# How each text is read. Those of data/raw, data/split and models have fuzzers of their own, which know their hashes.
TEXTS: dict[str, Callable[[Path], Any]] = {
    "dvc.yaml": _read_pipeline,
    "dvc.lock": _read_lock,
    "preset.yaml": _read_preset,
    "space.yaml": _read_preset,
    "table.csv": _read_manifest,
    "table.tsv": _read_manifest,
    "table.jsonl": _read_manifest,
    "models/run.json": lambda path: forget_finished(path.parent, path),
    "journal.log": check_journal,
}
SAMPLES = {
    "params.yaml": (ROOT / "params.yaml").read_bytes(),
    "dvc.yaml": b"""stages:
  download:
    cmd: python src/download.py
    deps: [src/darkroom/base, '${download.folder}']
    params: [download]
    outs: [data/raw]
  train:
    cmd: python src/train.py
    deps: [data/raw]
    params: [base, train]
    outs: [models/model.json, {metrics/train: {cache: false}}]
""",
    "dvc.lock": b"""schema: '2.0'
stages:
  download:
    cmd: python src/download.py
    deps:
    - {path: params.yaml, hash: md5, md5: 0b1b4b4b6bb3a1b7c6b4b4b6bb3a1b7c, size: 9}
    params:
      params.yaml:
        download: {source: digits, folder: data/photos, dataset: null}
    outs:
    - {path: data/raw, hash: md5, md5: 0b1b4b4b6bb3a1b7c6b4b4b6bb3a1b7c.dir, size: 9, nfiles: 2}
""",
    "preset.yaml": (ROOT / "conf" / "cifar10.yaml").read_bytes(),
    "space.yaml": (ROOT / "conf" / "search" / "one_cycle.yaml").read_bytes(),
    "table.csv": b"path,label,group,split\na.png,cat,x,train\nb.png,dog,y,train\n",
    "table.tsv": b"path\tlabel\tnote\na.png\tcat\t1\nb.png\tdog\t2\n",
    "table.jsonl": b'{"path": "a.png", "label": "cat", "note": 1}\n{"path": "b.png", "label": "dog"}',
    "models/run.json": b'{"state": "0123456789abcdef", "params": {"lr": 0.1}, "weights_sha256": "00"}',
    "journal.log": b'{"op_code": 0, "worker_id": "w", "study_name": "s", "directions": [2]}\n'
    b'{"op_code": 4, "worker_id": "w", "study_id": 0}',
}


class Member(NamedTuple):
    """A member of an archive."""

    name: str
    content: bytes
    kind: bytes = tarfile.REGTYPE
    target: str = ""


KINDS = [bytes([code]) for code in b"01234567LKxgSDX"]
PAX_KEYS = ("path", "linkpath", "size", "mtime", "uid", "GNU.sparse.map", "GNU.sparse.major", "GNU.sparse.size", "hdrcharset")


class ArchiveFuzzer:
    """Archives: what is accepted makes a pack that can be read."""

    def __init__(self, folder: Path):
        self.folder = folder
        limits = {"max_files": 500, "max_gigabytes": 0.05, "max_pixels": MAX_PIXELS}
        source = {"source": "archive", "archive": str(folder / "archive")}
        self.params = parameters().download.model_copy(update=source | limits)
        classes = [f"{split}/{name}" for split in ("train", "test") for name in ("cat", "dog")]
        self.members = [Member(f"{place}/{number}.png", png(noise(number, 6, 6, 3))) for place in classes for number in range(3)]

    def make(self, numbers: Numbers) -> bytes:
        members = list(self.members)
        for _ in range(numbers.choice((0, 0, 1, 2))):
            place = numbers.randrange(len(members))
            members[place : place + 1] = self._changed(numbers, members[place])
        data = self._zip(numbers, members) if numbers.random() < 0.35 else self._tar(numbers, members)
        return mutated(numbers, data) if numbers.random() < 0.4 else data

    def _changed(self, numbers: Numbers, member: Member) -> list[Member]:
        """Return what takes the place of a member."""
        name = member.name
        match numbers.randrange(5):
            case 0:
                other = (name.upper(), f"{name}/", f"./{name}", name.replace("/", "\\"), "/".join("d" * 200), f"{name}/x", *NAMES)
                return [member._replace(name=numbers.choice(other))]
            case 1:
                return [member._replace(kind=numbers.choice(KINDS), target=numbers.choice(NAMES))]
            case 2:
                return [member._replace(content=mutated(numbers, member.content))]
            case 3:
                return [member._replace(content=numbers.choice((b"", bytes(60_000_000), b"<html>", member.content[:40])))]
        return [member] * numbers.choice((0, 2))

    def _tar(self, numbers: Numbers, members: list[Member]) -> bytes:
        file = io.BytesIO()
        form = numbers.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
        with tarfile.open(fileobj=file, mode="w", format=form, errors="surrogatepass") as archive:
            for member in members:
                info = tarfile.TarInfo(member.name)
                info.type, info.linkname, info.size = member.kind, member.target, len(member.content)
                if numbers.random() < 0.02:
                    info.pax_headers = {numbers.choice(PAX_KEYS): numbers.choice((*NAMES, "-1", "1e9", "9" * 30))}
                with contextlib.suppress(ValueError):  # a name that the format has no room for
                    archive.addfile(info, io.BytesIO(member.content))
        data = file.getvalue()
        if numbers.random() < 0.4 and len(data) < 1_000_000:
            data = with_tar_checksums(mutated(numbers, data))
        pack = numbers.choice(
            (bytes, functools.partial(gzip.compress, compresslevel=1), functools.partial(lzma.compress, preset=0))
        )
        return pack(data)

    def _zip(self, numbers: Numbers, members: list[Member]) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", numbers.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for member in members:
                info = zipfile.ZipInfo(member.name.replace("\ud800", "?") or "x")
                info.external_attr = 0o120777 << 16 if member.kind == tarfile.SYMTYPE else 0
                archive.writestr(info, member.content)
        return file.getvalue()

    def read(self, case: bytes) -> None:
        (self.folder / "archive").write_bytes(case)
        params = self.params.model_copy(update={"sha256": hashlib.sha256(case).hexdigest()})
        with tempfile.TemporaryDirectory(dir=self.folder) as name, read_source(params, Path(name)) as listing:
            write_pack(listing, Path(name), params)
            pack = Pack.open(Path(name))
            assert len(pack) == len(listing.items)
            use(pack)


class DataFuzzer:
    """The files of data/raw and data/split: what is accepted gives every image."""

    def __init__(self, folder: Path):
        self.folder = folder
        sizes: list[tuple[int, ...]] = [(5, 5), (5, 70, 3)]  # stored as pixels, and encoded
        self.sets = [self._written([noise(number, *size) for number in range(20)]) for size in sizes]

    def _written(self, images: list[NDArray[np.uint8]]) -> dict[str, bytes]:
        """Return the files that are fuzzed by their path."""
        params = parameters()
        raw, split = self._empty_folders()
        items = [Item(f"{row:02}", "train", functools.partial(_sample, png(each), row % 2)) for row, each in enumerate(images)]
        write_pack(Listing("test", items, lambda _: ["cat", "dog"], {}), raw, params.download)
        pack = Pack.open(raw)
        write_split(split, pack, assign_splits(pack, params.split, 0), params.split, 0)
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in self.folder.glob("*/*")}

    def _empty_folders(self) -> tuple[Path, Path]:
        # Not only emptied files: those that are mapped into memory are not to be written into.
        raw, split = self.folder / "raw", self.folder / "split"
        for directory in (raw, split):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        return raw, split

    def make(self, numbers: Numbers) -> dict[str, bytes]:
        case = dict(numbers.choice(self.sets))
        for name in numbers.sample(sorted(case), numbers.choice((1, 1, 2))):
            case[name] = self._changed(numbers, name, case[name])
        return self._with_hashes(case) if numbers.random() < 0.9 else case

    def _changed(self, numbers: Numbers, name: str, content: bytes) -> bytes:
        if name.endswith(".json") and numbers.random() < 0.8:
            return encoded(changed_text(numbers, json.loads(content), JSON_TEXTS))
        if name.endswith(".csv") and numbers.random() < 0.5:
            lines = [line.split(b",") for line in content.split(b"\n")]
            row = numbers.choice(lines)
            row[numbers.randrange(len(row))] = numbers.choice(WORDS)
            return b"\n".join(b",".join(line) for line in lines)
        return mutated(numbers, content)

    def _with_hashes(self, case: dict[str, bytes]) -> dict[str, bytes]:
        """Record the hashes of the files as they are, so that what is in them is read at all."""
        for report, keys in (
            ("raw/dataset.json", ("index.parquet", "images.npy", "images-000.bin")),
            ("split/split.json", ("manifest",)),
        ):
            for key in keys:
                name = f"raw/{key}" if "." in key else "split/manifest.csv"
                case[report] = with_hash(case[report], key, case.get(name, b""))
            case[report] = sealed(case[report])
        return case

    def read(self, case: dict[str, bytes]) -> None:
        raw, split = self._empty_folders()
        for name, content in case.items():
            (self.folder / name).write_bytes(content)
        pack = Pack.open(raw)
        rows = Split.open(split, pack).rows
        assert sum(map(len, rows.values())) <= len(pack)
        use(pack)


def _sample(data: bytes, label: int) -> tuple[bytes, int]:
    return data, label


class ModelFuzzer:
    """models/model.json and model.safetensors: what is accepted predicts an image."""

    def __init__(self, folder: Path):
        import timm  # noqa: F401 - here, before imports are watched
        import torch
        from torchvision import models  # noqa: F401

        torch.set_num_threads(1)
        self.folder = folder
        (folder / "photo.png").write_bytes(png(noise(0, 9, 9)))
        self.models = [
            self._published({"kwargs": {"width": 4, "stages": 2, "depth": 1, "dropout": 0.1}}),
            self._published({"provider": "timm", "name": "test_resnet"}),
        ]

    def _published(self, model: dict[str, Plain]) -> dict[str, bytes]:
        """Return the two files of an untrained model."""
        from darkroom.models.model_json import make_card
        from darkroom.models.networks import build_network
        from darkroom.models.preprocessing import Normalized, Preprocessing
        from darkroom.models.saving import save_model
        from darkroom.training.checkpoints.best import Kept

        content = read_yaml(ROOT / "params.yaml")
        content["train"]["model"] |= model
        self.params = check_params(content)
        seen = Preprocessing(image_size=8, channels=1, mean=(0.5,), std=(0.5,))
        network = Normalized(build_network(self.params.train.model, num_classes=2, channels=1), seen)
        best = Kept("val/loss", score=0.5, epoch=1, file="")
        save_model(
            self.folder, network.state_dict(), make_card(self.params, seen, ["cat", "dog"], {"raw": "a", "split": "b"}, best)
        )
        return {path.name: path.read_bytes() for path in self.folder.glob("model.*")}

    def make(self, numbers: Numbers) -> dict[str, bytes]:
        case = dict(numbers.choice(self.models))
        card, weights = case["model.json"], case["model.safetensors"]
        if numbers.random() < 0.25:
            weights = self._changed_weights(numbers, weights)
            card = with_hash(card, "weights", weights)
        else:
            changed = numbers.random() < 0.85
            card = encoded(changed_text(numbers, json.loads(card), JSON_TEXTS)) if changed else mutated(numbers, card)
        return {"model.json": sealed(card) if numbers.random() < 0.9 else card, "model.safetensors": weights}

    def _changed_weights(self, numbers: Numbers, content: bytes) -> bytes:
        if numbers.random() < 0.4:
            return mutated(numbers, content)
        end = 8 + int.from_bytes(content[:8], "little")
        header = encoded(changed_text(numbers, json.loads(content[8:end]), JSON_TEXTS))
        return len(header).to_bytes(8, "little") + header + content[end:]

    def read(self, case: dict[str, bytes]) -> None:
        from darkroom.inference.photos import PhotoReader, Photos
        from darkroom.inference.predict import predict_photos
        from darkroom.inference.predictor import Predictor
        from darkroom.models.saving import load_model

        for name, content in case.items():
            (self.folder / name).write_bytes(content)
        model = load_model(self.folder, self.params)
        seen = model.card.preprocessing
        photos = Photos([self.folder / "photo.png"], self.params.predict, PhotoReader(seen.image_size, seen.channels))
        probabilities = predict_photos(Predictor(model, self.params.hardware), photos)
        photos.check(0)
        assert probabilities.shape == (1, len(model.card.classes))


MODES = {
    **{"PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), "TIFF": ("L", "RGB", "CMYK", "LAB", "F", "I;16"), "GIF": ("P",)},
    **{"BMP": ("1", "RGB"), "WEBP": ("RGB", "RGBA"), "JPEG": ("L", "RGB", "CMYK"), "AVIF": ("RGB",)},
}
IMAGE_WORDS = [
    *WORDS,
    b"\xff\xd8",
    b"\xff\xda",
    b"\xff\xc4",
    b"IEND",
    b"IDAT",
    b"acTL",
    b"\x2c",
    b"\x3b",
    b"Exif\0\0",
    b"II*\0",
]


class ImageFuzzer:
    """Images: what is accepted is grey or RGB and fits any network; an image is refused for the same reason each time."""

    def __init__(self, folder: Path):
        del folder
        exif = Image.Exif()
        exif[0x0112] = 6  # orientation
        options: list[dict[str, Any]] = [{}, {"exif": exif}, {"save_all": True, "append_images": [self._image("RGB")] * 2}]
        self.images = []
        for form, mode, option in ((form, mode, option) for form, modes in MODES.items() for mode in modes for option in options):
            file = io.BytesIO()
            with contextlib.suppress(Exception):  # not every format has every option
                self._image(mode).save(file, form, **option)
                self.images.append(file.getvalue())
        assert len(self.images) > 40

    def _image(self, mode: str) -> Image.Image:
        image = Image.fromarray(noise(0, 13, 17, 3))
        match mode:
            case "F":
                return Image.fromarray(noise(0, 13, 17).astype(np.float32) / 255)
            case "I;16":
                return Image.fromarray(noise(0, 13, 17).astype(np.uint16) * 257)
            case "LAB":
                return Image.merge("LAB", image.split())
        return image.convert(mode)

    def make(self, numbers: Numbers) -> bytes:
        data = mutated(numbers, numbers.choice(self.images), IMAGE_WORDS)
        return with_png_checksums(data) if data.startswith(b"\x89PNG") and numbers.random() < 0.8 else data

    def read(self, case: bytes) -> None:
        first, second = self._decoded(case), self._decoded(case)
        if isinstance(first, str):
            assert first == second
            raise InputError(first)
        assert first.dtype == np.uint8
        assert first.shape[2:] in ((), (3,))
        assert first.shape[0] * first.shape[1] <= MAX_PIXELS
        assert np.array_equal(first, second)
        assert fit(first, 8, 1).shape == (8, 8, 1)

    def _decoded(self, case: bytes) -> Any:
        start = time.monotonic()
        try:
            return decode(case, MAX_PIXELS).image
        except ImageError as error:
            return str(error)
        finally:
            assert time.monotonic() - start < IMAGE_SECONDS


FUZZERS: dict[str, type[Fuzzer]] = {
    "params": ParamsFuzzer,
    "texts": TextFuzzer,
    "archives": ArchiveFuzzer,
    "data": DataFuzzer,
    "models": ModelFuzzer,
    "images": ImageFuzzer,
}


def parameters() -> Params:
    return check_params(read_yaml(ROOT / "params.yaml"))


def noise(seed: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def use(pack: Pack) -> None:
    """Read from a pack all that stages read."""
    assert len(pack.ids) == len(pack.pixel_hashes) == len(pack)
    assert all(isinstance(pack.classes[label], str) for label in pack.labels)
    for row in range(len(pack)):
        assert pack[row].shape[2] == pack.channels
    if pack.size is not None:
        assert pack.batch(np.arange(len(pack))).shape == (len(pack), *pack.size, pack.channels)


def with_tar_checksums(data: bytes) -> bytes:
    """Make the headers right again in their sum, so that what they say is read."""
    blocks = [data[start : start + 512] for start in range(0, len(data), 512)]
    for number, block in enumerate(blocks):
        if block[257:262] == b"ustar":
            total = sum(block[:148]) + sum(block[156:]) + 8 * 32
            blocks[number] = block[:148] + b"%06o\0 " % total + block[156:]
    return b"".join(blocks)


def with_png_checksums(data: bytes) -> bytes:
    """Make the chunks right again in their sum, so that what is in them is read."""
    place, parts = 8, [data[:8]]
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        body = data[place + 4 : place + 8 + length]
        parts += [data[place : place + 4], body, struct.pack(">I", zlib.crc32(body))]
        place += 12 + length
    return b"".join(parts)


# The process of one fuzzer.


class HangError(BaseException):
    """An input took too long."""


class ForbiddenError(BaseException):
    """An input made the program do something forbidden."""


class Guard:
    """Forbids other programs, connections, foreign code, and writing outside a folder; attempts are recorded."""

    def __init__(self, folder: Path):
        self.folder, self.tried = str(folder), list[str]()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(FORBIDDEN):
            self._forbid(event, arguments)
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITE_FLAGS:
            self._check_path(event, arguments[0])
        elif event in WRITES:
            for path in arguments[: WRITES[event]]:
                self._check_path(event, path)
        elif event in ("import", "compile"):
            if CANARY in str(arguments[0]):
                self._forbid(event, arguments)
        elif event == "exec" and arguments[0].co_filename.startswith(self.folder):
            self._forbid(event, arguments)

    def _check_path(self, event: str, path: Any) -> None:
        if not isinstance(path, int) and not os.path.abspath(os.fsdecode(path)).startswith((self.folder, "/dev/null")):  # noqa: PTH100
            self._forbid(event, (path,))

    def _forbid(self, event: str, arguments: tuple[Any, ...]) -> None:
        self.tried.append(f"{event} {arguments!r:.200}")
        raise ForbiddenError(self.tried[-1])


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise HangError(f"takes more than {HANG_SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS)
    # A loop in a library's C code never handles the signal: then the process ends with a traceback.
    faulthandler.dump_traceback_later(3 * HANG_SECONDS, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()


def outcome(fuzzer: Fuzzer, case: Any, guard: Guard) -> str:
    """Return `accepted` or `refused`, or what went wrong."""
    try:
        with in_time():
            fuzzer.read(case)
        result = "accepted"
    except (InputError, RunError) as error:
        # As it is printed: on one line whatever is in it.
        result = "refused" if one_line(error).strip() else "a message without text"
    except BaseException as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/darkroom/" in frame.filename]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
        result = f"{type(error).__name__} at {place}: {one_line(error)[:200]}"
    return f"forbidden: {guard.tried[-1]}" if guard.tried else result


def prepared(name: str, folder: Path) -> tuple[Fuzzer, Guard]:
    """Return a fuzzer that has imported all it needs; from here on its process is watched and its memory limited."""
    (folder / f"{CANARY}.py").write_text("def run(*_): pass\n")
    (folder / "work").mkdir()
    sys.path.append(str(folder))
    warnings.simplefilter("ignore")  # as `run_command` does
    fuzzer = FUZZERS[name](folder / "work")
    for number in range(3):
        with contextlib.suppress(Exception):
            fuzzer.read(case_of(name, fuzzer, number))
    sys.dont_write_bytecode = True
    limit = (IMAGE_BYTES if name == "images" else MEMORY_BYTES) + int(
        Path("/proc/self/statm").read_text().split()[0]
    ) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    guard = Guard(folder)
    sys.addaudithook(guard)
    return fuzzer, guard


def case_of(name: str, fuzzer: Fuzzer, number: int) -> Any:
    return fuzzer.make(random.Random(f"{name} {number}"))


def fuzz(name: str, numbers: range, folder: Path) -> dict[str, Any]:
    """Try the cases of some numbers; return how many were accepted, refused and wrong, and the first of each kind of wrong."""
    fuzzer, guard = prepared(name, folder)
    counts, found = Counter[str](), dict[str, str]()
    for number in numbers:
        (folder / "case").write_text(str(number))
        case = case_of(name, fuzzer, number)
        result = outcome(fuzzer, case, guard)
        guard.tried.clear()
        right = result in ("accepted", "refused")
        counts[result if right else "wrong"] += 1
        if not right:
            (folder / f"case {number}.txt").write_text(repr(case))
            found.setdefault(re.sub(r"\d+", "#", result)[:60], f"case {number}: {result}\n    {case!r:.600}")
    return {**counts, "found": list(found.values())}


def main() -> None:
    """Run one case of a fuzzer again, or those from one number up to another in a folder."""
    name, number, *rest = sys.argv[1:]
    if rest:
        print(json.dumps(fuzz(name, range(int(number), int(rest[0])), Path(rest[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        fuzzer, guard = prepared(name, Path(folder))
        case = case_of(name, fuzzer, int(number))
        print(f"{case!r}\n{outcome(fuzzer, case, guard)}")


@pytest.mark.parametrize("name", FUZZERS)
def test_mutated(name: str, tmp_path: Path) -> None:
    check(name, range(FIRST[name]), tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("name", FUZZERS)
def test_more_that_is_mutated(name: str, part: int, tmp_path: Path, *, long: bool) -> None:
    number = CASES[name] * (LONG if long else 1)
    check(name, range(FIRST[name] + part * number // PARTS, FIRST[name] + (part + 1) * number // PARTS), tmp_path)


def check(name: str, numbers: range, folder: Path) -> None:
    """Run the cases of some numbers in a process of their own; each is accepted or refused."""
    from warm_python import PARSES_ALL, warm_bin  # not where a case is run by hand

    command = [str(warm_bin() / "python"), __file__, name, str(numbers.start), str(numbers.stop), str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), PARSES_ALL: "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    last = folder / "case"
    case = last.read_text() if last.exists() else "none"
    assert done.returncode == 0, f"ended with status {done.returncode} at case {case}\n{done.stderr[-3000:]}"
    result = json.loads(done.stdout.splitlines()[-1])
    accepted, refused, wrong = (result.get(kind, 0) for kind in ("accepted", "refused", "wrong"))
    print(f"\nfuzz {name}: {accepted + refused + wrong} inputs, {accepted} accepted, {refused} refused, {wrong} failures")
    assert accepted + refused + wrong == len(numbers)
    assert not wrong, f"PYTHONPATH=src python tests/chaos/test_fuzz.py {name} <case>\n" + "\n".join(result["found"])
    assert min(accepted, refused) >= MIN_OUTCOMES


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("os.system", (b"true",)),
        ("socket.connect", (None, ("localhost", 80))),
        ("open", ("/tmp/elsewhere", "w", os.O_WRONLY)),
        ("open", ("../elsewhere", None, os.O_CREAT)),
        ("os.mkdir", ("/elsewhere", 0o777, -1)),
        ("import", (f"{CANARY}.run", None)),
        ("pickle.find_class", ("os", "system")),
    ],
)
def test_the_guard_can_fail(event: str, arguments: tuple[Any, ...], tmp_path: Path) -> None:
    guard = Guard(tmp_path)
    with pytest.raises(ForbiddenError):
        guard(event, arguments)
    guard("open", (str(tmp_path / "file"), "w", os.O_WRONLY))
    guard("open", ("/etc/hostname", "r", os.O_RDONLY))
    assert len(guard.tried) == 1


if __name__ == "__main__":
    main()
