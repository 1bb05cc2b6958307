"""The stage download, and ./darkroom download --checksum: what they print, write and leave alone."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "dvc.yaml", "darkroom"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "data").mkdir()
    shutil.copy(ROOT / "data" / "corrections.csv", tmp_path / "data")
    return tmp_path


def run(checkout: Path, *command: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-X", "importtime", *(command or ["src/download.py"]))
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def said(result: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in result.stderr.splitlines() if not line.startswith("import time:")]


def set_params(checkout: Path, **changes: str) -> None:
    path = checkout / "params.yaml"
    lines = path.read_text().splitlines()
    for key, value in changes.items():
        (row,) = [row for row, line in enumerate(lines) if line.startswith(f"  {key}: ")]
        lines[row] = f"  {key}: {value}"
    path.write_text("\n".join(lines))


def test_digits_then_a_mistake_then_an_archive(checkout: Path) -> None:
    result = run(checkout)
    assert (result.returncode, said(result)) == (0, [])
    assert result.stdout == "download: 1797 images of 10 classes (1797 train), 0.2 MB -> data/raw\n"
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in result.stderr.splitlines()}
    assert not {"torch", "torchvision", "sklearn", "requests", "rich"} & imported
    before = {path.name: path.read_bytes() for path in (checkout / "data" / "raw").iterdir()}
    assert json.loads(before["dataset.json"])["name"].startswith("Optical recognition")

    (checkout / "set.zip").write_bytes(b"no archive")
    set_params(checkout, source="archive", archive="set.zip")
    result = run(checkout)
    assert (result.returncode, result.stdout) == (2, "")
    assert len(said(result)) == 1
    assert said(result)[0].startswith("error: params.yaml: download.sha256: is null, so the archive cannot be verified")

    digest = hashlib.sha256(b"no archive").hexdigest()
    result = run(checkout, "darkroom", "download", "--checksum")
    assert (result.returncode, said(result)) == (0, [])
    assert result.stdout.splitlines()[0] == f"{digest}  set.zip"
    assert f"-S download.sha256={digest}" in result.stdout
    named = run(checkout, "darkroom", "download", "--checksum", "set.zip")
    assert (named.returncode, named.stdout.splitlines()[0]) == (0, f"{digest}  set.zip")
    assert f"-S download.archive={checkout / 'set.zip'} -S download.sha256={digest}" in named.stdout

    set_params(checkout, sha256=f'"{digest}"')
    result = run(checkout)
    assert result.returncode == 2
    assert said(result)[0].startswith("error: set.zip: is not a .zip or .tar.* archive, or is damaged (")
    assert {path.name: path.read_bytes() for path in (checkout / "data" / "raw").iterdir()} == before
    assert sorted(path.name for path in (checkout / "data").iterdir()) == ["corrections.csv", "download.json", "raw"]
