"""What is tried: a network and a way to train it, as presets and settings of `dvc exp run`, which are also the line to run."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import Network, Params
from darkroom.experiments.overrides import read_request
from darkroom.model_choice.backbones import Backbone

PROBE = "probe"
# In the order of their cost: each a preset of conf/ways.
FINE_TUNING = ("partial", "lora", "full")
AS_SET, SCRATCH = "as in params.yaml", "from scratch"
# The shorter side of the images from which the preset for photos is tried from scratch.
PHOTO_SIDE = 64
OTHER_MODELS = ("init_from", "resume_from", "teacher")


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained.

    Attributes
    ----------
    backbone, way : str
        As the table names them.
    presets : tuple of str
        Names of presets; later ones win.
    settings : tuple of str
        As after `-S`, which win over presets.
    """

    backbone: str
    way: str
    presets: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The command that trains it."""
        words = ["dvc exp run"]
        if self.presets:
            words.append(f"$(./darkroom preset {shlex.join(self.presets)})")
        return " ".join([*words, *(f"-S {shlex.quote(each)}" for each in self.settings)])

    def read(self) -> Params:
        """Return the parameters that the line would set.

        Raises
        ------
        InputError
            If they are not valid, need several processes, or name other trainings.
        """
        _, params = read_request(paths.PARAMS, paths.PRESETS, self.presets, self.settings)
        if params.train.processes != 1:
            raise InputError(
                f"params.yaml: train.processes: is {params.train.processes}, but find trains in one process; set it to 1"
            )
        named = next((key for key in OTHER_MODELS if getattr(params.train, key) is not None), None)
        if named is not None:
            raise InputError(f"params.yaml: train.{named}: names another training, which find does not open; set it to null")
        # What influences no result, or writes elsewhere.
        train = params.train.model_copy(update={"test_every": None, "loggers": [], "inspect": [], "debug": False})
        hardware = params.hardware.model_copy(update={"devices": 1, "num_nodes": 1, "strategy": "auto", "watch": False})
        return params.model_copy(update={"train": train, "hardware": hardware})


def of_task(params: Params, *, multilabel: bool) -> tuple[str, ...]:
    """Return the presets for labels of another kind than one class per image, which are added to those of a way."""
    if multilabel:
        return ("multilabel",)
    return ("binary",) if params.train.task == "binary" else ()


def as_set(params: Params) -> Recipe:
    """Return the training that params.yaml describes as it stands."""
    model = params.train.model
    return Recipe(model.name if isinstance(model, Network) else model.target, AS_SET)


def from_scratch(task: Sequence[str], side: int) -> list[Recipe]:
    """Return trainings of built-in networks, for where no pretrained weights are on this machine."""
    recipes = [Recipe("small_resnet18", SCRATCH, ("ways/scratch", *task))]
    return [*recipes, Recipe("whitened_cnn", SCRATCH, ("from_scratch_small", *task))] if side >= PHOTO_SIDE else recipes


def in_way(backbone: Backbone, way: str, task: Sequence[str]) -> Recipe:
    """Return the training of a network in a way of conf/ways."""
    # The solver chooses one class; of several labels the last layer is trained.
    trained = ("train.fit_head=null", "train.epochs=40") if way == PROBE else ("train.fit_head=null",)
    settings = (*backbone.settings, *(trained if "multilabel" in task else ()))
    return Recipe(backbone.name, way, (f"ways/{way}", *task), settings)
