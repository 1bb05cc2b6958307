"""The whole command: in this checkout, in damaged ones, without packages, and after an experiment was killed."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from findings_of import line
from warm_python import warm_bin

from darkroom.health import leftovers, locks
from darkroom.health.processes import is_locked

ROOT = Path(__file__).resolve().parents[3]
LINE = re.compile(r"(ok  |warn|fail)  (\S.{12})  \S.*")
SUBJECTS = ["python", "packages", "lightning", "commands", "environment", "git", "params.yaml", "dvc.yaml", "dvc.lock", "dvc"]
SUBJECTS += ["disk", "dvc cache", "downloads", "dvc lock", "stages", "experiments", "resume", "unfinished", "features", "torch"]
ENV = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
for role in ("AUTHOR", "COMMITTER"):
    ENV |= {f"GIT_{role}_NAME": "Tester", f"GIT_{role}_EMAIL": "tester@localhost"}


def doctor(root: Path, *options: str) -> dict[str, str]:
    """Run the command, check its form and status, and return the marks and texts of its lines by subject."""
    env = ENV | {"PATH": f"{warm_bin()}:{ENV['PATH']}"}
    done = subprocess.run(["python", *options, "darkroom", "doctor"], cwd=root, env=env, capture_output=True, text=True)
    assert done.stderr == ""
    *lines, blank, summary = done.stdout.splitlines()
    assert all(map(LINE.fullmatch, lines)), done.stdout
    assert blank == ""
    marks = [line[:4].strip() for line in lines]
    warnings = f"{marks.count('warn')} warning" + ("s" if marks.count("warn") != 1 else "")
    to_do = "run the commands above" if {"fail", "warn"} & {*marks} else "'dvc repro' runs the pipeline"
    assert summary == f"{marks.count('fail')} failed, {warnings}, {marks.count('ok')} ok; {to_do}"
    assert done.returncode == ("fail" in marks)
    found = {line[6:19].strip(): f"{line[:4].strip()} {line[21:]}" for line in lines}
    assert [subject for subject in found if subject in SUBJECTS] == SUBJECTS
    return found


def shell(command: str, folder: Path) -> str:
    return subprocess.run(["bash", "-ec", command], cwd=folder, env=ENV, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository of its own with this checkout's files, and no results."""
    names = shell("git ls-files -z --cached --others --exclude-standard", ROOT).split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "dvc.lock").unlink(missing_ok=True)
    shell("git init -q && git add -A && git commit -qm start", tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.thorough  # its files as a fresh clone are in every run
def test_this_checkout() -> None:
    found = doctor(ROOT)
    assert not any("cannot be checked" in text for text in found.values())
    assert all("; run: " in text for text in found.values() if not text.startswith("ok "))
    for subject in ("python", "lightning", "dvc", "stages", "torch"):
        assert found[subject].startswith("ok ")
    for subject in ("packages", "params.yaml", "git", "dvc.yaml", "dvc settings", "disk"):
        assert not found[subject].startswith("fail"), found[subject]


@pytest.mark.slow
def test_a_fresh_clone_is_fine(clone: Path) -> None:
    found = doctor(clone)
    others = {subject: text for subject, text in found.items() if not text.startswith("ok ")}
    assert others.keys() <= {"packages", "disk", "dvc cache", "downloads"}
    assert not any("cannot be checked" in text for text in found.values())
    assert all("; run: " in text for text in others.values())


@pytest.mark.slow
def test_a_damaged_workspace_ends_in_lines(clone: Path) -> None:
    shell("rm -rf .git .dvc params.yaml dvc.yaml && echo '<<<<<<< HEAD' > dvc.lock && echo torn > pyproject.toml", clone)
    found = doctor(clone)
    for subject in ("packages", "git", "params.yaml", "dvc.yaml", "dvc.lock", "dvc"):
        assert found[subject].startswith("fail "), subject
        assert "; run: " in found[subject]
    assert found["stages"] == "ok none running"
    assert found["torch"].startswith("ok ")


@pytest.mark.thorough
@pytest.mark.slow
def test_without_packages(clone: Path) -> None:
    found = doctor(clone, "-S")  # without site-packages
    for subject in ("packages", "params.yaml", "dvc.yaml", "dvc"):
        assert found[subject].startswith("fail "), subject
        assert found[subject].endswith("; run: pip install -r requirements.txt")
    assert found["params.yaml"].startswith("fail cannot be checked: pydantic is not installed")
    assert found["git"].startswith("ok ")


@pytest.mark.parametrize("name", ["darkroom", "src/darkroom/__init__.py", "src/darkroom/cli/__init__.py"])
def test_an_old_python_reads_enough_to_say_so(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    module = ast.parse(text, feature_version=(3, 8))
    # f-strings of one kind of quotes within the other, which feature_version does not check.
    strings = [node for node in ast.walk(module) if isinstance(node, ast.JoinedStr)]
    nested = [ast.get_source_segment(text, node) or "" for node in strings]
    assert all(each.count('"') <= 2 or each.startswith(("f'", "'")) for each in nested)
    imported = [node for node in module.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert not any(" darkroom" in ast.unparse(node) for node in imported)


def test_the_version_is_checked_before_anything_else_is_read() -> None:
    text = (ROOT / "src/darkroom/cli/__init__.py").read_text(encoding="utf-8")
    assert text.index("sys.version_info < OLDEST") < text.index("from darkroom.base.command import run_command")


def starts(python: str) -> bool:
    """Return whether there is such a Python; a shim of pyenv may stand for a version that is not chosen."""
    return bool(shutil.which(python)) and subprocess.run([python, "--version"], capture_output=True).returncode == 0


OLD = next(filter(starts, ("python3.8", "python3.9", "python3.10")), "")


@pytest.mark.skipif(not OLD, reason="needs a Python older than 3.11")
@pytest.mark.parametrize(("command", "out"), [("doctor", "fail  python         is 3."), ("preset", "--preset-failed\n")])
def test_an_old_python_says_so(tmp_path: Path, command: str, out: str) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "darkroom", tmp_path)
    done = subprocess.run([OLD, "darkroom", command, "cifar10"], cwd=tmp_path, env=ENV, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.startswith(out)
    assert "should be 3.11 to 3.13; run" in done.stdout + done.stderr
    assert done.stdout.count("\n") == 1
    assert done.stderr.count("\n") == (command != "doctor")


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a stage outlives its DVC")
def test_a_killed_experiment(clone: Path) -> None:
    def experiments() -> str:
        return line(leftovers.check_experiments(clone), "experiments")

    shell("dvc repro split && git add -A && git commit -qm data", clone)
    command = ["dvc", "exp", "run", "--temp", "-n", "ghost", "-S", "train.epochs=400", "train"]
    with subprocess.Popen(command, cwd=clone, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as dvc:
        deadline = time.monotonic() + 60
        while not (
            running := [
                path
                for path in clone.glob(".dvc/tmp/exps/standalone/tmp*/.dvc/tmp/darkroom.lock")
                if is_locked(path, "fcntl") and '"train"' in path.read_text()  # check comes first
            ]
        ):
            assert time.monotonic() < deadline
            assert dvc.poll() is None
            time.sleep(0.1)
        assert experiments() == "ok experiments 1 running in temporary folders, none left over"
        text = line(locks.check_stages(clone), "stages")
        assert text.startswith("ok stages train has been running in .dvc/tmp/exps/standalone/tmp")
        dvc.send_signal(signal.SIGKILL)
    while is_locked(running[0], "fcntl"):
        assert time.monotonic() < deadline + 60
        time.sleep(0.1)

    text = experiments()
    assert text.startswith("warn experiments ghost was killed, but 'dvc exp show' lists it as running; run: ")
    assert "Running" in shell("dvc exp show --csv", clone)
    shell(text.rpartition("; run: ")[2], clone)
    assert "Running" not in shell("dvc exp show --csv", clone)
    assert experiments() == "ok experiments none running in temporary folders, none left over"
