"""Measure the overhead of a search over its trainings: python benchmarks/search.py [--pairs 7] [--trials 20].

First, a trial and the same training by `python src/train.py` alternate. Then a whole search with two jobs is compared with the
trainings of its trials, one after the other on all cores. Pruning is off, so that both train the same.
"""

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from default_pipeline import clone, run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from darkroom.base.yaml_file import read_yaml
from darkroom.experiments.baseline import Baseline
from darkroom.experiments.overrides import with_settings
from darkroom.experiments.runs import Runner
from darkroom.experiments.slots import Slot, lock_slots


def params_of(repository: Path, study: str) -> list[str]:
    """Return params.yaml of every trial of a study."""
    references = run(["git", "for-each-ref", "--format=%(refname)", "refs/exps"], repository)[1].split()
    return [run(["git", "show", f"{name}:params.yaml"], repository)[1] for name in references if f"/{study}-" in name]


def train_alone(folder: Path, params: str) -> float:
    """Train with these parameters from scratch, and return the seconds."""
    (folder / "params.yaml").write_text(params)
    shutil.rmtree(folder / ".resume", ignore_errors=True)
    return run([sys.executable, "src/train.py"], folder)[0]


def trial(slot: Slot, baseline: Baseline, lr: float, log: Path) -> float:
    """Run a trial as the search does, and return the seconds."""
    start, name = time.perf_counter(), f"pair-{lr}"
    slot.prepare(baseline.snapshot, with_settings(baseline.content, {"train.lr": lr}), lock=baseline.lock)
    done = Runner().run(slot, "train", env={"DVC_EXP_NAME": name, "DVC_EXP_BASELINE_REV": baseline.snapshot.head}, log=log)
    assert done.kind == "done", done
    slot.save(baseline.snapshot, name, name)
    return time.perf_counter() - start


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=7, help="trials to compare with the same training alone (7)")
    parser.add_argument("--trials", type=int, default=20, help="trials of the search with two jobs (20); 0: no search")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    with tempfile.TemporaryDirectory() as temporary:
        searched, bare = clone(Path(temporary, "searched")), clone(Path(temporary, "bare"))
        for each in (searched, bare):
            run(["dvc", "repro", "split"], each)
        trials, trainings = [], []
        with lock_slots(searched, 1) as slots:
            log = Path(temporary, "log")
            baseline = Baseline.prepare(slots[0], read_yaml(searched / "params.yaml"), log)
            for number in range(options.pairs):
                trials.append(trial(slots[0], baseline, 0.01 + number / 1000, log))
                trainings.append(train_alone(bare, (slots[0].folder / "params.yaml").read_text()))
        more = [one - other for one, other in zip(trials, trainings, strict=True)]
        print("| trial, s | the same training alone, s | more, s | all |\n|---|---|---|---|")
        medians = " | ".join(f"{statistics.median(values):.1f}" for values in (trials, trainings, more))
        print(f"| {medians} | {', '.join(f'{value:.1f}' for value in more)} |\n", flush=True)
        if options.trials:
            flags = ["-S", "tune.study=two", "-S", f"tune.trials={options.trials}", "-S", "tune.pruner=null", "--jobs", "2"]
            seconds = run([sys.executable, "darkroom", "tune", *flags], searched)[0]
            alone = [train_alone(bare, params) for params in params_of(searched, "two")]
            assert len(alone) == options.trials
            print("| trials, two jobs | search, s | trainings one after the other, s | ratio |\n|---|---|---|---|")
            print(f"| {options.trials} | {seconds:.0f} | {sum(alone):.0f} | {seconds / sum(alone):.2f} |")


if __name__ == "__main__":
    main()
