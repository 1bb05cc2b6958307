"""A head that is trained on cached features is the one that is trained on images; what cannot be cached is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Params
from darkroom.data.split_file import Split
from darkroom.input.cached_features import CachedFeatures
from darkroom.input.dataset import ImageDataset
from darkroom.models.builtin.small_cnn import SmallCNN
from darkroom.models.layers import head_name
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.probe_network import Probe, make_probe
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan

pytestmark = pytest.mark.filterwarnings("ignore")
# Without dropout, which is drawn anew for every step, both are the same computation.
FROZEN = {
    "train.model.kwargs": {"width": 8, "stages": 2, "dropout": 0.0},
    "train.freeze": True,
    "train.augment": [],
    "train.epochs": 3,
    "train.batch_size": 16,
    "hardware.accelerator": "cpu",
}
CACHED = FROZEN | {"train.cache_features": True}


@pytest.fixture
def few(digits: Any) -> Split:
    rows = digits.split.rows
    return Split(digits.split.classes, {"train": rows["train"][:96], "val": rows["val"][:40], "test": rows["test"][:20]}, "")


def train(params: Params, data: Any, split: Split, folder: Path) -> tuple[dict[str, Tensor], dict[str, list[float]]]:
    """Return the published weights, and what was logged in every epoch."""
    store = StateStore(folder, {})
    with store.held():
        best = fit(make_plan(params, data.pack, split.rows["train"]), split, store)
    tables = sorted((store.log_dir / "plots" / "metrics").rglob("*.tsv"))
    return best.weights, {f"{path.parent.name}/{path.stem}": [float(line.split()[-1]) for line in path.read_text().splitlines()[1:]] for path in tables}  # fmt: skip


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, marks=pytest.mark.thorough),
        {"train.ema": 0.8, "train.sampler": "balanced", "train.test_every": 1},
        pytest.param({"train.swa": 0.3, "train.class_weights": "balanced"}, marks=pytest.mark.thorough),
        {"train.precision": "bf16-mixed"},
        {"train.precision": "bf16-true", "train.test_every": 1},
        pytest.param({"train.precision": "64-true"}, marks=pytest.mark.thorough),
        {"train.model": {"provider": "timm", "name": "test_convnext", "pretrained": False, "kwargs": {}}, "train.image_size": 32},
        {"train.model": {"provider": "timm", "name": "test_vit", "pretrained": False, "kwargs": {"img_size": 32}}, "train.image_size": 32},
    ],
    ids=["plain", "ema", "swa", "bf16-mixed", "bf16-true", "64-true", "convnext", "vit"],
)  # fmt: skip
def test_it_is_the_training_of_the_head_on_images(
    more: dict[str, Any], make_params: Callable[..., Params], digits: Any, few: Split, tmp_path: Path
) -> None:
    def params(cached: bool) -> Params:
        changes = FROZEN | {"train.cache_features": cached} | more
        return make_params(
            {key: value for key, value in changes.items() if key != "train.model.kwargs" or "train.model" not in more}
        )

    weights, logged = train(params(False), digits, few, tmp_path / "images")
    found, found_logged = train(params(True), digits, few, tmp_path / "features")
    assert found.keys() == weights.keys()
    tolerance = 0.02 if "bf16" in str(more) else 1e-4
    for name, value in weights.items():
        assert torch.allclose(found[name].double(), value.double(), atol=tolerance), name
    assert found_logged.keys() == logged.keys() >= {"train/loss", "val/loss", "val/accuracy"}
    assert len(logged["val/loss"]) == 3
    for name, values in logged.items():
        assert found_logged[name] == pytest.approx(values, abs=10 * tolerance, rel=tolerance), name


def test_only_the_head_has_moved_and_images_were_read_once(
    make_params: Callable[..., Params], digits: Any, few: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    plan = make_plan(make_params(CACHED), digits.pack, few.rows["train"])
    before = {name: value.clone() for name, value in plan.classifier.network.state_dict().items()}
    counts: list[int] = []
    original = ImageDataset.__getitem__
    monkeypatch.setattr(ImageDataset, "__getitem__", lambda self, key: (counts.append(len(key[1])), original(self, key))[1])
    store = StateStore(tmp_path, {})
    with store.held():
        weights = fit(plan, few, store).weights
    moved = {name for name, value in weights.items() if not torch.equal(value, before[name])}
    assert moved == {"network.head.weight", "network.head.bias"}
    assert sum(counts) == 96 + 40
    assert "train: computing 16 features of 136 images once (0.0087 MB)\n" in capsys.readouterr().out


def test_features_are_what_the_head_is_given(digits: Any) -> None:
    network = SmallCNN(10, 1, width=4)
    probe = make_probe(
        network, Preprocessing(image_size=8, channels=1, mean=(0.3,), std=(0.2,)), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    )
    images = torch.from_numpy(digits.pack.batch(digits.split.rows["val"][:5])).permute(0, 3, 1, 2)
    network.eval()
    normalised = (images / 255 - 0.3) / 0.2
    assert torch.allclose(probe.features(images), network.pool(network.features(normalised)).flatten(1), atol=1e-5)
    assert torch.equal(probe(probe.features(images)), probe(images))
    assert (
        probe.state_dict().keys()
        == Normalized(network, Preprocessing(image_size=8, channels=1, mean=(0.3,), std=(0.2,))).state_dict().keys()
    )
    assert probe.training  # as it was


def test_a_batch_of_features_is_that_of_its_rows(digits: Any) -> None:
    rows = digits.split.rows["val"][:6]
    cached = CachedFeatures(ImageDataset(digits.pack, image_size=8, channels=1), rows, torch.Size((2,)))
    cached.features = torch.arange(12.0).view(6, 2)
    batch = cached[3, rows[[4, 1]]]
    assert batch["images"].tolist() == [[8, 9], [2, 3]]
    assert batch["labels"].tolist() == digits.pack.labels[rows[[4, 1]]].tolist()
    assert cached.nbytes == cached.features.nbytes


class Odd(nn.Module):
    """A network that answers with something else than its head's output."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self.stem, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.stem(images.flatten(1))
        match self.kind:
            case "scaled":
                return 2 * self.head(hidden)  # type: ignore[no-any-return]
            case "twice":
                return self.head(hidden) + self.head(hidden)  # type: ignore[no-any-return]
            case "together":
                return self.head(hidden - hidden.mean(0))  # type: ignore[no-any-return]
            case "noisy":
                return self.head(hidden + torch.randn_like(hidden))  # type: ignore[no-any-return]
            case "around":
                return nn.functional.linear(hidden, self.head.weight, self.head.bias)
            case _:
                return self.head(hidden)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["scaled", "twice", "together", "noisy", "around", "right"])
def test_a_network_that_does_not_end_with_its_head_is_refused(kind: str) -> None:
    preprocessing = Preprocessing(image_size=2, channels=1, mean=(0.3,), std=(0.2,))
    images = torch.randint(256, (2, 1, 2, 2), dtype=torch.uint8)
    if kind == "right":
        assert make_probe(Odd(kind), preprocessing, images).shape == (8,)
        return
    with pytest.raises(
        InputError,
        match=r"train\.cache_features: cannot be used with Odd, whose logits are not the output of one last module \(head\)",
    ):
        make_probe(Odd(kind), preprocessing, images)


def test_where_the_head_is() -> None:
    assert head_name(SmallCNN(3, 1)) == "head"
    assert head_name(timm.create_model("resnet10t", num_classes=3)) == "fc"
    assert head_name(timm.create_model("vit_tiny_patch16_224", num_classes=3)) == "head"
    assert head_name(timm.create_model("convnext_atto", num_classes=3)) == "head"
    assert head_name(models.mobilenet_v3_small(num_classes=3)) == "classifier.3"
    # A normalisation in front of the pooling is trained with it: no module has both.
    assert head_name(timm.create_model("mobilenetv3_small_050", num_classes=3)) == ""
    with pytest.raises(
        InputError, match=r"whose logits are not the output of one last module \(there are several\) for each image"
    ):
        Probe(
            timm.create_model("mobilenetv3_small_050", num_classes=3),
            Preprocessing(image_size=8, channels=1, mean=(0.3,), std=(0.2,)),
        ).check(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


def test_features_that_do_not_fit_in_memory(
    make_params: Callable[..., Params], digits: Any, few: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = type("Memory", (), {"available": 1000})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(
        RunError, match=r"train\.cache_features: the features need 0\.0 GB of memory, more than half of the 0\.0 GB"
    ):
        train(make_params(CACHED | {"hardware.watch": False}), digits, few, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.augment": ["RandomFlip"]}, "train.augment: must be [] while train.cache_features is true"),
        ({"train.freeze": 0.5}, "train.freeze: must be true while train.cache_features is true"),
        ({"train.freeze": False}, "train.freeze: must be true while train.cache_features is true"),
        ({"train.unfreeze_epoch": 2}, "train.unfreeze_epoch: must be null while train.cache_features is true"),
        ({"train.mixup": 0.2}, "train.mixup: must be null while train.cache_features is true"),
        ({"train.cutmix": 0.2}, "train.cutmix: must be null while train.cache_features is true"),
        ({"train.image_sizes": {0: 6}}, "train.image_sizes: must be null while train.cache_features is true"),
        ({"train.teacher": {"model": "x", "weight": 0.5, "temperature": 1.0}}, "train.teacher: must be null while"),
        ({"train.inspect": ["inputs"]}, "train.inspect: must be without inputs while train.cache_features is true"),
    ],
)
def test_what_it_excludes_is_one_line(make_params: Callable[..., Params], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_params(CACHED | changes)
    assert f"params.yaml: {message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_layers_may_be_written_as_a_number(make_params: Callable[..., Params]) -> None:
    assert make_params(CACHED | {"train.freeze": 1.0}).train.cache_features
