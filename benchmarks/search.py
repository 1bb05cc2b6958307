"""What a search costs beyond its trainings: python benchmarks/search.py [--alone 8] [--beside 20].

Searches the default space on the digits in a fresh clone, with one job and with two, then trains what each trial trained by
`python src/train.py` alone, one after the other on all cores. Nothing is ended early, so that both do the same.
"""

import argparse
import os
import platform
import resource
import shutil
import sys
import tempfile
from pathlib import Path

from default_pipeline import clone, run


def processor_seconds() -> float:
    """Return what all commands so far have taken, of all cores."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(command: list[str], folder: Path) -> tuple[float, float]:
    """Run a command; return its seconds, and those of all cores."""
    before = processor_seconds()
    return run(command, folder)[0], processor_seconds() - before


def params_of(repository: Path, study: str) -> list[str]:
    """Return params.yaml of every trial of a study."""
    references = run(["git", "for-each-ref", "--format=%(refname)", "refs/exps"], repository)[1].split()
    return [run(["git", "show", f"{name}:params.yaml"], repository)[1] for name in references if f"/{study}-" in name]


def train_alone(folder: Path, params: str) -> tuple[float, float]:
    """Train with these parameters from the beginning."""
    (folder / "params.yaml").write_text(params)
    shutil.rmtree(folder / ".resume", ignore_errors=True)
    return timed([sys.executable, "src/train.py"], folder)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--alone", type=int, default=8, help="trials with one job (8)")
    parser.add_argument("--beside", type=int, default=20, help="trials with two jobs (20)")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| jobs | trials | search, s | trainings, s | ratio | more a trial, s | of a core, s |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        searched, bare = clone(Path(temporary, "searched")), clone(Path(temporary, "bare"))
        for each in (searched, bare):
            run(["dvc", "repro", "split"], each)
        for jobs, trials in ((1, options.alone), (2, options.beside)):
            study = f"jobs{jobs}"
            settings = [f"tune.study={study}", f"tune.trials={trials}", "tune.pruner=null"]
            flags = [word for setting in settings for word in ("-S", setting)]
            seconds, of_cores = timed([sys.executable, "src/tune.py", *flags, "--jobs", str(jobs)], searched)
            trained = [train_alone(bare, params) for params in params_of(searched, study)]
            assert len(trained) == trials
            bare_seconds, bare_of_cores = (sum(column) for column in zip(*trained, strict=True))
            more, more_of_cores = (seconds - bare_seconds) / trials, (of_cores - bare_of_cores) / trials
            print(
                f"| {jobs} | {trials} | {seconds:.0f} | {bare_seconds:.0f} | {seconds / bare_seconds:.2f} | {more:.1f} "
                f"| {more_of_cores:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
