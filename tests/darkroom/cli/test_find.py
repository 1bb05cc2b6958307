"""./darkroom find model: refused arguments, the table, and a line whose result is what the table says."""

import csv
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from clones import Clone, make_clone
from PIL import Image
from safetensors.torch import save_file
from terminal import Screen

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.cli import find

# A network of timm for tests, of 0.4 million parameters, which takes images of 160 pixels.
TINY = "test_efficientnet.r160_in1k"
# The search as the command runs it, among the cached network alone: those that are installed take minutes.
ALONE = "from darkroom.model_choice import backbones, search; backbones.WHEELS = {}; search.FINE_TUNING = ('full',)"
RUN = "from darkroom.base.command import run_command; from darkroom.cli import find; import sys"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model", "--minutes", "0"], r"--minutes: is 0, but should be more than 0, such as 5$"),
        (["model", "--minutes", "-3"], r"--minutes: is -3, but should be more than 0"),
        (["model", "--minutes", "nan"], r"--minutes: is nan, but should be more than 0"),
        (["model", "--minutes", "five"], r"--minutes: "),
        (["model", "--minuts", "5"], r"--minuts: unknown flag; did you mean '--minutes'\?"),
        (["modle"], r"WHAT: is 'modle', but should be one of"),
        (["model", "--steps", "50"], r"--steps: is for 'find lr', not for 'find model'; remove it"),
        (["lr", "--minutes", "5"], r"--minutes: is for 'find model', not for 'find lr'; remove it"),
        (["batch_size", "--out", "a.csv"], r"--out: is for 'find model', not for 'find batch_size'; remove it"),
        (["model", "--out", "table.txt"], r"--out: table.txt is no .csv file; name one, such as table.csv"),
        (["model", "--out", "nowhere/table.csv"], r"--out: the folder nowhere does not exist; create it first"),
        (["model", "--out", str(paths.ROOT / "metrics" / "train" / "table.csv")], r"--out: "),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find.main(arguments)


def test_a_workspace_without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: Any) -> None:
    monkeypatch.setattr(paths, "RAW", tmp_path / "data" / "raw")
    with pytest.raises(InputError, match=r"holds no images; run 'dvc repro download'"):
        find.main(["model"])
    monkeypatch.setattr(paths, "RAW", digits.raw)
    monkeypatch.setattr(paths, "SPLIT", tmp_path / "data" / "split")
    with pytest.raises(InputError, match=r"does not exist; run 'dvc repro split'"):
        find.main(["model"])


@pytest.mark.slow
def test_mistakes_are_found_before_torch_is_imported() -> None:
    tried = [["model", "--minutes", "0"], ["model", "--out", "table.txt"], ["lr", "--minutes", "5"]]
    code = f"import sys; sys.path.insert(0, {str(paths.ROOT / 'src')!r})\nfrom darkroom.cli import find\n"
    code += f"for each in {tried!r}:\n    try: find.main(each)\n    except ValueError: pass\n    else: raise SystemExit(1)\n"
    code += "print(*(name for name in ('torch', 'numpy', 'dvc', 'timm') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone with 80 small images in two classes, split, and a small network of random weights in a cache of the hub."""
    folder = tmp_path_factory.mktemp("find")
    snapshot = folder / "hub" / f"models--timm--{TINY}" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    save_file(timm.create_model(TINY.partition(".")[0], pretrained=False).state_dict(), snapshot / "model.safetensors")
    (snapshot / "config.json").write_text('{"architecture": "test_efficientnet"}')
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("0123")
    numbers = np.random.default_rng(0)
    for number in range(80):
        place = folder / "images" / ("red", "blue")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = numbers.integers(0, 200, (32, 32, 3), dtype=np.uint8)
        pixels[..., 2 * (number % 2)] += np.uint8(number % 50)
        Image.fromarray(pixels).save(place / f"{number}.png")
    (folder / "darkroom").mkdir()
    clone = make_clone(folder / "darkroom", cold=True)
    clone.edit({"source: digits": "source: folder", "folder: data/photos": f"folder: {folder / 'images'}"})
    clone.env |= {"HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    clone.run("dvc repro split && git add -A && git commit -qm data")
    return clone


def searching(*arguments: str) -> str:
    """Return the command that searches among the cached network alone."""
    code = f"import sys; sys.path.insert(0, 'src'); {ALONE}; {RUN}; run_command(lambda: find.main({list(arguments)!r}))"
    return shlex.join([sys.executable, "-c", code])


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.xdist_group("find")
def test_the_line_gives_what_the_table_says(searched: Clone) -> None:
    before = searched.run("git status --porcelain && dvc status").stdout
    shown = searched.run(searching("model", "--minutes", "30", "--out", "../table.csv")).stdout
    assert searched.run("git status --porcelain && dvc status").stdout == before, "nothing was changed"
    assert (searched.path / "logs" / "model.png").is_file()
    with (searched.path.parent / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = {each["way"]: each for each in csv.DictReader(file)}
    assert f"find: networks on this machine: {TINY} (in the hub's cache)" in shown
    assert {"probe", "full", "as in params.yaml"} <= set(rows), f"more minutes than needed: {shown}"
    assert int(rows["probe"]["images"]) >= int(rows["full"]["images"]) > 0
    for way in ("probe", "full"):
        searched.run(rows[way]["line"])
        found = json.loads((searched.path / "metrics" / "train.json").read_text())["published"]["accuracy"]
        assert found == pytest.approx(float(rows[way]["val_accuracy"]), abs=1e-6), way
        searched.run("git reset -q --hard")


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.xdist_group("find")
def test_ctrl_c_prints_the_table_so_far(searched: Clone) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        shlex.split(searching("model", "--minutes", "9")),
        cwd=searched.path,
        env=searched.env | {"COLUMNS": "200", "TERM": "xterm"},
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    text, deadline, is_sent = "", time.monotonic() + 300, False
    while time.monotonic() < deadline:
        try:
            text += os.read(leader, 65536).decode(errors="replace")
        except OSError:
            break
        if "probe: 0." in text and "as in params.yaml" in text and not is_sent:
            process.send_signal(signal.SIGINT)
            is_sent = True
    assert process.wait(60) == 128 + signal.SIGINT, text
    lines = Screen(200).write(text).lines()
    assert any(line.startswith("error: interrupted by SIGINT; the table above holds what was finished") for line in lines)
    assert any(line.startswith(f"1  {TINY}") for line in lines)
    assert any("dvc exp run $(./darkroom preset ways/probe)" in line for line in lines)
