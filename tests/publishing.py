"""Published models to start with and to learn from, for tests."""

from pathlib import Path

from darkroom.base.params import Params
from darkroom.models.model_json import make_card
from darkroom.models.saving import save_model
from darkroom.objective.distillation import Teacher, open_teacher
from darkroom.training.plan import Plan
from darkroom.versions.models import read_model


class Best:
    """A published epoch."""

    monitor, epoch, score = "val/accuracy", 1, 0.5


def publish(folder: Path, plan: Plan, classes: list[str], task: str = "multiclass") -> None:
    """Write a model, each of whose weights is a little more than it began with."""
    folder.mkdir(exist_ok=True)
    card = make_card(plan.params, plan.preprocessing, classes, {"raw": "0"}, Best(), task=task, about=plan.about)
    begun = plan.classifier.network.state_dict()
    weights = {name: value + 0.05 if value.is_floating_point() else value + 1 for name, value in begun.items()}
    save_model(folder, weights, card)


def teacher_of(params: Params) -> Teacher | None:
    """Return the model of the folder that `train.teacher` names, as the stage does."""
    teaching = params.train.teacher
    return open_teacher(*read_model(Path("/"), Path("/"), teaching.model), params) if teaching else None
