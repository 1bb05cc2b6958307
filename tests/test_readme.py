"""What the README shows is true: its table, its tree, its commands."""

import importlib.util
import itertools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from darkroom.params_file import load_params, read_yaml

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
COMMANDS = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line and not line.startswith("#")]


def test_the_table_of_parameters_is_the_code_s() -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from parameters_table import renewed
    finally:
        sys.path.remove(str(ROOT / "tools"))
    assert renewed(README) == README, "run: make generated"


def test_every_path_of_the_tree_exists() -> None:
    tree = re.search(r"## What is where\n\n```\n(.*?)```", README, re.DOTALL)
    assert tree
    names = [name for line in tree[1].splitlines() for name in re.split(r" {4,}", line)[0].split()]
    assert len(names) > 10
    missing = [name for name in names if not (ROOT / name).exists()]
    assert missing == []


def test_every_script_and_link_exists() -> None:
    scripts = set(re.findall(r"python (\S+\.py)", README))
    links = {link for link in re.findall(r"\]\((?!http)([^)#]+)\)", README)}
    scripts |= {"darkroom"} & set(re.findall(r"\./(darkroom)", README))
    assert "darkroom" in scripts
    assert [name for name in scripts | links if not (ROOT / name).exists()] == []


def test_make_targets_exist() -> None:
    targets = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {"repro"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_presets_and_parameters_that_are_shown_exist() -> None:
    for names in re.findall(r"\$\(\./darkroom preset ([^)]*)\)", README):
        assert all((ROOT / "conf" / f"{name}.yaml").exists() for name in names.split())
    content = read_yaml(ROOT / "params.yaml")
    shown = re.findall(r"-S '?~?(\w[\w.]*)=", README)
    assert "train.lr" in shown
    for key in shown:
        place = content
        for part in key.split("."):
            assert part in place, key
            place = place[part]


@pytest.mark.parametrize("command", sorted({command for command in COMMANDS if command.startswith("./darkroom preset")}))
def test_cheap_commands_run(command: str) -> None:
    line = command.replace("./darkroom", f"{sys.executable} darkroom", 1)
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cifar10" in done.stdout


def shown_lines() -> list[str]:
    spec = importlib.util.spec_from_file_location("run_lines", ROOT / "tools" / "run_lines.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lines: list[str] = module.shown_lines((ROOT / "docs" / "training.md").read_text(encoding="utf-8"))
    return lines


@pytest.mark.parametrize("line", shown_lines())
def test_experiments_that_are_shown_have_valid_params(line: str, tmp_path: Path) -> None:
    words = shlex.split(line)
    overrides = [value for word, value in itertools.pairwise(words) if word == "-S"]
    assert overrides
    shutil.copy(ROOT / "params.yaml", tmp_path)
    apply_overrides(tmp_path / "params.yaml", overrides)
    load_params(tmp_path / "params.yaml")
