"""./darkroom find: a learning rate, a batch size or a network, proposed after trials; `find speed` is in a file of its own."""

import argparse
import math
import time
from typing import TYPE_CHECKING

from darkroom.base.errors import InputError
from darkroom.cli import parser_of

if TYPE_CHECKING:
    from darkroom.base.params import Params
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split

STEPS, MINUTES = 200, 5.0


def main(arguments: list[str]) -> None:
    """Run the trials, and print the proposals as commands."""
    begun = time.monotonic()
    if arguments and arguments[0] == "speed":
        from darkroom.cli.find.speed import main as find_speed

        find_speed(arguments[1:])
        return
    parser = parser_of(
        "find",
        "It needs the data of 'dvc repro split', prints 'dvc exp run' commands, and writes nothing but a chart in logs/. "
        "'./darkroom find speed --help' describes speed, which measures how fast the model and its exports are.",
        examples=[
            "./darkroom find lr",
            "./darkroom find lr --steps 500",
            "./darkroom find batch_size",
            "./darkroom find model --minutes 5",
            "./darkroom find model --minutes 20 --out table.csv",
            "./darkroom find speed",
        ],
        statuses={"130": "interrupted by Ctrl-C; of model, the table of what was finished is printed"},
    )
    parser.add_argument(
        "what",
        choices=["lr", "batch_size", "model", "speed"],
        metavar="WHAT",
        help="what to propose: lr, batch_size, or model: which network, trained in which way; or speed",
    )
    parser.add_argument("--steps", type=int, metavar="N", help=f"lr: steps of the sweep of learning rates (default: {STEPS})")
    parser.add_argument("--minutes", type=float, metavar="M", help=f"model: how long it may take (default: {MINUTES:g})")
    parser.add_output("--out", metavar="FILE", help="model: write the table to a .csv file as well")
    chosen = parser.parse(arguments)
    _check(chosen)

    from darkroom.base import paths
    from darkroom.base.params_file import load_sections
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split

    needed = ("base", "train", "hardware", *(["split"] if chosen.what == "model" else []))
    params = load_sections(paths.PARAMS, *needed)
    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)
    pack.withhold(split.rows["test"])

    from darkroom.hardware import startup

    startup.prepare()
    if chosen.what == "model":
        _find_model(chosen, params, pack, split, begun)
    else:
        _find_number(chosen, params, pack, split)


def _check(chosen: argparse.Namespace) -> None:
    """Refuse options of another proposal, and values that make no sense, before anything is read or imported."""
    for option, what in (("steps", "lr"), ("minutes", "model"), ("out", "model")):
        if getattr(chosen, option) is not None and chosen.what != what:
            raise InputError(f"--{option}: is for 'find {what}', not for 'find {chosen.what}'; remove it")
    chosen.steps = STEPS if chosen.steps is None else chosen.steps
    chosen.minutes = MINUTES if chosen.minutes is None else chosen.minutes
    if not (math.isfinite(chosen.minutes) and chosen.minutes > 0):
        raise InputError(f"--minutes: is {chosen.minutes:g}, but should be more than 0, such as 5")
    if chosen.out is not None and chosen.out.suffix != ".csv":
        raise InputError(f"--out: {chosen.out} is no .csv file; name one, such as table.csv")


def _find_number(chosen: argparse.Namespace, params: "Params", pack: "Pack", split: "Split") -> None:
    """Propose a learning rate or a batch size."""
    from darkroom.base import paths
    from darkroom.training.auto_precision import resolve_auto
    from darkroom.training.finders import MIN_STEPS, Trial, find_batch_size, find_lr, smallest_fast
    from darkroom.training.plan import make_plan

    if chosen.steps < MIN_STEPS:
        raise InputError(f"--steps: is {chosen.steps}, which is too few to see a slope; give at least {MIN_STEPS}")

    def show(trial: Trial) -> None:
        print(f"{trial.batch_size:>10}  {trial.images_per_second:>10,.0f}  {trial.memory_gb:>9.2f}", flush=True)

    rows, chart = split.rows["train"], paths.logs_dir() / f"{chosen.what}.png"
    plan = resolve_auto(make_plan(params, pack, rows))
    if chosen.what == "lr":
        lr = find_lr(plan, rows, num_steps=chosen.steps, chart=chart)
        proposals = {f"train.lr={lr:.3g}": "where the loss falls fastest"}
    else:
        print(f"{'batch_size':>10}  {'images/s':>10}  {'memory GB':>9}", flush=True)
        trials = find_batch_size(plan, rows, chart=chart, tell=show)
        fast, largest = smallest_fast(trials), trials[-1]
        proposals = {f"train.batch_size={fast.batch_size}": "the smallest within 5 % of the highest speed"}
        why = "all training images" if largest.batch_size == len(rows) else "the largest that fits"
        proposals |= {f"train.batch_size={largest.batch_size}": why}
    print(f"find: chart in {paths.shown(chart)}")
    for setting, why in proposals.items():
        print(f"dvc exp run -S {setting}   # {why}")


def _find_model(chosen: argparse.Namespace, params: "Params", pack: "Pack", split: "Split", begun: float) -> None:
    """Try networks and ways to train them, and propose one, also of what was finished when a signal came."""
    from darkroom.base import paths
    from darkroom.base.errors import Interrupted
    from darkroom.model_choice.chart import draw
    from darkroom.model_choice.clock import Clock
    from darkroom.model_choice.find import find_model
    from darkroom.model_choice.table import lines, write_table

    found = find_model(params, pack, split, Clock(60 * chosen.minutes, begun))
    print(*lines(found.rows, found.omitted), sep="\n", flush=True)
    if found.rows:
        chart = paths.logs_dir() / "model.png"
        draw(chart, found.rows)
        print(f"find: chart in {paths.shown(chart)}")
        if chosen.out is not None:
            write_table(chosen.out, found.rows)
            print(f"find: table in {chosen.out}")
    if found.interrupted is not None:
        finished = "the table above holds what was finished" if found.rows else "nothing was finished"
        raise Interrupted(found.interrupted, finished)
    found.check()
