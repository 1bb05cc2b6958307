"""./darkroom itself: the list of commands, how one is found, --help and mistakes, which run nothing."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from darkroom.base.command import Parser
from darkroom.base.errors import InputError
from darkroom.base.paths import PRESETS
from darkroom.base.yaml_file import read_yaml
from darkroom.cli import COMMANDS, REFUSED_BY_DVC
from darkroom.experiments.presets import preset_names

ROOT = Path(__file__).resolve().parents[3]
STAGES = list(read_yaml(ROOT / "dvc.yaml")["stages"])
HEAVY = {"numpy", "torch", "dvc", "pyarrow", "pydantic", "ruamel", "PIL"}


def run(*arguments: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", str(ROOT / "darkroom"), *arguments]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    lines = done.stderr.splitlines(keepends=True)
    imports = [line for line in lines if line.startswith("import time:")]
    packages = {line.rpartition("|")[2].strip().split(".")[0] for line in imports}
    assert "darkroom" in packages
    assert not packages & HEAVY
    done.stderr = "".join(line for line in lines if line not in imports)
    return done


def test_the_list_names_every_command_with_its_line(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run("-h").stdout == run().stdout
    listed = dict(re.findall(r"^  (\w+) +(\S.*)$", done.stdout, re.MULTILINE))
    assert listed == COMMANDS
    found = (ROOT / "src/darkroom/cli").iterdir()
    assert {path.stem for path in found} - {"__init__", "__pycache__"} == set(COMMANDS)


def test_the_list_comes_at_once() -> None:
    """Measured: 0.15 s; the fastest of three, since other tests may run beside this one."""
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        subprocess.run([sys.executable, "darkroom", "--help"], cwd=ROOT, capture_output=True, check=True)
        seconds.append(time.monotonic() - start)
    assert min(seconds) < 2


def check_help(text: str, call: str) -> None:
    assert text.startswith(f"usage: {call} ")
    assert "--help" in text
    examples = re.search(r"\nexamples:\n((?:  .*\n)+)\nexit status:\n  0 ", text)
    assert examples, text
    assert "\n  2 " in text
    assert "\n  128+n " in text
    for names in re.findall(r"\./darkroom preset ([^)\n]+)\)", examples[1]):
        assert set(names.split()) <= set(preset_names(PRESETS))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_runs_nothing(name: str, tmp_path: Path) -> None:
    done = run(name, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    check_help(done.stdout, f"./darkroom {name}")
    assert " ".join(COMMANDS[name].split()) in " ".join(done.stdout.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_flag_is_one_line_and_runs_nothing(name: str, tmp_path: Path) -> None:
    done = run(name, "--hepl", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: --hepl: unknown flag; did you mean '--help'?\n"
    assert done.stdout == (f"{REFUSED_BY_DVC}\n" if name == "preset" else "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predit"], "predit: unknown command; did you mean './darkroom predict'?"),
        (["prset", "cifar10"], "prset: unknown command; did you mean './darkroom preset'?"),
        (["x"], f"x: unknown command; there are {', '.join(COMMANDS)}"),
        ([""], f"'': unknown command; there are {', '.join(COMMANDS)}"),
        (["--hepl"], "--hepl: unknown flag; did you mean '--help'?"),
    ],
)
def test_an_unknown_command_is_one_line(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (2, f"error: {message}\n")
    # In `dvc exp run $(./darkroom prset cifar10)` it must not be nothing.
    assert done.stdout == f"{REFUSED_BY_DVC}\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("compare", "REV: is missing; './darkroom compare HEAD' compares HEAD with the workspace"),
        ("repeat", "--seeds --folds: one of them is needed; './darkroom repeat --help' shows the arguments"),
        ("repeat --seeds two", "--seeds: is 'two', but should be a whole number; './darkroom repeat --help' shows the arguments"),
        ("export --allow-loss x", "--allow-loss: is 'x', but should be a number; './darkroom export --help' shows the arguments"),
        ("find model --minutes x", "--minutes: is 'x', but should be a number; './darkroom find --help' shows the arguments"),
        ("repeat --seeds 0", "--seeds, --folds, --jobs: must be 1 or more; raise them"),
        ("repeat --seeds 2 --folds 3", "--folds: cannot be given together with --seeds; './darkroom repeat --help' shows"),
        (
            "find sped",
            "WHAT: is 'sped', but should be one of 'lr', 'batch_size', 'model', 'speed'; './darkroom find --help' shows the arguments",
        ),
        ("find lr lr", "lr: unexpected argument; './darkroom find --help' shows the arguments"),
        ("tune --job 2", "--job: unknown flag; did you mean '--jobs'?"),
        ("predict a.jpg --ot=b.csv", "--ot: unknown flag; did you mean '--out'?"),
        ("predict --out", "--out: needs one argument; './darkroom predict --help' shows the arguments"),
        ("download", "--checksum: is missing; run './darkroom download --checksum ARCHIVE', or 'dvc repro download'"),
        ("doctor all", "all: unexpected argument; './darkroom doctor --help' shows the arguments"),
    ],
)
def test_mistakes_in_arguments(command: str, message: str) -> None:
    name, *arguments = command.split()
    with pytest.raises(InputError) as error:
        importlib.import_module(f"darkroom.cli.{name}").main(arguments)
    assert str(error.value).startswith(message)


def test_what_is_no_flag() -> None:
    parser = Parser("./darkroom x", "Nothing.")
    parser.add_argument("-S", dest="settings", action="append")
    parser.add_argument("words", nargs="*")
    found = parser.parse(["-Sa=1", "-S", "b=-2", "-3", "-my photo.jpg", "--", "--out"])
    assert (found.settings, found.words) == (["a=1", "b=-2"], ["-3", "-my photo.jpg", "--out"])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The code, also as Python has compiled it, and the parameters, without Git, data or results."""
    shutil.copytree(ROOT / "src", tmp_path / "src")
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    for name in ("params.yaml", "dvc.yaml", "darkroom"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def found_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.sample(2)
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_takes_no_argument_but_help(stage: str, checkout: Path) -> None:
    before = found_in(checkout)
    script = [sys.executable, "-X", "importtime", f"src/{stage}.py"]
    done = subprocess.run([*script, "--help"], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0
    check_help(done.stdout, f"python src/{stage}.py")
    assert f"dvc repro {stage}" in done.stdout
    assert not re.search(r"\| +(torch|pytorch_lightning)$", done.stderr, re.MULTILINE)
    for argument, message in (("--out=x.csv", "--out: unknown flag; "), ("x.jpg", "x.jpg: unexpected argument; ")):
        done = subprocess.run([sys.executable, f"src/{stage}.py", argument], cwd=checkout, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"error: {message}'python src/{stage}.py --help' shows the arguments\n"
    assert found_in(checkout) == before


def test_without_packages_a_command_says_what_is_missing(checkout: Path) -> None:
    for arguments in (["verify"], ["preset", "cifar10"], ["predict"]):
        command = [sys.executable, "-S", "darkroom", *arguments]
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
        assert done.returncode == 1, done
        # Which is missed first differs.
        told = r"error: (pydantic|ruamel): is not installed; '\./darkroom doctor' shows how to install it\n"
        assert re.fullmatch(told, done.stderr)
        assert done.stdout == (f"{REFUSED_BY_DVC}\n" if arguments[0] == "preset" else "")


@pytest.mark.parametrize("variables", [{}, {"VIRTUAL_ENV": "/other"}, {"CONDA_PREFIX": "/other"}])
def test_the_checkout_s_environment_is_used_where_no_other_is_active(checkout: Path, variables: dict[str, str]) -> None:
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "CONDA_PREFIX")} | variables
    base = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
    command = [str(base), str(checkout / "darkroom"), "find", "--help"]
    out = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, check=True).stdout
    if variables:
        assert out.startswith("usage: ./darkroom find ")
    else:
        assert out == f"{checkout}/darkroom find --help\n"
    # An environment that is already in use, or cannot be started, is left alone.
    python.write_text("no program")
    python.chmod(0o755)
    out = subprocess.run(command, cwd="/", env=env, capture_output=True, text=True, check=True).stdout
    assert out.startswith("usage: ./darkroom find ")


def test_it_runs_the_code_beside_it_from_anywhere(checkout: Path) -> None:
    path = checkout / "src" / "darkroom" / "cli" / "__init__.py"
    path.write_text(path.read_text(encoding="utf-8").replace("Check the installation", "Look at the installation"))
    for command in ([str(checkout / "darkroom")], [sys.executable, str(checkout / "darkroom")]):
        env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}
        out = subprocess.run([*command, "--help"], cwd="/", env=env, capture_output=True, text=True, check=True).stdout
        assert "Look at the installation" in out
