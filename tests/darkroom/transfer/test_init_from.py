"""`train.init_from`: weights of another published model are verified, taken where they fit, and part of what a state depends on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from publishing import publish
from torchvision.models import mobilenet_v3_small

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.models.licence import WeightsOrigin
from darkroom.stage.runner import Stage
from darkroom.training.checkpoints.saved_states import depends_on
from darkroom.training.plan import Plan, make_plan
from darkroom.transfer.init_from import InitialWeights, load_initial_weights, open_initial_weights
from darkroom.transfer.pretrained import Pretrained
from darkroom.versions.models import read_model

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {"train.model.kwargs": {"width": 4, "stages": 2}, "hardware.accelerator": "cpu"}
DIGITS = list("0123456789")


def plan_for(params: Params, data: Any, start: InitialWeights | None = None) -> Plan:
    return make_plan(params, data.pack, data.split.rows["train"], start)


@pytest.fixture
def published(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> Path:
    """A folder with a model of the digits."""
    folder = tmp_path / "model"
    publish(folder, plan_for(make_params(SMALL), digits), DIGITS)
    return folder


def opened(folder: Path) -> InitialWeights:
    return open_initial_weights(*read_model(folder.parent, folder.parent, folder.name))


def test_a_model_of_the_same_classes_is_taken_whole(make_params: Callable[..., Params], digits: Any, published: Path) -> None:
    start = opened(published)
    plan = plan_for(make_params({"base.seed": 3, "train.image_size": 12}), digits, start)
    own = plan.classifier.network.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in start.weights.items())
    assert plan.lines()[0] == f"loaded {len(own)} of {len(own)} tensors from model"
    assert plan.preprocessing.image_size == 12
    assert plan.preprocessing.mean == start.expects.mean


def test_the_head_is_left_out_where_the_classes_differ(make_params: Callable[..., Params], digits: Any, published: Path) -> None:
    scratch = plan_for(make_params(), digits).classifier.network.state_dict()
    other = plan_for(make_params(), digits)
    # As many classes, of other names: shapes alone do not tell.
    publish(published, other, list("abcdefghij"))
    start = opened(published)
    plan = plan_for(make_params(), digits, start)
    for name, value in plan.classifier.network.state_dict().items():
        assert torch.equal(value, (scratch if "head" in name else start.weights)[name])
    total = len(scratch)
    assert (
        plan.lines()[0]
        == f"loaded {total - 2} of {total} tensors from model (without head.weight, head.bias: its classes differ)"
    )


@pytest.mark.parametrize("target", [True, False])
def test_another_number_of_classes(make_params: Callable[..., Params], photos: Any, target: bool) -> None:
    """Also where the number of classes stands in params.yaml."""
    named = {"provider": "torchvision", "name": "mobilenet_v3_small", "pretrained": False, "kwargs": {"width_mult": 0.3}}
    own = {"_target_": "torchvision.models.mobilenet_v3_small", "width_mult": 0.3, "num_classes": 2}
    weights = {f"network.{name}": value for name, value in mobilenet_v3_small(width_mult=0.3, num_classes=5).state_dict().items()}
    expects = Pretrained((0.5,) * 3, (0.5,) * 3, 40, WeightsOrigin(source="init_from: other", licence="mit", sha256={}))
    start = InitialWeights("other", list("abcde"), weights, expects)
    plan = plan_for(make_params({"train.model": own if target else named}), photos, start)
    assert plan.lines()[0].endswith("tensors from other (without classifier.3.weight, classifier.3.bias: its classes differ)")
    first = "network.features.0.0.weight"
    assert torch.equal(plan.classifier.network.state_dict()[first], weights[first])
    assert plan.preprocessing.image_size == 40


def test_a_last_layer_that_cannot_be_told(published: Path) -> None:
    class Fixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(4, 10)

    network = torch.nn.ModuleDict({"network": Fixed()})
    start = InitialWeights("other", list("abcdefghij"), network.state_dict(), opened(published).expects)
    with pytest.raises(
        InputError, match=r"other has other classes, and the network's last layer cannot be identified; let the network take"
    ):
        load_initial_weights(start, network, lambda: network, DIGITS)


def test_a_network_of_another_width_or_of_colour_is_refused(
    make_params: Callable[..., Params], digits: Any, photos: Any, published: Path
) -> None:
    message = r"^params\.yaml: train\.init_from: the weights of model do not fit train\.model \(network\..* and \d+ more\)"
    with pytest.raises(InputError, match=message):
        plan_for(make_params({"train.model.kwargs": {"width": 8, "stages": 2}}), digits, opened(published))
    with pytest.raises(InputError, match=r"\(network\.features\.0\.weight\)"):
        plan_for(make_params(SMALL), photos, opened(published))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("model.json", "train.init_from: model.json of model is damaged (its content does not have the SHA-256"),
        ("model.safetensors", "train.init_from: model.safetensors of model is not the file that model.json describes"),
    ],
)
def test_weights_are_verified_before_use(published: Path, file: str, message: str) -> None:
    content = bytearray((published / file).read_bytes())
    content[-9] ^= 1
    (published / file).write_bytes(content)
    with pytest.raises(InputError) as caught:
        opened(published)
    assert message in str(caught.value)


def test_a_state_depends_on_the_weights_behind_the_name(make_params: Callable[..., Params], digits: Any, published: Path) -> None:
    stage, params = Stage("train", {}), make_params(SMALL)
    before = depends_on(stage.code, params, {}, plan_for(params, digits, opened(published)).about["origin"])
    assert depends_on(stage.code, params, {}, plan_for(params, digits, opened(published)).about["origin"]) == before
    publish(published, plan_for(make_params({"base.seed": 9}), digits), DIGITS)
    params = make_params({"base.seed": 0})
    assert depends_on(stage.code, params, {}, plan_for(params, digits, opened(published)).about["origin"]) != before
    assert depends_on(stage.code, params, {}, plan_for(params, digits).about["origin"]) != before


def test_a_restricted_licence_is_handed_on(make_params: Callable[..., Params], digits: Any, published: Path) -> None:
    from darkroom.base import files

    card = files.read_sealed_json(published / "model.json")
    card["origin"] = {"source": "timm: x", "licence": "cc-by-nc-4.0", "sha256": {}}
    files.write_sealed_json(published / "model.json", card)
    with pytest.raises(InputError, match=r"train\.allow_noncommercial: is false, but the licence of init_from: model \(cc-by-nc"):
        plan_for(make_params(SMALL), digits, opened(published))
    plan = plan_for(make_params(SMALL | {"train.allow_noncommercial": True}), digits, opened(published))
    assert plan.about["origin"]["licence"] == "cc-by-nc-4.0"


def test_one_start_alone(make_params: Callable[..., Params]) -> None:
    model = {"provider": "timm", "name": "resnet18", "pretrained": True, "kwargs": {}}
    with pytest.raises(InputError, match=r"train\.init_from: is .*, but train\.model\.pretrained is true"):
        make_params({"train.model": model, "train.init_from": "main"})
