"""Networks of transformers: by folder and by hub, opened again without either, and nothing in their files can run code."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hub import COMMIT, Hub, hub
from huggingface_hub import constants
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification, ViTImageProcessor

from darkroom.base import files, paths
from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Network, Params
from darkroom.models.huggingface import network as huggingface
from darkroom.models.huggingface import repository
from darkroom.models.model_json import make_card
from darkroom.models.networks import build_network
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.saving import load_model, save_model
from darkroom.training.plan import Plan, make_plan
from darkroom.transfer.pretrained import describe_weights

pytestmark = pytest.mark.filterwarnings("ignore")
CARD = "---\nlicense: {}\n---\n# A network\n"
SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


class Best:
    """A published epoch."""

    monitor, epoch, score = "val/accuracy", 1, 0.5


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    """A folder with a vision transformer for images of 32 pixels and 7 classes."""
    torch.manual_seed(0)
    folder = tmp_path / "vit"
    ViTForImageClassification(ViTConfig(**SIZES, image_size=32, patch_size=8, num_labels=7)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.4, 0.5, 0.6]).save_pretrained(folder)
    (folder / "README.md").write_text(CARD.format("apache-2.0"))
    return folder


def named(name: str | Path, *, pretrained: bool = True, **kwargs: Any) -> Network:
    return Network(provider="huggingface", name=str(name), pretrained=pretrained, kwargs=kwargs)


def build(model: Network, num_classes: int = 3) -> Any:
    return build_network(model, num_classes=num_classes, channels=3)


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_pretrained_weights_are_taken_but_for_the_head(vit: Path) -> None:
    taught = ViTForImageClassification.from_pretrained(vit)
    network = build(named(vit))
    images = torch.rand(2, 3, 32, 32)
    assert network(images).shape == (2, 3)
    features = [each.vit(images).last_hidden_state for each in (taught, network.network.eval())]
    assert torch.equal(*features)
    assert network.config["hidden_size"] == 16


def test_without_weights_only_the_configuration_is_read(vit: Path) -> None:
    weight = ViTForImageClassification.from_pretrained(vit).vit.embeddings.cls_token
    (vit / "model.safetensors").unlink()
    network = build(named(vit, pretrained=False, hidden_dropout_prob=0.25, num_hidden_layers=1))
    assert not torch.equal(network.network.vit.embeddings.cls_token, weight)
    assert len(network.network.vit.layers) == 1
    assert {layer.p for layer in network.modules() if isinstance(layer, nn.Dropout)} >= {0.25}


def test_what_the_weights_expect_is_the_preprocessor_s(vit: Path) -> None:
    about = describe_weights(named(vit))
    assert about is not None
    assert (about.mean, about.std, about.image_size) == ((0.4, 0.5, 0.6), (0.5, 0.5, 0.5), 32)
    assert about.origin.licence == "apache-2.0"
    assert about.origin.sha256 == {"model.safetensors": files.sha256(vit / "model.safetensors")}
    edit(vit / "preprocessor_config.json", do_normalize=False, crop_size={"height": 24, "width": 24}, do_center_crop=True)
    about = describe_weights(named(vit))
    assert about is not None
    assert (about.mean, about.std) == ((0.0,) * 3, (1.0,) * 3)


def test_a_folder_is_named_from_the_repository_on(vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", vit.parent)
    assert repository.find_repository(named("vit")).name == "vit"


def plan_for(make_params: Callable[..., Params], data: Any, model: Network) -> Plan:
    changes = {"train.model": model.model_dump(), "hardware.accelerator": "cpu", "train.augment": []}
    return make_plan(make_params(changes), data.pack, data.split.rows["train"])


def test_a_training_sees_images_as_the_weights_did(make_params: Callable[..., Params], photos: Any, vit: Path) -> None:
    plan = plan_for(make_params, photos, named(vit))
    assert plan.preprocessing.image_size == 32
    assert plan.preprocessing.mean == (0.4, 0.5, 0.6)
    origin = f"starts with the weights of huggingface: {vit} ({plan.about['origin']['licence'] or 'no licence named'})"
    assert plan.lines()[:2] == [origin, f"{vit}, {plan.model.size}"]
    assert plan.about["origin"]["source"] == f"huggingface: {vit}"


def test_the_published_model_is_built_without_the_name(
    make_params: Callable[..., Params], digits: Any, vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_for(make_params, digits, named(vit, hidden_dropout_prob=0.1))
    card = make_card(plan.params, plan.preprocessing, list("0123456789"), {}, Best(), about=plan.about)
    save_model(tmp_path, plan.classifier.network.state_dict(), card)
    for file in vit.iterdir():
        file.unlink()
    monkeypatch.setattr(huggingface, "find_repository", None)
    model = load_model(tmp_path, make_params({}))
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(model.network(images), plan.classifier.network.eval()(images))
    assert model.card.packages["transformers"]
    assert model.card.origin is not None
    assert model.card.size == plan.model.size


def test_a_model_file_resolves_no_name(make_params: Callable[..., Params], tmp_path: Path, vit: Path) -> None:
    seen = Preprocessing(image_size=32, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    network = build(named(vit))
    card = {"network": named(vit).model_dump(), "classes": list("abc"), "preprocessing": seen.model_dump(mode="json")}
    card |= {"epoch": 1, "monitor": "val/loss", "score": 0.5, "data_sha256": {}}
    card["params"] = {"base": {"allow_targets": []}, "train": {"model": card["network"], "lora": None}}
    save_model(tmp_path, Normalized(network, seen).state_dict(), card)
    with pytest.raises(InputError, match=r"models/model\.json: names a network that cannot be built \(its config is missing\)"):
        load_model(tmp_path, make_params({}))


@pytest.mark.parametrize(
    "planted",
    [
        {"auto_map": {"AutoConfig": "code.C", "AutoModelForImageClassification": "code.N"}},
        {"_attn_implementation": "someone/kernel", "attn_implementation": "someone/kernel"},
        {"quantization_config": {"quant_method": "planted"}},
        {"backbone": "someone/network", "use_pretrained_backbone": True, "use_timm_backbone": True},
        {"dtype": "bfloat16", "torch_dtype": "bfloat16", "_name_or_path": "someone/network", "num_labels": 99},
    ],
)
def test_a_configuration_names_no_code(vit: Path, planted: dict[str, Any]) -> None:
    (vit / "code.py").write_text("raise SystemExit('the repository ran code')")
    edit(vit / "config.json", **planted)
    network = build(named(vit))
    again = build_network(named("gone"), num_classes=3, channels=3, config=network.config | planted)
    for each in (network, again):
        assert type(each.network) is ViTForImageClassification
        assert each.network.config._attn_implementation in ("sdpa", "eager")
        assert {value.dtype for value in each.parameters()} == {torch.float32}
        assert each(torch.rand(1, 3, 32, 32)).shape == (1, 3)
    assert not set(planted) & set(network.config)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "timm_wrapper", "architecture": "resnet18"}, "has the model type timm_wrapper; set provider to timm"),
        ({"model_type": "bert"}, "has the model type bert, which does not classify images"),
        ({"model_type": "os"}, "has the model type os, which does not classify images"),
        ({"model_type": ["vit"]}, "has the model type ['vit'], which does not"),
        ({"model_type": "vit", "hidden_size": "big"}, "huggingface's gone cannot be built ("),
    ],
)
def test_configurations_of_no_classifier(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        build_network(named("gone"), num_classes=3, channels=3, config=config)
    assert message in str(caught.value)


def no_safetensors(folder: Path) -> None:
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "kwargs", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), {}, "has no config.json; name a network of the library"),
        (lambda folder: (folder / "config.json").write_text("{"), {}, "is damaged (Expecting property name"),
        (no_safetensors, {}, "has no model.safetensors, and weights in other files could run code; name another"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 99), {}, "cannot be built (SafetensorError"),
        (lambda _: None, {"hidden_siz": 8}, "train.model.kwargs.hidden_siz: "),
        (lambda _: None, {"patch_size": 16}, "the weights do not fit vit.embeddings"),
        (lambda _: None, {"trust_remote_code": True}, "train.model.kwargs.trust_remote_code: "),
    ],
)
def test_what_is_wrong_is_one_line(vit: Path, damage: Callable[[Path], Any], kwargs: dict[str, Any], message: str) -> None:
    damage(vit)
    with pytest.raises(InputError) as caught:
        build(named(vit, **kwargs))
    assert message in str(caught.value)


def test_a_folder_without_a_description_of_images_has_the_library_s_defaults(
    vit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `save_pretrained` of a network alone leaves it; the size is that of the configuration."""
    (vit / "preprocessor_config.json").unlink()
    about = describe_weights(named(vit))
    assert about is not None
    usual = ViTImageProcessor()
    assert (list(about.mean), list(about.std), about.image_size) == (list(usual.image_mean), list(usual.image_std), 32)
    assert (
        "has no preprocessor_config.json; images are prepared as is usual for vit: mean [0.5, 0.5, 0.5]"
        in capsys.readouterr().err
    )


def test_a_repository_that_does_not_say_what_it_expects(vit: Path) -> None:
    (vit / "preprocessor_config.json").write_text("{")
    with pytest.raises(
        InputError, match=r"does not describe the images that it expects in preprocessor_config\.json .*set train\.model\.pre"
    ):
        describe_weights(named(vit))


def test_layers_without_weights_are_named(vit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = build(named(vit, num_hidden_layers=3))
    assert len(network.network.vit.layers) == 3
    assert "the files have no weights of vit.layers.2.attention" in capsys.readouterr().err


@pytest.fixture
def served(vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The folder on a hub, as owner/vit."""
    repository._find_on_hub.cache_clear()
    with hub() as running:
        content = {path.name: path.read_bytes() for path in vit.iterdir()}
        running.files["owner/vit"] = content | {"pytorch_model.bin": b"code", "modeling.py": b"code"}
        monkeypatch.setattr(constants, "ENDPOINT", running.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield running


@pytest.mark.parametrize("name", ["owner/vit", "owner/vit@main", f"owner/vit@{COMMIT}"])
def test_a_repository_of_the_hub(served: Hub, vit: Path, name: str) -> None:
    about, network = describe_weights(named(name)), build(named(name))
    assert about is not None
    assert (about.origin.source, about.origin.licence) == (f"huggingface: owner/vit@{COMMIT}", "apache-2.0")
    assert torch.equal(network.network.vit.embeddings.cls_token, build(named(vit)).network.vit.embeddings.cls_token)
    assert not [line for line in served.asked if "pytorch_model" in line or "modeling" in line]


def test_a_licence_is_known_before_the_weights_are_fetched(served: Hub, make_params: Callable[..., Params], photos: Any) -> None:
    served.files["owner/vit"]["README.md"] = b"---\nlicense: other\nlicense_name: research-only\n---\n"
    with pytest.raises(InputError, match=r"the licence of huggingface: owner/vit@0123\S+ \(other research-only\) forbids"):
        plan_for(make_params, photos, named("owner/vit"))
    assert not [line for line in served.asked if "safetensors" in line]


def test_names_that_the_hub_does_not_have(served: Hub) -> None:
    with pytest.raises(InputError, match=r"train\.model\.name: the hub refuses owner/vitt \(RepositoryNotFoundError\)"):
        build(named("owner/vitt"))
    with pytest.raises(InputError, match=r"the hub refuses owner/vit@gone \(RevisionNotFoundError\)"):
        build(named("owner/vit@gone"))
    with pytest.raises(InputError, match=r"'no name' is neither a local folder nor a name on the hub"):
        build(named("no name"))
    served.status = 500
    with pytest.raises(RunError, match=r"the weights of huggingface's owner/vit cannot be downloaded \("):
        build(named("owner/vit"))


def test_convolutional_networks_too(tmp_path: Path) -> None:
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=5)
    ResNetForImageClassification(config).save_pretrained(tmp_path / "resnet")
    network = build(named(tmp_path / "resnet"))
    again = build_network(named("gone"), num_classes=3, channels=3, config=network.config)
    again.load_state_dict(network.state_dict())
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(again.eval()(images), network.eval()(images))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        InputError, match=r"provider: huggingface needs a package .* 'pip install -c requirements-dev.txt transformers'$"
    ):
        build(named("owner/vit"))
