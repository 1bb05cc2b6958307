"""What is learnt from a teacher against a computation by hand; that nothing of it moves, is saved or published; what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from publishing import Best, publish, teacher_of
from torch import Tensor, nn

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.base.params import Params, Teaching
from darkroom.data.split_file import Split
from darkroom.input.dataset import Batch
from darkroom.metrics.epoch import EpochMetrics
from darkroom.models.model_json import Card, make_card, read_card
from darkroom.models.networks import build_network
from darkroom.models.preprocessing import Normalized, Preprocessing
from darkroom.models.saving import save_model
from darkroom.objective.distillation import Teacher, distillation_loss
from darkroom.objective.mixup import Mixing
from darkroom.stage.runner import Stage
from darkroom.training.checkpoints.saved_states import StateStore, depends_on
from darkroom.training.fit import fit
from darkroom.training.plan import Plan, make_plan

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {
    "train.model.kwargs": {"width": 4, "stages": 2},
    "train.loss": {"_target_": "CrossEntropyLoss"},
    "train.augment": [],
    "train.epochs": 2,
    "hardware.accelerator": "cpu",
}
DIGITS = list("0123456789")


@pytest.fixture
def folder(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> Path:
    """A published model of the digits at 12 pixels."""
    params = make_params(SMALL | {"base.seed": 5, "train.model.kwargs": {"width": 6, "stages": 2}, "train.image_size": 12})
    publish(tmp_path / "teacher", make_plan(params, digits.pack, digits.split.rows["train"]), DIGITS)
    return tmp_path / "teacher"


@pytest.fixture
def taught(make_params: Callable[..., Params], folder: Path) -> Callable[..., Params]:
    """Return parameters of a training with that teacher."""

    def make(changes: dict[str, Any] | None = None, weight: float = 0.3, temperature: float = 3.0) -> Params:
        section = {"model": str(folder), "weight": weight, "temperature": temperature}
        own = {"base.seed": 0, "train.image_size": None, "train.teacher": section}
        return make_params(SMALL | own | (changes or {}))

    return make


def plan_for(params: Params, data: Any) -> Plan:
    return make_plan(params, data.pack, data.split.rows["train"], teacher=teacher_of(params))


def softened(logits: Tensor, temperature: float) -> Any:
    powers = np.exp(logits.detach().double().numpy() / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_divergence_of_one_class_per_image() -> None:
    torch.manual_seed(0)
    logits, wanted = torch.randn(5, 4), 3 * torch.randn(5, 4)
    own, other = softened(logits, 2.5), softened(wanted, 2.5)
    expected = 2.5**2 * (other * np.log(other / own)).sum(axis=1).mean()
    assert float(distillation_loss(logits, wanted, 2.5, multilabel=False)) == pytest.approx(expected, rel=1e-5)
    assert float(distillation_loss(wanted, wanted + 7, 2.5, multilabel=False)) == pytest.approx(0, abs=1e-5)


def test_the_divergence_of_independent_classes() -> None:
    torch.manual_seed(0)
    logits, wanted = torch.randn(5, 4), 3 * torch.randn(5, 4)
    own, other = (1 / (1 + np.exp(-values.double().numpy() / 2.5)) for values in (logits, wanted))
    each = other * np.log(other / own) + (1 - other) * np.log((1 - other) / (1 - own))
    assert float(distillation_loss(logits, wanted, 2.5, multilabel=True)) == pytest.approx(2.5**2 * each.mean(), rel=1e-5)
    assert float(distillation_loss(wanted, wanted, 2.5, multilabel=True)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("mixup", [None, 0.4])
def test_the_loss_is_the_one_computed_by_hand(taught: Callable[..., Params], digits: Any, mixup: float | None) -> None:
    classifier = plan_for(taught({"train.mixup": mixup}), digits).classifier
    classifier.network.eval()
    rows = digits.split.rows["train"][:16]
    images = torch.from_numpy(digits.pack.batch(rows)).permute(0, 3, 1, 2)
    batch = given = Batch(images=images, labels=torch.from_numpy(digits.pack.labels[rows]))
    if mixup:
        torch.manual_seed(4)
        given = Mixing(mixup, None, 10)(batch)
    torch.manual_seed(4)
    found = float(classifier.training_step(batch, 0).detach())
    shares = given["labels"] if mixup else torch.eye(10)[given["labels"]]
    logits = classifier.network(given["images"])
    of_labels = -(shares.numpy() * np.log(softened(logits, 1))).sum(axis=1).mean()
    assert classifier.objective.teacher is not None
    resized = torch.nn.functional.interpolate(given["images"].float(), (12, 12), mode="bilinear", antialias=True)
    other, own = softened(classifier.objective.teacher.network(resized), 3), softened(logits, 3)
    of_teacher = 9 * (other * np.log(other / own)).sum(axis=1).mean()
    assert of_teacher > 0.01
    assert found == pytest.approx(0.7 * of_labels + 0.3 * of_teacher, rel=1e-4)
    # Validation knows of labels alone.
    epoch_metrics = EpochMetrics(10)
    classifier.measure(batch, epoch_metrics)
    plain = -np.log(softened(classifier.network(images), 1)[np.arange(16), batch["labels"]]).mean()
    assert float(epoch_metrics.metrics()["loss"]) == pytest.approx(plain, rel=1e-4)


def test_only_the_student_is_trained_and_published(
    taught: Callable[..., Params], make_params: Callable[..., Params], digits: Any, tmp_path: Path
) -> None:
    rows = digits.split.rows
    split = Split(digits.split.classes, {"train": rows["train"][:128], "val": rows["val"][:40], "test": rows["test"]}, "")
    plan = plan_for(taught(), digits)
    teacher = plan.classifier.objective.teacher
    assert teacher is not None
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    begun = {name: value.clone() for name, value in plan.classifier.network.state_dict().items()}
    store = StateStore(tmp_path / "states", {})
    with store.held():
        best = fit(plan, split, store)
    assert all(torch.equal(value, before[name]) for name, value in teacher.network.state_dict().items())
    assert all(value.grad is None for value in teacher.network.parameters())
    assert not teacher.network.training
    own = plan.classifier.network.state_dict()
    assert not any(torch.equal(value, begun[name]) for name, value in own.items() if name.endswith("weight"))
    assert best.weights.keys() == own.keys()
    state = store.latest()
    assert state is not None
    assert state["state_dict"].keys() == {f"network.{name}" for name in own}
    assert len(state["optimizer_states"][0]["state"]) == len(list(plan.classifier.network.parameters()))
    alone = fit_alone(make_params({"train.teacher": None}), digits, split, tmp_path / "alone")
    assert not torch.equal(alone["network.head.weight"], best.weights["network.head.weight"])


def fit_alone(params: Params, digits: Any, split: Split, folder: Path) -> dict[str, Tensor]:
    store = StateStore(folder, {})
    with store.held():
        return fit(plan_for(params, digits), split, store).weights


def test_the_weight_of_one_is_the_teacher_alone(taught: Callable[..., Params]) -> None:
    """The gradient of the labels is gone, and that of the teacher ends where both agree."""
    teacher = teacher_of(taught(weight=1.0))
    assert teacher is not None
    images = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8)
    logits = teacher.predict(images).requires_grad_()
    teacher(nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.long)), logits, images).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.allclose(logits.grad, torch.zeros(4, 10), atol=1e-6)


@pytest.mark.parametrize(("channels", "given"), [(1, 3), (3, 1)])
def test_a_teacher_sees_images_of_its_own_size_and_channels(channels: int, given: int) -> None:
    seen = Preprocessing(image_size=6, channels=channels, mean=(0.3,) * channels, std=(0.2,) * channels)
    model = {"provider": "builtin", "name": "small_cnn", "pretrained": False, "kwargs": {"width": 4, "stages": 1}}
    fields = {"format": 1, "network": model, "classes": ["a", "b"], "preprocessing": seen.model_dump(mode="json"), "epoch": 1}
    more = {"monitor": "val/loss", "score": 0.1, "data_sha256": {}, "params": {}, "packages": {}, "weights_sha256": "0"}
    card = Card.model_validate(fields | more, strict=False)
    network = Normalized(build_network(card.network, num_classes=2, channels=channels), seen).eval()
    teacher = Teacher("other", card, network, Teaching(model="other", weight=0.5, temperature=2.0))
    images = torch.randint(256, (3, given, 9, 9), dtype=torch.uint8)
    red, green, blue = images.float().unbind(1) if given == 3 else (images.float()[:, 0],) * 3
    grey = (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]
    wanted = grey if channels == 1 else images.float().expand(-1, 3, -1, -1)
    resized = nn.functional.interpolate(wanted, (6, 6), mode="bilinear", antialias=True)
    # Grey values are rounded down to bytes, as those of an image are.
    assert torch.allclose(teacher.predict(images), network(resized), atol=0.05)
    assert torch.equal(teacher.predict(images), teacher.predict(images))


def test_what_it_learnt_from_is_recorded_and_part_of_the_state(
    taught: Callable[..., Params], digits: Any, folder: Path, tmp_path: Path
) -> None:
    params = taught()
    plan = plan_for(params, digits)
    sha256 = {"model.safetensors": files.sha256(folder / "model.safetensors")}
    assert plan.about["teacher"]["sha256"] == sha256
    assert f"teacher {folder} (weight 0.3, temperature 3)" in plan.lines()
    publish(tmp_path / "student", plan, DIGITS)
    card = read_card(tmp_path / "student" / "model.json")
    assert card.teacher is not None
    assert (card.teacher.sha256, card.params["train"]["teacher"]["weight"]) == (sha256, 0.3)
    stage = Stage("train", {})
    before = depends_on(stage.code, params, {}, None, plan.about["teacher"])
    publish(folder, plan_for(taught({"train.teacher": None, "base.seed": 7}), digits), DIGITS)
    params = taught()
    after = depends_on(stage.code, params, {}, None, plan_for(params, digits).about["teacher"])
    assert before["params"] == after["params"]
    assert before != after


def test_a_restricted_licence_is_handed_on_from_teacher_to_student(
    taught: Callable[..., Params], digits: Any, folder: Path, tmp_path: Path
) -> None:
    card = files.read_sealed_json(folder / "model.json")
    card["origin"] = {"source": "timm: x", "licence": "cc-by-nc-4.0", "sha256": {}}
    files.write_sealed_json(folder / "model.json", card)
    with pytest.raises(InputError, match=r"train\.allow_noncommercial: is false, but the licence of teacher: .* \(cc-by-nc"):
        plan_for(taught(), digits)
    plan = plan_for(taught({"train.allow_noncommercial": True}), digits)
    publish(tmp_path / "student", plan, DIGITS)
    assert read_card(tmp_path / "student" / "model.json").as_origin("student").licence == "cc-by-nc-4.0"


def test_another_teacher_is_refused(taught: Callable[..., Params], digits: Any, folder: Path) -> None:
    plan = plan_for(taught({"train.teacher": None}), digits)
    params = taught()

    def refused(message: str) -> None:
        with pytest.raises(InputError) as caught:
            plan_for(params, digits)
        assert str(caught.value).startswith(f"params.yaml: train.teacher.model: {message}")
        assert "\n" not in str(caught.value)

    publish(folder, plan, [*DIGITS[1:], "0"])
    refused(f"{folder} has 10 classes (1, 2, 3, …), but the data has 10 classes (0, 1, 2, …); name a model with the same classes")
    publish(folder, plan, DIGITS, task="multilabel")
    refused(f"{folder} predicts any number of classes per image, unlike the labels of the data; name another model")
    card = make_card(plan.params, plan.preprocessing, DIGITS, {}, Best(), about=plan.about)
    weights = plan.classifier.network.state_dict()
    save_model(folder, weights | {"network.head.bias": torch.full((10,), float("nan"))}, card)
    refused(f"{folder} predicts NaN or infinity; name another model")
    save_model(folder, weights | {"network.head.bias": torch.zeros(3)}, card)
    refused(f"model.json of {folder}: does not fit model.safetensors (")
    save_model(folder, weights, card | {"network": {"_target_": "os.system", "command": "true"}})
    refused(f"model.json of {folder}: was trained with os.system, but params.yaml names another train.model")


def test_a_teacher_by_target_is_built_where_params_name_it_too(taught: Callable[..., Params], digits: Any, folder: Path) -> None:

    def make(**more: Any) -> Params:
        return taught(more | {"train.model": {"_target_": "darkroom.models.builtin.small_cnn.SmallCNN", "width": 4, "stages": 1}})

    plan = plan_for(make(**{"train.teacher": None}), digits)
    publish(folder, plan, DIGITS)
    assert plan_for(make(), digits).classifier.objective.teacher is not None


@pytest.mark.parametrize("file", ["model.json", "model.safetensors"])
def test_a_damaged_teacher_is_refused(taught: Callable[..., Params], folder: Path, file: str) -> None:
    content = bytearray((folder / file).read_bytes())
    content[-9] ^= 1
    (folder / file).write_bytes(content)
    with pytest.raises(InputError, match=rf"^params\.yaml: train\.teacher\.model: {file} of .*; name another model$"):
        teacher_of(taught())


def test_a_folder_without_a_model(taught: Callable[..., Params], folder: Path) -> None:
    (folder / "model.json").unlink()
    with pytest.raises(InputError, match=r"has no model\.json; name the folder of a published model, or a revision"):
        teacher_of(taught())


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"model": "main", "weight": 0.5}, "train.teacher.temperature: is missing; add it"),
        ({"model": "main", "weight": 1.5, "temperature": 2.0}, "train.teacher.weight: is 1.5, but should be less than or equal to 1"),
        ({"model": "main", "weight": 0.5, "temperature": 0}, "train.teacher.temperature: is 0, but should be greater than 0"),
        ({"modle": "main", "weight": 0.5, "temperature": 1.0}, "train.teacher.modle: unknown key; did you mean 'model'?"),
        ("main", 'train.teacher: is "main", but should be a mapping'),
    ],
)  # fmt: skip
def test_mistakes_name_the_key(make_params: Callable[..., Params], section: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_params({"train.teacher": section})
    assert message in str(caught.value)
