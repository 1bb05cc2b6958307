"""benchmarks/equal_time.py, rehearsed: two trainers that only wait stand for timm's and torchvision's, a function for Darkroom."""

import importlib.util
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
# They say what they were given, and end as the real ones do.
TIMM = """
import pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--output") + 1], "run")
out.mkdir(parents=True)
epochs = int(sys.argv[sys.argv.index("--epochs") + 1])
assert pathlib.Path(sys.argv[sys.argv.index("--data-dir") + 1], "train").is_dir()
assert "--tuned" in sys.argv
(out / "summary.csv").write_text("epoch,eval_top1\\n" + "".join(f"{each},{10 * each + 20}\\n" for each in range(epochs)))
"""
VISION = """
import pathlib, sys
assert pathlib.Path(sys.argv[sys.argv.index("--data-path") + 1], "val").is_dir()
for each in range(int(sys.argv[sys.argv.index("--epochs") + 1])):
    print(f"Test:  Acc@1 {5 * each + 10}.000")
"""


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("equal_time", ROOT / "benchmarks" / "equal_time.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """An archive without images, and clones of both trainers."""
    for folder in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (tmp_path / "images" / folder).mkdir(parents=True)
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        for part in ("train", "test"):
            tar.add(tmp_path / "images" / part, part)
    for script, content in (("timm/train.py", TIMM), ("vision/references/classification/train.py", VISION)):
        (tmp_path / script).parent.mkdir(parents=True)
        (tmp_path / script).write_text(content)
    flags = ["--timm", "timm", "--vision", "vision"]
    flags = [str(tmp_path / each) if not each.startswith("--") else each for each in flags]
    return [str(tmp_path / "images.tar"), *flags, "--timm-flags=--tuned 1"]


def slow(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, *, start: float, epoch: float) -> list[int | None]:
    """Let every trainer take so many seconds to start and for an epoch; return the epochs that Darkroom was given."""
    asked: list[int | None] = []

    def darkroom(_: Path, preset: list[str], work: Path, epochs: int | None = None) -> Any:  # noqa: ARG001
        asked.append(epochs)
        return benchmark.Result(f"Darkroom, preset {preset[0]}", epochs or 5, start + epoch * (epochs or 5), 0.9)

    def timed(result: Any) -> Any:
        return result._replace(seconds=start + epoch * result.epochs)

    real = benchmark.timm, benchmark.torchvision
    monkeypatch.setattr(benchmark, "darkroom", darkroom)
    monkeypatch.setattr(benchmark, "timm", lambda *arguments: timed(real[0](*arguments)))
    monkeypatch.setattr(benchmark, "torchvision", lambda *arguments: timed(real[1](*arguments)))
    return asked


def test_the_curves_are_made_by_one_command(
    benchmark: ModuleType, given: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = slow(benchmark, monkeypatch, start=30.0, epoch=40.0)
    chart = tmp_path / "curves.svg"
    benchmark.main([*given, "--minutes", "0.5", "1", "2", "5", "--chart", str(chart)])
    # Nothing fits into one minute; one epoch and two are known from the beginning.
    assert asked == [1, 2, 6]
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][1:]
    by = {(row[0].strip("| "), row[1]): (row[2], row[3], row[4].rstrip(" |")) for row in rows}
    assert by["5", "timm's train.py, resnet18"] == ("6", "270", "0.7000")
    assert by["5", "torchvision's reference, resnet18"] == ("6", "270", "0.3500")
    assert by["2", "Darkroom, preset cifar10_small"] == ("2", "110", "0.9000")
    assert [minutes for minutes, _ in by] == ["2"] * 3 + ["5"] * 3
    drawn = chart.read_text()
    assert drawn.startswith("<?xml")
    benchmark.main([*given, "--minutes", "0.5", "1", "2", "5", "--chart", str(chart)])
    assert chart.read_text() == drawn


def test_without_minutes_the_others_have_the_time_of_the_preset(
    benchmark: ModuleType, given: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert slow(benchmark, monkeypatch, start=0.0, epoch=10.0) == []
    benchmark.main(given)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 0.8")]
    assert [line.split(" | ")[2] for line in lines] == ["5", "5", "5"]


def test_a_chart_needs_times(benchmark: ModuleType, given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmark.main([*given, "--chart", "x.svg"])
    assert "--chart and several --preset need --minutes" in capsys.readouterr().err
