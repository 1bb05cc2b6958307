"""A published model answers as the trained one did; a damaged or foreign one is refused, and none of them runs code."""

import hashlib
import json
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.base.params import Network, Params, Target
from darkroom.models.networks import build_network
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.saving import load_model, open_content, save_model
from darkroom.transfer.weights_file import load_without_code
from darkroom.versions.models import read_model

SEEN = Preprocessing(image_size=8, channels=1, mean=(0.3,), std=(0.2,))
SMALL = {"provider": "builtin", "name": "small_cnn", "pretrained": False, "kwargs": {"width": 4}}


def publish(folder: Path, model: dict[str, Any]) -> Normalized:
    torch.manual_seed(0)
    made = Target.model_validate(model) if "_target_" in model else Network(**model)
    network = Normalized(build_network(made, num_classes=3, channels=1), SEEN).eval()
    card = {
        "network": model,
        "classes": ["a", "b", "c"],
        "preprocessing": SEEN.model_dump(mode="json"),
        "epoch": 3,
        "monitor": "val/accuracy",
        "score": 0.5,
        "data_sha256": {"raw": "0", "split": "1"},
        "params": {"base": {"allow_targets": []}, "train": {"model": model, "lora": None}},
    }
    save_model(folder, network.state_dict(), card)
    return network


def test_the_opened_model_gives_the_same_logits(tmp_path: Path, make_params: Callable[..., Params]) -> None:
    network = publish(tmp_path, SMALL)
    model = load_model(tmp_path, make_params())
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(model.network(images), network(images))
    assert not model.network.training
    assert (model.card.classes, model.card.preprocessing) == (["a", "b", "c"], SEEN)


def test_the_same_weights_give_the_same_files(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        publish(tmp_path / name, SMALL)
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_the_network_asked_for_now_does_not_matter(tmp_path: Path, make_params: Callable[..., Params]) -> None:
    publish(tmp_path, SMALL)
    load_model(tmp_path, make_params({"train.model.name": "small_cnn", "train.model.kwargs": {"width": 64}, "train.lr": 0.5}))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: flip(folder / "model.safetensors", -1),
            "models/model.safetensors: is not the file that model.json describes",
        ),
        (lambda folder: flip(folder / "model.safetensors", 3), "(its SHA-256 differs); run 'dvc checkout', or 'dvc repro train'"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "is not the file that model.json describes"),
        (lambda folder: (folder / "model.safetensors").unlink(), "models/model.safetensors: does not exist; run 'dvc checkout'"),
        (lambda folder: flip(folder / "model.json", 99), "models/model.json: is damaged"),
        (lambda folder: (folder / "model.json").unlink(), "models/model.json: does not exist"),
        (lambda folder: (folder / "model.json").write_text(""), "models/model.json: is damaged"),
        (lambda folder: (folder / "model.json").write_text("[" * 10000), "models/model.json: is damaged"),
        (lambda folder: (folder / "model.json").write_bytes(b"\xff\xfe"), "models/model.json: is damaged"),
        (lambda folder: edit(folder, format=2), "models/model.json: is damaged"),
        (
            lambda folder: edit(folder, surprise=1),
            "models/model.json: is damaged (surprise: Extra inputs are not permitted); run",
        ),
        (lambda folder: edit(folder, classes=["a", "b"]), "models/model.json: does not fit model.safetensors ("),
        (
            lambda folder: edit(folder, network=SMALL | {"kwargs": {"width": 8}}),
            "models/model.json: does not fit model.safetensors (",
        ),
        (lambda folder: edit(folder, network=SMALL | {"provider": "os"}), "models/model.json: is damaged"),
        (
            lambda folder: edit(folder, network=SMALL | {"kwargs": {"depth": 2**64}}),
            f"depth is {2**64}, but must be a whole number from 1 to 64",
        ),
        (
            lambda folder: edit(folder, network=SMALL | {"name": "system"}),
            "models/model.json: names a network that cannot be built (",
        ),
    ],
)
def test_damage_is_one_line(
    tmp_path: Path, make_params: Callable[..., Params], damage: Callable[[Path], Any], message: str
) -> None:
    publish(tmp_path, SMALL)
    damage(tmp_path)
    with pytest.raises(InputError) as caught:
        load_model(tmp_path, make_params())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    files.write_sealed_json(path, files.read_sealed_json(path) | changes)


def test_an_import_path_in_a_model_file_is_never_followed(
    tmp_path: Path, make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.py").write_text("raise SystemExit('the model file ran code')")
    monkeypatch.syspath_prepend(tmp_path)
    publish(tmp_path, SMALL)
    edit(tmp_path, network={"_target_": "planted.Net"})
    with pytest.raises(InputError, match=r"was trained with planted\.Net, but params\.yaml names another train\.model"):
        load_model(tmp_path, make_params({"base.allow_targets": ["planted"]}))
    assert "planted" not in sys.modules


@pytest.mark.parametrize("module", ["darkroom.training.small_cnn", "darkroom.models.builtin.small_cnn"])
def test_a_network_by_the_name_of_an_earlier_version_opens(
    tmp_path: Path, make_params: Callable[..., Params], capsys: pytest.CaptureFixture[str], module: str
) -> None:
    """Models, and what they were trained with, name it as it was called then."""
    old = {"_target_": "darkroom.training.small_cnn.SmallCNN", "width": 4}
    params = make_params({"train.model": {**old, "_target_": f"{module}.SmallCNN"}})
    capsys.readouterr()
    network = publish(tmp_path, old)
    model = load_model(tmp_path, params)
    assert capsys.readouterr().err == ""  # only params.yaml has a name that somebody could change
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(model.network(images), network(images))


def test_a_network_by_target_opens_where_params_name_it_too(tmp_path: Path, make_params: Callable[..., Params]) -> None:
    target = {"_target_": "darkroom.models.builtin.small_cnn.SmallCNN", "width": 4}
    network = publish(tmp_path, target)
    model = load_model(tmp_path, make_params({"train.model": target}))
    images = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(model.network(images), network(images))
    with pytest.raises(InputError, match=r"set train\.model to what it was"):
        load_model(tmp_path, make_params({"train.model": target | {"width": 5}}))


def test_the_setting_that_lets_files_run_code_is_refused(
    tmp_path: Path, make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, SMALL)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(InputError, match=r"^TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD: is set, so that .*; unset it$"):
        load_model(tmp_path, make_params())


def test_a_model_file_opens_no_other_weights(tmp_path: Path, make_params: Callable[..., Params]) -> None:
    network = {"provider": "timm", "name": "test_resnet", "pretrained": False, "kwargs": {}}
    publish(tmp_path, network)
    planted = {"checkpoint_path": str(tmp_path / "planted.pth"), "pretrained_cfg_overlay": {"url": "http://127.0.0.1:9/x"}}
    edit(tmp_path, network=network | {"pretrained": True, "kwargs": planted})
    assert load_model(tmp_path, make_params()).network is not None


def changed_card(folder: Path, **changes: Any) -> None:
    content = files.read_sealed_json(folder / "model.json")
    content["network"] = {**SMALL, **changes.pop("network", {})}
    files.write_sealed_json(folder / "model.json", content | changes)


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "changes",
    [
        {"network": {"provider": "timm", "name": "vit_tiny_patch16_224", "kwargs": {"depth": 10**6}}},
        {"network": {"provider": "timm", "name": "vit_tiny_patch16_224", "kwargs": {"embed_dim": 3 * 10**4}}},
        {"network": {"provider": "torchvision", "name": "resnet50", "kwargs": {"width_per_group": 2000}}},
        {
            "network": {"provider": "huggingface", "name": "x/y"},
            "config": {"model_type": "vit", "num_hidden_layers": 10**6, "image_size": 32},
        },
    ],
    ids=["deep", "wide", "torchvision", "huggingface"],
)
@pytest.mark.filterwarnings("ignore")
def test_nothing_is_built_that_is_far_larger_than_its_weights(
    changes: dict[str, Any], tmp_path: Path, make_params: Callable[..., Params]
) -> None:
    """Somebody's model.json could take all memory, or hours."""
    publish(tmp_path, SMALL)
    changed_card(tmp_path, **changes)
    begin = time.process_time()
    with pytest.raises(InputError, match="far larger than its weights") as error:
        load_model(tmp_path, make_params())
    assert "\n" not in str(error.value)
    assert time.process_time() - begin < 30  # with the import of transformers; 0.1 s without


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_only_regular_files_are_opened(name: str, kind: str, tmp_path: Path, make_params: Callable[..., Params]) -> None:
    publish(tmp_path, SMALL)
    (tmp_path / name).unlink()
    if kind == "pipe":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match=rf"models/{name}: is not a regular file; run 'dvc checkout'"):
        load_model(tmp_path, make_params())
    with pytest.raises(InputError, match=rf"{name} cannot be read \(is not a regular file\)"):
        read_model(Path("/"), Path("/"), str(tmp_path))


def test_a_card_of_any_size_is_not_read(tmp_path: Path, make_params: Callable[..., Params]) -> None:
    publish(tmp_path, SMALL)
    with (tmp_path / "model.json").open("r+b") as file:
        file.truncate(300_000_000)
    with pytest.raises(InputError, match=r"model\.json: is larger than 64 MB"):
        load_model(tmp_path, make_params())


def test_a_million_tensors_are_not_opened(tmp_path: Path, make_params: Callable[..., Params]) -> None:
    """They take half a minute; no network has so many."""
    publish(tmp_path, SMALL)
    header = json.dumps({f"t{number}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for number in range(200_000)})
    weights = struct.pack("<Q", len(header)) + header.encode()
    (tmp_path / "model.safetensors").write_bytes(weights)
    changed_card(tmp_path, weights_sha256=hashlib.sha256(weights).hexdigest())
    begin = time.process_time()
    for opened in (
        lambda: load_model(tmp_path, make_params()),
        lambda: open_content("key", "it", {name: (tmp_path / name).read_bytes() for name in ("model.json", "model.safetensors")}),
        lambda: load_without_code("key", "it.safetensors", weights),
    ):
        with pytest.raises(InputError, match=r"its header has \d+ bytes; at most 10000000 are read"):
            opened()
    assert time.process_time() - begin < 2
