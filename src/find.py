"""Propose a learning rate or a batch size by short trials: python src/find.py lr. Changes nothing but a chart in logs/."""

import argparse

from darkroom import paths
from darkroom.command import run_command
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.errors import InputError
from darkroom.params_file import load_params


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Propose a learning rate or a batch size by short trials.")
    parser.add_argument("what", choices=["lr", "batch_size"])
    parser.add_argument("--steps", type=int, default=200, help="of the sweep of learning rates (200)")
    arguments = parser.parse_args()
    params = load_params(paths.PARAMS)
    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)
    pack.withhold(split.rows["test"])

    from darkroom.hardware import startup

    startup.prepare()
    from darkroom.training.finders import MIN_STEPS, Trial, find_batch_size, find_lr, smallest_fast
    from darkroom.training.plan import make_plan
    from darkroom.training.precision import resolve_precision

    if arguments.steps < MIN_STEPS:
        raise InputError(f"--steps: is {arguments.steps}, which is too few to see a slope; give at least {MIN_STEPS}")

    def tell(trial: Trial) -> None:
        print(f"{trial.batch_size:>10}  {trial.images_per_second:>10,.0f}  {trial.memory_gb:>9.2f}", flush=True)

    rows, chart = split.rows["train"], paths.logs_dir() / f"{arguments.what}.png"
    plan = resolve_precision(make_plan(params, pack, rows))
    if arguments.what == "lr":
        lr = find_lr(plan, rows, num_steps=arguments.steps, chart=chart)
        proposals = {f"train.lr={lr:.3g}": "where the loss falls most steeply"}
    else:
        print(f"{'batch_size':>10}  {'images/s':>10}  {'memory GB':>9}", flush=True)
        trials = find_batch_size(plan, rows, chart=chart, tell=tell)
        fast, largest = smallest_fast(trials), trials[-1]
        proposals = {f"train.batch_size={fast.batch_size}": "the smallest that is as fast as any, within 5 %"}
        why = "all training images" if largest.batch_size == len(rows) else "the largest that fits"
        proposals |= {f"train.batch_size={largest.batch_size}": why}
    print(f"find: drawn in {paths.shown(chart)}")
    for setting, why in proposals.items():
        print(f"dvc exp run -S {setting}   # {why}")


if __name__ == "__main__":
    run_command(main)
