"""benchmarks/ablations.py: what a row of settings changes, and the table. No row is trained here."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from darkroom.base.errors import InputError
from darkroom.models.builtin import whitened_cnn

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
    assert (plain.train.lr, plain.train.precision, plain.train.memory_format) == (0.12, "auto", "auto")
    unchanged = {"lr", "model", "augment"}
    assert plain.train.model_dump(exclude=unchanged) == changed.train.model_dump(exclude=unchanged)
    with pytest.raises(InputError, match=r"train.rl: unknown key"):
        benchmark.changed(archive, "cifar10_small", "train.rl=0.5", 0)


@pytest.mark.parametrize("part", ["whitening", "identity"])
def test_a_part_of_the_network_is_left_out(
    benchmark: ModuleType, archive: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    settings = f"without={part} train.lr=0.5"
    assert benchmark.changed(archive, "cifar10_small", settings, 0).train.lr == 0.5
    for owner, name in ((whitened_cnn.WhitenedCNN, "fit_to"), (whitened_cnn, "_convolution")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # brought back at the end
    benchmark.leave_out(settings)
    network = whitened_cnn.WhitenedCNN(3, 3, widths=(24, 24))
    network.fit_to(torch.rand(8, 3, 8, 8))
    identity = torch.eye(24)
    is_whitened = not torch.equal(network.whiten.filters.flatten(1), torch.cat([torch.eye(12), -torch.eye(12)]))
    is_identity = torch.equal(network.blocks[0].second.weight[:, :, 1, 1], identity)
    assert (is_whitened, is_identity) == (part != "whitening", part != "identity")


def test_a_part_that_there_is_not_is_refused(benchmark: ModuleType) -> None:
    with pytest.raises(ValueError, match="without=whitning: must be whitening or identity"):
        benchmark.leave_out("without=whitning")


def test_the_table_has_the_views_of_the_preset(benchmark: ModuleType) -> None:
    seed = {"epochs": 5, "precision": "bf16-mixed", "tta": "flip", "test": {"none": 0.8, "flip": 0.85, "flip_shift": 0.9}}
    rows = [[seed | {"processor": 100.0}, seed | {"processor": 102.0, "test": {"none": 0.82, "flip": 0.87}}]]
    last = benchmark.table("cifar10_small", ["train.lr=0.5"], rows).splitlines()[-1]
    assert last == "| cifar10_small train.lr=0.5 | 5 | bf16-mixed | 0.8600 (0.8500, 0.8700) | 0.8100 | 101 |"
