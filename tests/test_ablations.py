"""benchmarks/ablations.py: what a row of settings changes, and the table. No row is trained here."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from darkroom.base.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ablations", ROOT / "benchmarks" / "ablations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "images.tar").write_bytes(b"not opened here")
    return tmp_path / "images.tar"


def test_a_row_is_the_preset_with_its_settings(benchmark: ModuleType, archive: Path) -> None:
    settings = "train.lr=0.5 train.model.kwargs={widths:[8,16]} 'train.augment=[{_target_: RandomShift, pixels: 1}]'"
    plain, changed = (benchmark.changed(archive, "cifar10_small", each, 3) for each in ("", settings))
    assert (changed.train.lr, changed.train.model.kwargs, changed.base.seed) == (0.5, {"widths": [8, 16]}, 3)
    assert [each.arguments for each in changed.train.augment] == [{"pixels": 1}]
    assert (plain.train.lr, plain.train.precision, plain.train.memory_format) == (1.0, "32-true", "channels_last")
    unchanged = {"lr", "model", "augment"}
    assert plain.train.model_dump(exclude=unchanged) == changed.train.model_dump(exclude=unchanged)
    with pytest.raises(InputError, match=r"train.rl: unknown key"):
        benchmark.changed(archive, "cifar10_small", "train.rl=0.5", 0)


def test_the_table_has_the_views_of_the_preset(benchmark: ModuleType) -> None:
    seed = {"epochs": 5, "precision": "bf16-mixed", "tta": "flip", "test": {"none": 0.8, "flip": 0.85, "flip_shift": 0.9}}
    rows = [[seed | {"processor": 100.0}, seed | {"processor": 102.0, "test": {"none": 0.82, "flip": 0.87}}]]
    last = benchmark.table("cifar10_small", ["train.lr=0.5"], rows).splitlines()[-1]
    assert last == "| cifar10_small train.lr=0.5 | 5 | bf16-mixed | 0.8600 (0.8500, 0.8700) | 0.8100 | 101 |"
