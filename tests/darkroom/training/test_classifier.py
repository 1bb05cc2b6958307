"""A way to train of one's own: FixMatch as src/plugins/README.md shows it, modules beside the network, and what is refused."""

import copy
import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from interruptions import CHANGES, Result, Stop, assert_equal, few_of, run

import plugins
from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.data.split_file import Split
from darkroom.input.dataset import ImageDataset
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.finders import SweepTrainer
from darkroom.training.fit import fit
from darkroom.training.plan import Plan, make_plan

pytestmark = pytest.mark.filterwarnings("ignore")
README = Path(__file__).resolve().parents[3] / "src" / "plugins" / "README.md"
FIXMATCH = {"_target_": "plugins.fixmatch.FixMatch", "labels_per_class": 2, "threshold": 0.15, "weight": 0.5}
CONTRAST = """
import torch
from torch import nn
from darkroom.training.classifier import Classifier

class Contrast(Classifier):
    '''Pulls the projections of two dropouts of an image together; a bank remembers how far they were.'''

    def __init__(self, network, *, size=4, **given):
        super().__init__(network, **given)
        self.projection = nn.Linear(10, size)
        self.teacher = nn.Linear(10, size).requires_grad_(False)
        self.loss = self.average = self.mixing = self.frozen = self.merged = self.monitor = None
        self.register_buffer("distance", torch.zeros(()))

    def training_step(self, batch, batch_idx):
        first, second = (self.projection(self.network(batch["images"])) for _ in range(2))
        distance = (first - second + self.teacher(torch.ones(10))).square().mean()
        self.distance.lerp_(distance.detach(), 0.1)
        return super().training_step(batch, batch_idx) + distance / (1 + self.distance)

class Manual(Classifier):
    def __init__(self, network, **given):
        super().__init__(network, **given)
        self.automatic_optimization = False

class Narrow(Classifier):
    def __init__(self, network, *, objective, num_classes, multilabel):
        super().__init__(network, objective=objective, num_classes=num_classes, multilabel=multilabel, seed=0)

class Published(Classifier):
    def __init__(self, network, **given):
        super().__init__(network, **given)
        self.published = nn.Linear(10, 4)

class Other(Classifier):
    def __init__(self, network, **given):
        super().__init__(network, **given)
        self.network = nn.Linear(10, 4)

import pytorch_lightning
class Plain(pytorch_lightning.LightningModule):
    pass
"""


@pytest.fixture(autouse=True)
def _plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the README's module, and others, where plug-ins are found."""
    folder = tmp_path / "planted" / "plugins"
    folder.mkdir(parents=True)
    (folder / "fixmatch.py").write_text(code_of_readme())
    (folder / "others.py").write_text(CONTRAST)
    monkeypatch.setattr(plugins, "__path__", [*plugins.__path__, str(folder)])
    importlib.invalidate_caches()
    yield
    for name in ("plugins.fixmatch", "plugins.others"):
        sys.modules.pop(name, None)


def code_of_readme() -> str:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "class FixMatch" in block]
    return str(code)


@pytest.fixture
def few(digits: Any) -> Any:
    return few_of(digits)


@pytest.fixture
def plan(make_params: Callable[..., Params], few: Any) -> Plan:
    params = make_params(CHANGES | {"train.module": FIXMATCH})
    return make_plan(params, few[0].pack, few[1].rows["train"])


def test_the_example_is_short_and_labels_so_many_of_each_class(plan: Plan, few: Any) -> None:
    assert len(code_of_readme().splitlines()) < 60
    labelled: Any = plan.classifier.has_label
    assert np.bincount(few[0].pack.labels[np.flatnonzero(labelled)]).tolist() == [2] * 10
    assert np.isin(np.flatnonzero(labelled), few[1].rows["train"]).all()


def test_its_loss_is_that_of_the_paper(plan: Plan, few: Any) -> None:
    pack, split = few
    batch = ImageDataset(pack.pack, image_size=8, channels=1)[0, split.rows["train"][:48]]
    classifier: Any = plan.classifier
    classifier.network.eval()
    with torch.no_grad():  # half of the images are above it
        classifier.threshold = float(classifier.network(batch["images"]).softmax(1).amax(1).median())
    torch.manual_seed(0)
    found = classifier.training_step(batch, 0)
    torch.manual_seed(0)
    stronger = torch.stack([classifier.strengthen(image) for image in batch["images"]])
    supervised, consistency, num_sure = [], 0.0, 0
    for image, strong, label, row in zip(batch["images"], stronger, batch["labels"], batch["rows"], strict=True):
        log_shares, log_strong = (classifier.network(one[None])[0].log_softmax(0) for one in (image, strong))
        if classifier.has_label[row]:  # label smoothing of 0.05, as in params.yaml
            supervised.append(-0.95 * log_shares[label] - 0.05 * log_shares.mean())
        if log_shares.exp().max() >= classifier.threshold:
            consistency -= float(log_strong[log_shares.argmax()])
            num_sure += 1
    assert 0 < num_sure < 48
    assert 0 < len(supervised) < 20
    expected = torch.stack(supervised).mean() + 0.5 * consistency / 48
    assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert classifier.train_metrics.counts[1].sum() == len(supervised)


def test_labels_that_it_is_not_to_know_change_no_bit(make_params: Any, few: Any, plan: Plan, tmp_path: Path) -> None:
    data, split = few
    params = make_params(CHANGES | {"train.module": FIXMATCH})
    rows, labelled = split.rows["train"], plan.classifier.has_label

    def relabelled(which: Any, label: int) -> Any:
        pack = copy.copy(data.pack)
        pack.labels = pack.labels.copy()
        pack.labels[which] = label
        return pack

    def trained(pack: Any, name: str) -> Result:
        return run(params, (SimpleNamespace(pack=pack), split), tmp_path / name, [None])

    unknown = rows[~labelled[rows].numpy()]
    # The class whose few labels are found first: other images of it are passed over from then on.
    packs = [relabelled(unknown, label) for label in range(10)]
    same, *_ = [pack for pack in packs if torch.equal(make_plan(params, pack, rows).classifier.has_label, labelled)]  # type: ignore[arg-type]
    expected = trained(data.pack, "whole")
    assert_equal(trained(same, "relabelled"), expected)
    known = rows[labelled[rows].numpy()]
    other = trained(relabelled(known[:1], (data.pack.labels[known[0]] + 1) % 10), "known")
    assert any(not torch.equal(value, other.weights[name]) for name, value in expected.weights.items())


@pytest.mark.thorough
def test_it_learns_more_than_its_labels_alone_teach(make_params: Any, digits: Any, tmp_path: Path) -> None:
    """Five labels per class: 0.903, 0.827, 0.875 without and 0.903, 0.914, 0.908 with the others, for the seeds 0, 1, 2."""

    def accuracy(weight: float) -> float:
        module = {"_target_": "plugins.fixmatch.FixMatch", "labels_per_class": 5, "threshold": 0.6, "weight": weight}
        changes = {"train.loss": "CrossEntropyLoss", "train.epochs": 16, "train.early_stopping": None, "base.seed": 1}
        rows = digits.split.rows
        split = Split(digits.split.classes, {"train": rows["train"][:600], "val": rows["test"], "test": rows["val"]}, "")
        params = make_params(changes | {"train.module": module, "hardware.accelerator": "cpu"})
        score = run(params, (digits, split), tmp_path / str(weight), [None]).card[1]
        assert score is not None
        return score

    assert accuracy(1.0) > accuracy(0.0) + 0.03


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "changes",
    [
        {"train.module": FIXMATCH},
        pytest.param({"train.module": FIXMATCH, "hardware.num_workers": 2, "train.ema": 0.9}, marks=pytest.mark.thorough),
        {"train.module": {"_target_": "plugins.others.Contrast", "size": 3}},
    ],
    ids=["fixmatch", "two workers and ema", "modules beside the network"],
)
def test_chains_of_interruptions(make_params: Any, few: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    params = make_params(CHANGES | changes)
    expected = run(params, few, tmp_path / "whole", [None])
    stops = [Stop("asked", "step", 3), Stop("killed", "epoch", 2), Stop("asked", "validation", 1), None]
    assert_equal(run(params, few, tmp_path / "chain", stops), expected)


def test_modules_beside_the_network_are_trained_unless_frozen(make_params: Any, few: Any, tmp_path: Path) -> None:
    data, split = few
    plan = make_plan(make_params(CHANGES | {"train.module": "plugins.others.Contrast"}), data.pack, split.rows["train"])
    own: Any = plan.classifier
    before = copy.deepcopy((own.projection.weight, own.teacher.weight))
    store = StateStore(tmp_path / "states", {})
    with store.held():
        best = fit(plan, split, store)
    assert not torch.equal(own.projection.weight, before[0])
    assert torch.equal(own.teacher.weight, before[1])
    assert float(own.distance) > 0
    assert set(best.weights) == set(own.network.state_dict())


def test_the_usual_classifier_by_its_name_is_the_usual_training(make_params: Any, few: Any, tmp_path: Path) -> None:
    expected = run(make_params(CHANGES), few, tmp_path / "usual", [None])
    named = make_params(CHANGES | {"train.module": "darkroom.training.classifier.Classifier"})
    assert_equal(run(named, few, tmp_path / "named", [None]), expected)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            "plugins.others.Plain",
            "train.module._target_: plugins.others.Plain cannot be used here; name a subclass of Classifier",
        ),
        ("os.system", "train.module._target_: os.system is in none of torch, "),
        ("pytorch_lightning.LightningModule", "train.module._target_: pytorch_lightning.LightningModule cannot be used here"),
        ("plugins.others.Contrst", "train.module._target_: plugins.others has no Contrst; did you mean 'Contrast'?"),
        ("plugins.others.Manual", "train.module: plugins.others.Manual sets automatic_optimization to False"),
        (
            "plugins.others.Narrow",
            "train.module: plugins.others.Narrow has no parameter seed, which the training passes; let it",
        ),
        (
            "plugins.others.Published",
            "train.module: plugins.others.Published assigns self.published, which Classifier uses itself",
        ),
        (
            "plugins.others.Other",
            "train.module: plugins.others.Other assigns self.network, which Classifier uses itself; give it",
        ),
        (FIXMATCH | {"seed": 3}, "train.module.seed: is set by the training; remove it"),
        (FIXMATCH | {"treshold": 0.9}, "train.module: plugins.fixmatch.FixMatch refuses its arguments (TypeError: "),
        (FIXMATCH | {"labels_per_class": "x"}, "train.module: plugins.fixmatch.FixMatch refuses its arguments (TypeError: "),
    ],
)
def test_what_cannot_train_is_one_line(make_params: Any, few: Any, module: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        make_plan(make_params(CHANGES | {"train.module": module}), few[0].pack, few[1].rows["train"])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_finders_say_that_they_try_the_usual_step(plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    SweepTrainer(plan)
    assert "train.module: find measures train.loss on labelled images, not the module's training_step" in capsys.readouterr().err
