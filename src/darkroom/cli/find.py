"""./darkroom find: a learning rate or a batch size, proposed after short trials. Changes nothing but a chart in logs/."""

from darkroom.base.errors import InputError
from darkroom.cli import parser_of


def main(arguments: list[str]) -> None:
    """Run the trials, and print the proposals as commands."""
    parser = parser_of(
        "find",
        "It needs the data of 'dvc repro split', prints 'dvc exp run' commands, and writes nothing but a chart in logs/.",
        examples=["./darkroom find lr", "./darkroom find lr --steps 500", "./darkroom find batch_size"],
    )
    parser.add_argument("what", choices=["lr", "batch_size"], help="what to propose: lr or batch_size", metavar="WHAT")
    parser.add_argument("--steps", type=int, default=200, metavar="N", help="steps of the sweep of learning rates (default: 200)")
    chosen = parser.parse(arguments)

    from darkroom.base import paths
    from darkroom.base.params_file import load_sections
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split

    params = load_sections(paths.PARAMS, "base", "train", "hardware")
    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)
    pack.withhold(split.rows["test"])

    from darkroom.hardware import startup

    startup.prepare()
    from darkroom.training.finders import MIN_STEPS, Trial, find_batch_size, find_lr, smallest_fast
    from darkroom.training.plan import make_plan
    from darkroom.training.precision import resolve_precision

    if chosen.steps < MIN_STEPS:
        raise InputError(f"--steps: is {chosen.steps}, which is too few to see a slope; give at least {MIN_STEPS}")

    def show(trial: Trial) -> None:
        print(f"{trial.batch_size:>10}  {trial.images_per_second:>10,.0f}  {trial.memory_gb:>9.2f}", flush=True)

    rows, chart = split.rows["train"], paths.logs_dir() / f"{chosen.what}.png"
    plan = resolve_precision(make_plan(params, pack, rows))
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
