"""Run the commands that README.md and docs/ show, in clones: `python tools/run_lines.py [PAGE ...] [--match PATTERN]`.

How the bash blocks of a page are run is said by HTML comments, which a reader of the rendered page does not see:

- `<!-- independent lines -->` at the top: every line starts from the last commit. Otherwise lines run in order in one clone.
- `<!-- in order -->` before a block of such a page: this block's lines run one after the other.
- `<!-- new clone -->` before a block: it starts in a clone of its own.
- `<!-- not run: REASON -->` before a block: it needs a GPU, a network, an account, or hours. Nothing else is left out, except
  lines that install packages or activate an environment.

`dvc exp run`, `tune` and `repeat` get one short epoch and few trials unless the line says otherwise. Names that stand for the
reader's own (`/path/to/photos`, `photo.jpg`, `s3://bucket/flowers`, ...) are replaced by generated photos and folders. Prints a
line for each command and ends with 1 if one of them failed.
"""

import argparse
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
HOW_TO = (
    "tutorial",
    "setup",
    "data",
    "experiments",
    "predict",
    "training",
    "tracking",
    "export",
    "serving",
    "search",
    "sharing",
    "troubleshooting",
    "commands",
)
PLUGINS = ("src/plugins/README.md", "src/plugins/sources/README.md")
PAGES = ("README.md", *(f"docs/{name}.md" for name in HOW_TO), *PLUGINS)
SHORT = "-S train.epochs=1 -S ++train.trainer.limit_train_batches=4 -S hardware.watch=false -S evaluate.num_images=4"
FEW_TRIALS = "-S tune.trials=2"
# Lines that install, or that only a person's shell needs.
SKIPPED = ("pip ", "make ", "source ")
BLOCK = re.compile(r"((?:<!--[^>]*-->\n)*)```(\w+)\n(.*?)```", re.DOTALL)
# The reader's own files in a clone.
OWN = ("photo.jpg", "folder", "flowers.tar.gz", "scans", "result.csv", "changes.csv", "other")
AUTHOR = {"NAME": "Reader", "EMAIL": "reader@localhost"}


@dataclass(frozen=True)
class Line:
    """A command of a page."""

    text: str
    """As it stands there, without its comment; lines that end with a backslash are joined."""
    starts_clean: bool
    """Whether it starts from the last commit."""
    starts_clone: bool
    """Whether it starts in a clone of its own."""
    not_run: str | None
    """Why it is not run, None if it is."""


def lines_of(text: str) -> list[Line]:
    """Return the commands of a page's bash blocks, in order."""
    independent = "<!-- independent lines -->" in text
    found = []
    for marks, language, block in BLOCK.findall(text):
        if language != "bash":
            continue
        reason = re.search(r"<!-- not run: (.*?) -->", marks)
        fresh = "<!-- new clone -->" in marks
        clean = independent and "<!-- in order -->" not in marks
        commands = re.sub(r"\\\n\s*", "", block).splitlines()
        commands = [command for line in commands if (command := re.sub(r"(^|\s+)#\s.*", "", line).strip())]
        for number, command in enumerate(commands):
            starts_clean = clean or (independent and number == 0)
            found.append(Line(command, starts_clean, fresh and number == 0, reason[1] if reason else None))
    return found


def files_of(text: str) -> dict[str, str]:
    """Return the files that a page tells its reader to write: Python blocks beside the path that is named before them."""
    named = re.findall(r"```python\n# (src/\S+\.py)\n(.*?)```", text, re.DOTALL)
    named += re.findall(r"`(src/plugins/\S+\.py)`:\n\n```python\n(.*?)```", text, re.DOTALL)
    return dict(named)


def shortened(command: str) -> str:
    """Return the command with few epochs and trials; what the line itself sets comes last and wins."""
    if "--run-all" not in command:  # after a preset, which has its own number of epochs
        command = re.sub(r"dvc exp run( \$\(\./darkroom preset [^)]*\))?", rf"\g<0> {SHORT}", command, count=1)
    command = re.sub(r"\./darkroom tune( search/\S+)?", rf"\g<0> {SHORT} {FEW_TRIALS}", command, count=1)
    command = re.sub(r"\./darkroom repeat", rf"\g<0> {SHORT}", command, count=1)
    command = re.sub(r"(tune\.trials|train\.epochs)=(\d\d+)", lambda match: f"{match[1]}=2", command)
    command = re.sub(r"--(seeds|folds) \d+", r"--\1 2", command)
    # The clone's first results are committed already.
    command = command.replace("git commit -m", "git commit --allow-empty -m")
    return command.replace(" --open", "")


class Clones:
    """Clones of this repository in which the pipeline has been run, with photos beside them; `bin_dir` is first on their PATH.

    They are copies of `finished`, two commits without a remote; of one that is made here, if none is given.
    """

    def __init__(self, folder: Path, bin_dir: Path = Path(sys.executable).parent, finished: Path | None = None):
        self.folder = folder
        make_photos(folder)
        self.numbers = itertools.count()
        self.finished = folder / "finished"
        self.environment = os.environ | {
            "PATH": os.pathsep.join([str(bin_dir), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "DVC_NO_ANALYTICS": "1",
            **{f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in AUTHOR.items()},
        }
        if finished is not None:
            shutil.copytree(finished, self.finished, symlinks=True)
            self.run("git remote add origin .", self.finished)
            return
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(self.finished)], check=True)
        # One cache for all clones; two commits, so that HEAD~1 exists.
        commands = (f"dvc cache dir --local {folder}/cache", f"dvc exp run {SHORT}", "git add -A", "git commit -qm First")
        done = self.run(" && ".join((*commands, "git commit -q --allow-empty -m Second")), self.finished)
        if done.returncode:
            raise SystemExit(f"error: the pipeline failed:\n{done.stderr[-2000:]}")

    def new(self, text: str = "") -> Path:
        """Return a clone of its own, with the reader's files of a page in it."""
        number = next(self.numbers)
        clone = self.folder / f"clone{number}"
        shutil.copytree(self.finished, clone, symlinks=True)
        shutil.copy(self.folder / "photos" / "bright" / "1_left.jpg", clone / "photo.jpg")
        shutil.copytree(self.folder / "photos" / "bright", clone / "folder")
        shutil.make_archive(str(clone / "flowers"), "gztar", self.folder / "photos")
        shutil.copytree(self.folder / "photos", clone / "scans")
        rows = [f"{path.parent.name}/{path.name},{path.parent.name}" for path in sorted((clone / "scans").glob("*/*.jpg"))]
        table = ["scan,finding,patient,age", *(f"{row},{number},{number}" for number, row in enumerate(rows))]
        (clone / "scans" / "table.csv").write_text("\n".join(table) + "\n", encoding="utf-8")
        for path, content in files_of(text).items():
            (clone / path).write_text(content, encoding="utf-8")
        # The reader's own files are not part of the repository.
        (clone / ".git" / "info" / "exclude").write_text("".join(f"/{name}\n" for name in OWN), encoding="utf-8")
        self.run(f"git init --quiet --bare ../origin{number} && git init --quiet --bare ../darkroom{number}", clone)
        self.run(f"git push -q ../darkroom{number} HEAD && git remote set-url origin ../darkroom{number}", clone)
        return clone

    def run(self, command: str, clone: Path) -> subprocess.CompletedProcess[str]:
        """Run a line of a page in a clone."""
        number = clone.name.removeprefix("clone")
        for shown, real in (
            ("git@example.com:me/flowers.git", f"{self.folder}/origin{number}"),
            ("s3://bucket/flowers", f"{self.folder}/storage{number}"),
            ("/path/to/photos", f"{self.folder}/photos"),
            ("/path/to/years", f"{self.folder}/years"),
        ):
            command = command.replace(shown, real)
        where = clone / "other" if (clone / "other").exists() and not command.startswith("git clone") else clone
        return subprocess.run(["bash", "-c", command], cwd=where, env=self.environment, capture_output=True, text=True)


def make_photos(folder: Path) -> None:
    """Write photos of two classes, as a folder, as two years of it, and tables of them."""
    rows, several = ["path,label,patient"], ["path,label"]
    random = np.random.default_rng(0)
    for number, (name, brightness) in itertools.product(range(24), (("bright", 160), ("dark", 60))):
        pixels = random.normal(brightness, 40, (40 + number, 48, 3)).clip(0, 255).astype(np.uint8)
        for where in ("photos", f"years/{2023 + number % 2}"):
            path = folder / where / name / f"{number // 2}_{('left', 'right')[number % 2]}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        relative = f"{name}/{path.name}"
        rows.append(f"{relative},{name},{name}{number // 2}")
        several.append(f"{relative},{name}{';left' * (number % 2)}")
    (folder / "photos" / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (folder / "photos" / "several.csv").write_text("\n".join(several) + "\n", encoding="utf-8")


def run_page(clones: Clones, text: str, pattern: str = "") -> Iterator[tuple[Line, float, subprocess.CompletedProcess[str]]]:
    """Run the commands of a page in which a regular expression is found; yield each with its seconds and its outcome."""
    clone = None
    for line in lines_of(text):
        # The environment is active already; each line has a shell of its own.
        command = line.text.removeprefix("source .venv/bin/activate && ")
        if line.not_run or command.startswith(SKIPPED) or not re.search(pattern, command):
            continue
        if clone is None or line.starts_clone:
            clone = clones.new(text)
        if line.starts_clean:
            clones.run("git checkout -q HEAD . && git clean -fdq && dvc checkout -q", clone)
        start = time.monotonic()
        done = clones.run(shortened(command), clone)
        yield line, time.monotonic() - start, done


def main() -> None:
    """Run them."""
    parser = argparse.ArgumentParser(description="Run the commands that the pages show, in clones.")
    parser.add_argument("pages", nargs="*", metavar="PAGE", default=PAGES, help="such as docs/training.md (default: all)")
    parser.add_argument("--match", default="", metavar="PATTERN", help="only lines in which this regular expression is found")
    chosen = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        clones = Clones(Path(folder))
        for page in chosen.pages:
            text = (ROOT / page).read_text(encoding="utf-8")
            for line, seconds, done in run_page(clones, text, chosen.match):
                failed += done.returncode != 0
                print(f"{'ok' if done.returncode == 0 else 'FAILED':<7} {seconds:5.1f} s  {page}: {line.text}", flush=True)
                if done.returncode:
                    print("\n".join((done.stdout + done.stderr).splitlines()[-4:]))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
