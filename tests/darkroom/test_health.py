"""Every check has a workspace that makes it fail or warn, and one in which it is content; what counts is the printed line."""

import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement

from darkroom import files
from darkroom.health import checks, dvc_setup, findings, installation, leftovers, locks, machine, processes, repository
from darkroom.health.findings import Check, Finding

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"


def lines(found: Iterable[Finding]) -> list[str]:
    """Return the printed lines without the spaces that align them."""
    return [" ".join(str(finding).split()) for finding in found]


def line(found: Iterable[Finding], subject: str) -> str:
    (match,) = [text for text in lines(found) if text.split(" ", 1)[1].startswith(subject)]
    return match


def shell(command: str, folder: Path) -> str:
    return subprocess.run(["bash", "-ec", command], cwd=folder, capture_output=True, text=True, check=True).stdout


def way_out(text: str) -> str:
    return text.rpartition("; run: ")[2]


@pytest.fixture(autouse=True)
def _fresh_settings() -> None:
    dvc_setup.read_settings.cache_clear()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A repository with this one's settings and a commit."""
    for name in ("params.yaml", "dvc.yaml", "requirements.txt", ".dvc/config", ".dvc/plots_page.html"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text("print('train')\n")
    shell(
        "git init -q && git config user.name Tester && git config user.email t@localhost && git add -A && git commit -qm Start",
        tmp_path,
    )
    return tmp_path


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@contextmanager
def held(code: str, *arguments: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a program that prints a line once it holds what it is to hold."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(SRC)!r}); {code}", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


# Findings


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ModuleNotFoundError("No module named 'x'", name="x"), "fail it cannot be checked: x is not installed; run: INSTALL"),
        (PermissionError(13, "Permission denied", "a/b"), "fail it cannot be checked: a/b: Permission denied; run: mend it"),
        (subprocess.TimeoutExpired("git", 30), "fail it cannot be checked: no answer in 30 seconds; run: mend it"),
        (ZeroDivisionError("two\nlines"), r"fail it cannot be checked: ZeroDivisionError: two\nlines; run: mend it"),
        (SyntaxError("torn"), "fail it cannot be checked: SyntaxError: torn; run: mend it"),
    ],
)
def test_a_check_that_breaks_says_so(error: Exception, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> Iterator[Finding]:
        yield Finding("ok", "first", "fine")
        raise error

    monkeypatch.setattr(findings, "install_command", lambda _: "INSTALL")
    assert lines(Check("it", look, "mend it").findings(tmp_path)) == ["ok first fine", expected]


def test_lines_are_aligned() -> None:
    texts = [
        str(Finding("ok", "git", "HERE")),
        str(Finding("warn", "dvc settings", "HERE")),
        str(Finding("fail", "params.yaml", "HERE")),
    ]
    assert len({text.index("HERE") for text in texts}) == 1


def test_subjects_fit_into_their_column() -> None:
    assert max(len(check.subject) for check in checks.all_checks(ROOT, Requirement)) <= findings.SUBJECT_WIDTH


def test_packages_are_installed_as_this_torch_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "installed_version", lambda _: None)
    assert findings.install_command(tmp_path) == "pip install -r requirements.txt"
    monkeypatch.setattr(findings, "installed_version", lambda _: "2.15.0+cpu")
    assert findings.install_command(tmp_path).endswith("--extra-index-url https://download.pytorch.org/whl/cpu")
    assert findings.install_command(tmp_path).split(" --extra")[0] in (ROOT / "README.md").read_text()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    assert findings.install_command(tmp_path) == "source .venv/bin/activate"


# Installation


def test_python() -> None:
    assert line(installation.check_python(), "python").startswith(f"ok python 3.{sys.version_info.minor}.")
    assert line(installation.check_python((3, 14, 1)), "python").startswith(
        "fail python is 3.14.1, but should be 3.11 to 3.13; run: python3.12"
    )
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert allowed == f">=3.{installation.OLDEST[1]},<3.{installation.NEWEST[1] + 1}"


def packages_line(folder: Path, pins: str) -> str:
    (folder / "requirements.txt").write_text(f"# made by a tool\n{pins}\n")
    return line(installation.check_packages(folder, Requirement), "packages")


def test_packages(tmp_path: Path) -> None:
    numpy = findings.installed_version("numpy")
    assert packages_line(tmp_path, f"NumPy=={numpy}") == "ok packages 1 package as requirements.txt pins them"
    assert packages_line(tmp_path, f"numpy=={numpy}\nno-such==1 ; sys_platform == 'win32'").startswith("ok packages 1 package ")
    assert packages_line(tmp_path, "numpy==1.0\nno-such==1").startswith("fail packages no-such is missing (and 1 more); run: ")
    assert packages_line(tmp_path, "numpy==1.0").startswith(f"warn packages numpy is {numpy}, not 1.0; run: ")
    (tmp_path / "pyproject.toml").write_text("[project]\ndependencies = ['Numpy<2']")
    assert packages_line(tmp_path, "numpy==1.0").startswith(f"fail packages numpy is {numpy}, not 1.0; run: ")
    (tmp_path / "requirements.txt").unlink()
    missing = line(installation.check_packages(tmp_path, Requirement), "packages")
    assert missing == "fail packages requirements.txt does not exist; run: git checkout HEAD -- requirements.txt"


def test_a_build_of_torch_for_the_cpu_needs_no_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": "2.15.0+cpu", "dvc": "3.67.1"}
    monkeypatch.setattr(installation, "installed_version", versions.get)
    monkeypatch.setattr(installation.importlib.metadata, "requires", lambda _: ["filelock"])
    pins = "torch==2.15.0\ndvc==3.67.1\nnvidia-nccl-cu13==2.30.7\ncuda-toolkit==13.2.2\ntriton==3.9.0"
    assert packages_line(tmp_path, pins) == "ok packages 2 packages as requirements.txt pins them"
    monkeypatch.setattr(installation.importlib.metadata, "requires", lambda _: ["nvidia-nccl-cu13==2.30.7"])
    versions["torch"] = "2.15.0"
    assert packages_line(tmp_path, pins).startswith("fail packages nvidia-nccl-cu13 is missing (and 2 more)")


def test_lightning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert line(installation.check_lightning(), "lightning").startswith("ok lightning not installed")
    monkeypatch.setattr(installation, "installed_version", lambda _: "2.6.6")
    assert line(installation.check_lightning(), "lightning").endswith(
        "breaks its DVCLive logger; run: pip uninstall -y lightning"
    )


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = Path(sys.executable).parent
    activate = f"; run: export PATH={scripts}:$PATH"
    monkeypatch.setenv("PATH", f"{scripts}:/usr/bin:/bin")
    assert (
        line(installation.check_commands(tmp_path), "commands") == "ok commands python and dvc on PATH are of this installation"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    assert line(installation.check_commands(tmp_path), "commands") == f"warn commands python is not on PATH{activate}"
    program(tmp_path / "python", "echo /other")
    assert line(installation.check_commands(tmp_path), "commands") == f"warn commands dvc is not on PATH{activate}"
    program(tmp_path / "dvc", "true")
    assert line(installation.check_commands(tmp_path), "commands").startswith(
        f"warn commands stages would run with {tmp_path}/python, "
    )
    program(tmp_path / "python", f"echo {tmp_path}/.venv")
    assert line(installation.check_commands(tmp_path), "commands").endswith(
        "is not the one that stages would run with; run: python src/doctor.py"
    )
    (tmp_path / "python").unlink()
    monkeypatch.setenv("PATH", f"{tmp_path}:{scripts}")
    assert line(installation.check_commands(tmp_path), "commands").startswith(
        f"warn commands dvc is {tmp_path}/dvc, which is not of this"
    )


def test_environment() -> None:
    name = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    assert line(installation.check_environment({}), "environment") == f"ok environment {name} is not set"
    found = line(installation.check_environment({name: "1"}), "environment")
    assert found == f"fail environment {name} is set: opening a checkpoint may run code; run: unset {name}"


# Machine


@pytest.fixture
def code(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with this checkout's code, and no GPU to see."""
    shutil.copytree(SRC / "darkroom", workspace / "src" / "darkroom", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return workspace


@pytest.mark.slow
def test_torch_and_its_device(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("a Mac has a device of its own")
    monkeypatch.setattr(machine, "GPUS_OF_DRIVER", code / "gpus")
    found = lines(machine.check_torch(code))
    assert found[0].startswith("ok torch torch 2.")
    assert found[1] == "ok device cpu would be used (0 GPUs); bf16-mixed works there"

    (code / "gpus" / "0000:01:00.0").mkdir(parents=True)
    (code / "params.yaml").write_text("broken")
    found = lines(machine.check_torch(code))
    assert found[1].startswith("warn device there is an NVIDIA GPU that torch 2.")
    assert way_out(found[1]).startswith("pip uninstall -y torch torchvision && grep -vE ")

    text = (ROOT / "params.yaml").read_text()
    (code / "params.yaml").write_text(text.replace("accelerator: auto", "accelerator: cuda"))
    assert line(machine.check_torch(code), "device").startswith(
        "fail device params.yaml: hardware.accelerator: is cuda, but this machine has none; set it to auto or cpu; run: ${EDITOR:-nano} params.yaml"
    )


@pytest.mark.parametrize(
    ("torch", "expected"),
    [
        (
            "raise ImportError('libcudart.so.13: cannot open')",
            "fail torch cannot be imported: ImportError: libcudart.so.13: cannot open; run: ",
        ),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGILL)",
            "fail torch Python was ended by SIGILL while it imported torch; run: ",
        ),
        ("raise SystemExit(3)", "fail torch cannot be imported: exit status 3; run: "),
    ],
)
def test_a_broken_torch(torch: str, expected: str, code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code / "other").mkdir()
    (code / "other" / "torch.py").write_text(torch)
    monkeypatch.setenv("PYTHONPATH", str(code / "other"))
    assert line(machine.check_torch(code), "torch").startswith(expected)


@pytest.mark.parametrize(
    ("num_bytes", "expected"),
    [
        (80e9, "ok disk 80.0 GB free in the repository"),
        (4.9e9, "warn disk only 4.9 GB free in the repository; run: clean"),
        (4e8, "fail disk only 400.0 MB free in the repository; run: clean"),
    ],
)
def test_disk(num_bytes: float, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=num_bytes))
    assert line(machine.check_disk(tmp_path, "disk", [tmp_path / "not yet" / "made"], "clean"), "disk") == expected
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is what nobody may write to")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to("/proc")
    found = line(machine.check_disk(tmp_path, "disk", [tmp_path, tmp_path / "data" / "raw"], "clean"), "disk")
    assert found.startswith("fail disk data cannot be written; run: ")
    assert found.endswith(" data")


# Repository


def test_params(workspace: Path) -> None:
    assert line(repository.check_params(workspace), "params.yaml") == "ok params.yaml valid"
    path = workspace / "params.yaml"
    path.write_text(path.read_text().replace("  lr: 0.01", "  lr: fast"))
    found = line(repository.check_params(workspace), "params.yaml")
    assert 'train.lr: is "fast", but should be ' in found
    assert found.startswith("fail params.yaml ")
    assert found.endswith("; run: ${EDITOR:-nano} params.yaml")
    path.unlink()
    assert line(repository.check_params(workspace), "params.yaml").startswith("fail params.yaml does not exist; run: ")
    shell(way_out(line(repository.check_params(workspace), "params.yaml")), workspace)
    assert line(repository.check_params(workspace), "params.yaml") == "ok params.yaml valid"


def test_git(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert lines(repository.check_git(workspace))[0].startswith("ok git last commit: ")
    empty = tmp_path_factory.mktemp("no repository")
    assert lines(repository.check_git(empty)) == [
        'fail git not a Git repository; run: git init && git add -A && git commit -m "Start"'
    ]
    shell("git init -q", empty)
    assert lines(repository.check_git(empty))[0].startswith(
        "fail git no commit yet, and experiments start from one; run: git add -A"
    )


def test_git_of_another_user(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert lines(repository.check_git(workspace)) == [
        f"fail git the folder is another user's; run: git config --global --add safe.directory '{workspace}'"
    ]


def test_git_user(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(workspace))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(workspace))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    assert line(repository.check_git(workspace), "git user") == "ok git user Tester <t@localhost>"
    shell("git config --unset user.email", workspace)
    found = line(repository.check_git(workspace), "git user")
    assert found.startswith(
        "warn git user user.name or user.email is not set, so nothing can be committed; run: git config user.name"
    )
    shell(way_out(found), workspace)
    assert line(repository.check_git(workspace), "git user") == "ok git user Your Name <you@example.com>"


def test_changes_beside_results(workspace: Path) -> None:
    assert (
        line(repository.check_git(workspace), "git changes") == "ok git changes none in src and params.yaml since the last commit"
    )
    (workspace / "src" / "new.py").touch()
    (workspace / "params.yaml").write_text("changed")
    assert line(repository.check_git(workspace), "git changes").startswith(
        "ok git changes params.yaml (and 1 more) not committed; there are no results"
    )
    (workspace / "dvc.lock").touch()
    found = line(repository.check_git(workspace), "git changes")
    assert found.startswith("warn git changes params.yaml (and 1 more) not committed: the last commit does not say what")
    shell(way_out(found), workspace)
    assert line(repository.check_git(workspace), "git changes").startswith("ok git changes none")


# DVC


def test_pipeline(workspace: Path) -> None:
    assert (
        line(dvc_setup.check_pipeline(workspace), "dvc.yaml") == "ok dvc.yaml 5 stages: download, split, train, evaluate, predict"
    )
    for text, expected in (
        ("stages: [", "dvc.yaml:1: is not YAML"),
        ("a: 1", "has no stages"),
        (None, "dvc.yaml: does not exist"),
    ):
        (workspace / "dvc.yaml").write_text(text) if text else (workspace / "dvc.yaml").unlink()
        found = line(dvc_setup.check_pipeline(workspace), "dvc.yaml")
        assert found.startswith(f"fail dvc.yaml {expected}")
        shell(way_out(found), workspace)
        assert line(dvc_setup.check_pipeline(workspace), "dvc.yaml").startswith("ok")


def test_results(workspace: Path) -> None:
    path = workspace / "dvc.lock"
    assert line(dvc_setup.check_results(workspace), "dvc.lock") == "ok dvc.lock no results yet; 'dvc repro' makes them"
    path.write_text("schema: '2.0'\nstages:\n  split: {}\n")
    assert (
        line(dvc_setup.check_results(workspace), "dvc.lock")
        == "warn dvc.lock 1 stage: split, but not in Git; run: git add -f dvc.lock"
    )
    shell("git add -f dvc.lock", workspace)
    assert line(dvc_setup.check_results(workspace), "dvc.lock") == "ok dvc.lock 1 stage: split"
    path.write_text("<<<<<<< HEAD\nschema: '2.0'\n=======\n")
    assert line(dvc_setup.check_results(workspace), "dvc.lock").startswith("fail dvc.lock dvc.lock:")
    assert way_out(line(dvc_setup.check_results(workspace), "dvc.lock")) == "rm dvc.lock && dvc repro"
    shell("git checkout dvc.lock && git commit -qm results && echo torn > dvc.lock", workspace)
    assert (
        line(dvc_setup.check_results(workspace), "dvc.lock") == "fail dvc.lock has no stages; run: git checkout HEAD -- dvc.lock"
    )
    shell("git commit -qam damaged", workspace)
    assert way_out(line(dvc_setup.check_results(workspace), "dvc.lock")) == "rm dvc.lock && dvc repro"


@pytest.fixture
def check_dvc(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return the lines on DVC after a command in the workspace, untouched by the settings of who runs the tests."""
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(workspace / "global"))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(workspace / "system"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")

    def check(command: str) -> list[str]:
        shell(command, workspace)
        dvc_setup.read_settings.cache_clear()
        return lines(dvc_setup.check_dvc(workspace))

    return check


def test_dvc(check_dvc: Callable[..., list[str]]) -> None:
    version, settings, remote = check_dvc("true")
    assert version.startswith("ok dvc 3.")
    assert settings == "ok dvc settings as the project needs them"
    assert remote.startswith("ok dvc remote none: models and data stay on this machine")
    assert check_dvc("rm .dvc/config") == ["fail dvc .dvc/config does not exist; run: git checkout HEAD -- .dvc"]
    assert check_dvc("rm -r .dvc") == ["fail dvc .dvc/config does not exist; run: git checkout HEAD -- .dvc"]


def test_dvc_is_missing(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvc_setup, "installed_version", lambda _: None)
    assert lines(dvc_setup.check_dvc(workspace))[0].startswith("fail dvc is not installed; run: ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            "dvc config hydra.enabled true",
            "fail dvc settings hydra.enabled is true (.dvc/config): 'dvc exp run' would overwrite edits of params.yaml; run:",
        ),
        pytest.param(
            "dvc config --local hydra.enabled true",
            "fail dvc settings hydra.enabled is true (.dvc/config.local)",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "dvc config -u core.autostage",
            "warn dvc settings core.autostage is not set, not true; run:",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "dvc config core.analytics true",
            "warn dvc settings core.analytics is true, not false; run:",
            marks=pytest.mark.thorough,
        ),
        (
            "dvc config --local core.analytics true",
            "warn dvc settings core.analytics is true, not false (.dvc/config.local); run:",
        ),
        pytest.param(
            "dvc config cache.type copy",
            "warn dvc settings cache.type is copy, not reflink,hardlink,copy; run:",
            marks=pytest.mark.thorough,
        ),
        ("dvc config -u plots.html_template", "warn dvc settings plots.html_template is not set, not plots_page.html; run:"),
        ("rm .dvc/plots_page.html", "warn dvc settings .dvc/plots_page.html does not exist; run:"),
        ("echo garbage >> .dvc/config", "fail dvc settings configuration error"),
        pytest.param("echo garbage > .dvc/config.local", "fail dvc settings configuration error", marks=pytest.mark.thorough),
    ],
)
def test_dvc_settings(command: str, expected: str, check_dvc: Callable[..., list[str]]) -> None:
    found = check_dvc(command)[1]
    assert found.startswith(expected)
    assert check_dvc(way_out(found))[1] == "ok dvc settings as the project needs them"


def dvc_cache(workspace: Path) -> str:
    """Return the line on the disk of the cache without how much is free."""
    (check,) = [check for check in checks.all_checks(workspace, Requirement) if check.subject == "dvc cache"]
    found = line(check.findings(workspace), "dvc cache")
    return f"{' '.join(found.split()[:3])} {found.split()[-1]}"


def test_settings_of_this_machine(workspace: Path, check_dvc: Callable[..., list[str]]) -> None:
    found = check_dvc(
        "dvc config --local cache.type hardlink,symlink && dvc config --local cache.dir elsewhere && mkdir elsewhere"
    )[1]
    assert found == "ok dvc settings as the project needs them; .dvc/config.local sets cache.dir, cache.type"
    assert dvc_cache(workspace) == "ok dvc cache elsewhere"
    check_dvc("rm .dvc/config.local && mkdir .dvc/cache")
    assert dvc_cache(workspace) == "ok dvc cache .dvc/cache"
    check_dvc("echo garbage > .dvc/config")
    assert dvc_cache(workspace) == "ok dvc cache .dvc/cache"


def test_dvc_remote(check_dvc: Callable[..., list[str]]) -> None:
    found = check_dvc("dvc remote add --local storage /somewhere")[2]
    assert found == "warn dvc remote storage, but none is the default; run: dvc remote default --local storage"
    assert check_dvc(way_out(found))[2] == "ok dvc remote storage: /somewhere"


# Locks


def test_processes(dead: int) -> None:
    assert processes.is_alive(os.getpid(), time.time())
    assert not any(processes.is_alive(pid, time.time()) for pid in (0, -1, dead, 2**80))
    if sys.platform == "linux":
        assert not processes.is_alive(os.getpid(), time.time() - 1e7), "it has only got the number"
        assert processes.parent(os.getpid()) == os.getppid()
        with subprocess.Popen(["true"]) as zombie:
            os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
            assert not processes.is_alive(zombie.pid, time.time())


def rwlock(workspace: Path, *pids: int) -> str:
    path = workspace / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"read": {f"/data/{pid}": [{"pid": pid, "cmd": "dvc repro"}] for pid in pids}}))
    return line(locks.check_dvc_locks(workspace, hardlink=False), "dvc rwlock")


def test_dvc_rwlock(workspace: Path, dead: int) -> None:
    assert len(lines(locks.check_dvc_locks(workspace, hardlink=False))) == 1
    assert rwlock(workspace) == "ok dvc rwlock free"
    assert rwlock(workspace, os.getpid()) == f"ok dvc rwlock in use by process {os.getpid()} (dvc repro)"
    assert rwlock(workspace, dead, os.getpid()) == f"ok dvc rwlock in use by process {os.getpid()} (dvc repro)"
    found = rwlock(workspace, dead)
    assert found == f"warn dvc rwlock left over by process {dead}, which has ended (dvc repro); run: rm -rf .dvc/tmp/rwlock"
    for damage in ("{", "[]", '{"read": 1}', '{"write": {"a": 1}}'):
        (workspace / ".dvc" / "tmp" / "rwlock").write_text(damage)
        found = line(locks.check_dvc_locks(workspace, hardlink=False), "dvc rwlock")
        assert found == "fail dvc rwlock .dvc/tmp/rwlock is damaged: DVC would refuse to run; run: rm -rf .dvc/tmp/rwlock"


def dvc_lock(workspace: Path, *, hardlink: bool = False) -> str:
    return line(locks.check_dvc_locks(workspace, hardlink=hardlink), "dvc lock")


def test_dvc_lock(workspace: Path, dead: int) -> None:
    path = workspace / ".dvc" / "tmp" / "lock"
    path.parent.mkdir()
    assert dvc_lock(workspace) == "ok dvc lock free"
    path.write_text(f" {dead}\n")
    assert dvc_lock(workspace) == "ok dvc lock free"
    with held(
        "import time, zc.lockfile; lock = zc.lockfile.LockFile(sys.argv[1]); print(flush=True); time.sleep(60)", path
    ) as holder:
        assert dvc_lock(workspace) == f"ok dvc lock in use by process {holder.pid}"
        assert dvc_lock(workspace, hardlink=True) == f"ok dvc lock in use by process {holder.pid}"


def test_dvc_lock_by_hard_link(workspace: Path, dead: int) -> None:
    path = workspace / ".dvc" / "tmp" / "lock"
    path.parent.mkdir()
    assert dvc_lock(workspace, hardlink=True) == "ok dvc lock free"
    path.write_text(f" {dead}\n")
    found = dvc_lock(workspace, hardlink=True)
    assert found.startswith(
        "warn dvc lock is left over, or held by a process that cannot be told; if no dvc runs now; run: rm -f "
    )
    shell(way_out(found), workspace)
    assert dvc_lock(workspace, hardlink=True) == "ok dvc lock free"


HOLD_STAGE = """
import sys, time
from pathlib import Path
from darkroom.stage.runner import locked
with locked(Path(sys.argv[1]), "train"):
    print(flush=True)
    time.sleep(60)
"""


def test_a_running_stage(workspace: Path) -> None:
    path = workspace / ".dvc" / "tmp" / "darkroom.lock"
    assert lines(locks.check_stages(workspace)) == ["ok stages none is running"]
    with held(f"exec({HOLD_STAGE!r})", path) as holder:
        found = line(locks.check_stages(workspace), "stages")
        assert found.startswith("ok stages train has been running since 20")
        assert f"(process {holder.pid} on " in found
        path.write_text("")
        assert lines(locks.check_stages(workspace)) == ["ok stages one has just begun"]
    path.write_text('{"stage": "train", "pid": 1}')
    assert lines(locks.check_stages(workspace)) == ["ok stages none is running"], "nobody holds it"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not tell who started what")
def test_an_orphaned_stage(workspace: Path) -> None:
    (workspace / "hold.py").write_text(HOLD_STAGE)
    folder = ".dvc/tmp/exps/standalone/tmpabc"
    command = f"PYTHONPATH={SRC} {sys.executable} hold.py {folder}/.dvc/tmp/darkroom.lock & read _"
    with subprocess.Popen(
        ["bash", "-c", command], cwd=workspace, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        assert line(locks.check_stages(workspace), "stages").startswith(f"ok stages train has been running in {folder} since")
        parent.kill()
        parent.wait()
        found = line(locks.check_stages(workspace), "stages")
        assert found.startswith("warn stages train has been running in ")
        assert "but what started it has ended; run: kill " in found
        shell(way_out(found), workspace)
        deadline = time.monotonic() + 10
        while lines(locks.check_stages(workspace)) != ["ok stages none is running"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)


# Leftovers


def make_experiment(workspace: Path, pid: int | None, status: int = 2) -> tuple[Path, Path]:
    """Leave what `dvc exp run --temp` leaves when it is killed, as seen with DVC 3.67.1."""
    standalone = workspace / ".dvc" / "tmp" / "exps" / "standalone"
    row, folder = standalone / "run" / ("a1b2c3d" + "0" * 33), standalone / "tmpabc"
    row.mkdir(parents=True)
    (folder / ".dvc" / "tmp").mkdir(parents=True)
    if pid is not None:
        (folder / ".dvc" / "tmp" / "lock").write_text(f" {pid}\n")
    (row / f"{row.name}.run").write_text(json.dumps({"root_dir": str(folder), "name": "ghost", "status": status}))
    return row, folder


def experiments(workspace: Path) -> str:
    return line(leftovers.check_experiments(workspace), "experiments")


def make_old(*paths: Path) -> None:
    for path in paths:
        os.utime(path, (time.time() - 1e6,) * 2)


def test_running_experiments(workspace: Path) -> None:
    assert experiments(workspace) == "ok experiments none running apart, nothing left over"
    make_experiment(workspace, os.getpid())
    assert experiments(workspace) == "ok experiments 1 running apart, nothing left over"


def test_an_experiment_that_is_being_prepared(workspace: Path) -> None:
    row, folder = make_experiment(workspace, None, status=1)
    assert experiments(workspace) == "ok experiments 1 running apart, nothing left over"
    make_old(row, folder)
    assert experiments(workspace).startswith("warn experiments ghost: killed, but 'dvc exp show' says it is running; run: ")


def test_a_ghost(workspace: Path, dead: int) -> None:
    row, folder = make_experiment(workspace, dead)
    found = experiments(workspace)
    assert found.startswith(
        "warn experiments ghost: killed, but 'dvc exp show' says it is running; run: rm -rf .dvc/tmp/exps/standalone/run/a1b2c3d"
    )
    shell(way_out(found), workspace)
    assert not row.exists()
    assert not folder.exists()
    assert experiments(workspace) == "ok experiments none running apart, nothing left over"


def test_only_folders_of_dvc_are_removed(workspace: Path, dead: int) -> None:
    row, folder = make_experiment(workspace, dead)
    folder.rename(workspace / "tmpabc")
    note = row / f"{row.name}.run"
    note.write_text(note.read_text().replace(str(folder), str(workspace / "tmpabc")))
    assert way_out(experiments(workspace)) == f"rm -rf {row.relative_to(workspace)}"


def test_a_row_that_stops_dvc(workspace: Path, dead: int) -> None:
    row, _ = make_experiment(workspace, dead)
    (row / f"{row.name}.run").write_text("{")
    found = experiments(workspace)
    assert found.startswith(f"fail experiments {row.relative_to(workspace)} is damaged: 'dvc exp show' would fail; run: rm -rf ")
    shell(way_out(found), workspace)
    assert experiments(workspace).startswith("ok")


def test_a_folder_without_a_row(workspace: Path, dead: int) -> None:
    row, folder = make_experiment(workspace, dead)
    shutil.rmtree(row)
    assert (
        experiments(workspace) == f"warn experiments 1 folder of killed experiments; run: rm -rf {folder.relative_to(workspace)}"
    )


def save_state(folder: Path, name: str, suffix: str = ".ckpt") -> Path:
    return files.write_hash_named(folder, name, suffix, lambda path: path.write_bytes(b"x" * 3_000_000))


def resume(workspace: Path) -> str:
    return line(leftovers.check_states(workspace, workspace / ".resume"), "resume")


def test_states(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resume(workspace) == "ok resume no unfinished training"
    first, second = workspace / ".resume" / "a1", workspace / ".resume" / "b2"
    save_state(first, "000000000003-0")
    (first / "000000000002-0-abc.ckpt").symlink_to("gone")  # as one that a training replaces while it is looked at
    assert resume(workspace) == "ok resume 1 unfinished training, 3.0 MB"
    save_state(first, "000000000009-2")
    assert resume(workspace) == "ok resume no unfinished training"
    save_state(second, "000000000003-0")
    damaged = save_state(second, "000000000004-1")
    assert resume(workspace) == "ok resume 1 unfinished training, 12.0 MB"
    monkeypatch.setattr(leftovers, "HASHED_BYTES", 7_000_000)
    assert resume(workspace) == "ok resume 1 unfinished training, 12.0 MB, 2 of 4 files read"
    weights = save_state(second, "000000000001-weights", ".safetensors")
    assert resume(workspace) == "ok resume 1 unfinished training, 15.0 MB, 2 of 5 files read"
    monkeypatch.setattr(leftovers, "HASHED_BYTES", 17_000_000)
    weights.write_bytes(b"rot")
    assert resume(workspace).startswith(f"fail resume {weights.relative_to(workspace)}: its content is not what was saved; run: ")
    weights.unlink()
    damaged.write_bytes(b"rot")
    found = resume(workspace)
    assert found.startswith(f"fail resume {damaged.relative_to(workspace)}: its content is not what was saved; run: rm -rf ")
    shell(way_out(found), workspace)
    assert resume(workspace).startswith("ok")


def test_half_written_states(workspace: Path) -> None:
    folder = workspace / ".resume" / "a1"
    save_state(folder, "000000000003-0")
    (folder / f"{files.WRITING}x.ckpt.abc").write_bytes(b"x" * 2_000_000)
    (folder / "lock").touch()
    with held(f"exec({HOLD_STAGE!r})", folder / "lock"):
        assert resume(workspace).startswith("ok resume 1 unfinished training"), "it is being written"
    found = resume(workspace)
    assert found.startswith(
        "warn resume 1 half-written state of killed trainings (5.0 MB in all); run: rm -rf .resume/a1/.writing-"
    )
    shell(way_out(found), workspace)
    assert resume(workspace) == "ok resume 1 unfinished training, 3.0 MB"
