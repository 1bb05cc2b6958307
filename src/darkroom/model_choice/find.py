"""The search of `./darkroom find model` as a whole: what there is to try, tried until the time is over or a signal comes."""

import math
from dataclasses import dataclass

from darkroom.base.errors import InputError, Interrupted, RunError
from darkroom.base.params import Params
from darkroom.data.labels import is_multilabel
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.model_choice.backbones import Backbone, find_backbones
from darkroom.model_choice.clock import Clock
from darkroom.model_choice.folds import folds_of
from darkroom.model_choice.progress import Lines
from darkroom.model_choice.recipes import as_set, from_scratch, of_task
from darkroom.model_choice.results import LeftOut, Row
from darkroom.model_choice.search import Search, duration


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes
    ----------
    rows, omitted
        What was finished, and what was not.
    interrupted : int or None
        The signal that ended it.
    needs : float or None
        Seconds after which something will be finished, where nothing was for want of time.
    """

    rows: list[Row]
    omitted: list[LeftOut]
    interrupted: int | None
    needs: float | None = None

    def check(self) -> None:
        """Fail where nothing was finished.

        Raises
        ------
        RunError
            Saying how many minutes it takes.
        """
        if self.rows or self.interrupted is not None:
            return
        if self.needs is None:
            raise RunError("find: nothing could be tried, for the reasons above; change what they name")
        raise RunError(f"find: nothing was finished in time; give --minutes {math.ceil(self.needs / 60)}")


def find_model(params: Params, pack: Pack, split: Split, clock: Clock, backbones: list[Backbone] | None = None) -> Found:
    """Try networks and ways to train them.

    Parameters
    ----------
    params
        Of params.yaml.
    pack, split
        The images; those of the test split are not looked at.
    clock
        The time.
    backbones
        Networks with pretrained weights; None: those that are on this machine.

    Raises
    ------
    InputError
        If there is nothing to tell apart.
    """
    if len(pack.classes) < 2:
        raise InputError("data/raw: has one class, which every network predicts; add images of another one")
    backbones = find_backbones() if backbones is None else backbones
    task = of_task(params, multilabel=is_multilabel(pack.labels))
    folds = folds_of(split, pack, params.split, params.base.seed)
    others = [] if backbones else from_scratch(task, int(pack.sizes.min()))
    print(_begins(backbones, split, folds, clock), flush=True)
    interrupted = None
    with Lines(clock) as watcher:
        search = Search(pack, folds, clock, watcher)
        try:
            search.run(backbones, task, others, as_set(params))
        except Interrupted as error:
            interrupted = error.number
    return Found(search.rows, search.omitted, interrupted, search.needs)


def _begins(backbones: list[Backbone], split: Split, folds: list[Split], clock: Clock) -> str:
    names = ", ".join(f"{each.name} ({each.origin})" for each in backbones) or "none with pretrained weights"
    judged = f"{len(split.rows['val'])} images of validation"
    if len(folds) > 1:
        judged += f", and {len(split.rows['train'])} of training in turn"
    return f"find: networks on this machine: {names}\nfind: {duration(clock.seconds)}; judged on {judged}"
