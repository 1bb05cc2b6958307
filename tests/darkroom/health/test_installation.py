"""Checks of Python, packages, commands and environment variables."""

import sys
import tomllib
from pathlib import Path

import pytest
from findings_of import line
from packaging.requirements import Requirement

from darkroom.health import findings, installation

ROOT = Path(__file__).resolve().parents[3]


def test_python() -> None:
    assert line(installation.check_python(), "python").startswith(f"ok python 3.{sys.version_info.minor}.")
    assert line(installation.check_python((3, 14, 1)), "python").startswith(
        "fail python is 3.14.1, but must be 3.11 to 3.13; run: python3.12"
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
        line(installation.check_commands(tmp_path), "commands")
        == "ok commands python and dvc on PATH belong to this installation"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    assert line(installation.check_commands(tmp_path), "commands") == f"warn commands python is not on PATH{activate}"
    program(tmp_path / "python", "echo /other")
    assert line(installation.check_commands(tmp_path), "commands") == f"warn commands dvc is not on PATH{activate}"
    program(tmp_path / "dvc", "true")
    assert line(installation.check_commands(tmp_path), "commands").startswith(
        f"warn commands stages run with {tmp_path}/python, "
    )
    program(tmp_path / "python", f"echo {tmp_path}/.venv")
    assert line(installation.check_commands(tmp_path), "commands").endswith(
        "is not the one that stages run with; run: ./darkroom doctor"
    )
    (tmp_path / "python").unlink()
    monkeypatch.setenv("PATH", f"{tmp_path}:{scripts}")
    assert line(installation.check_commands(tmp_path), "commands").startswith(
        f"warn commands dvc is {tmp_path}/dvc, which does not belong to this"
    )


def test_environment() -> None:
    name = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
    assert line(installation.check_environment({}), "environment") == f"ok environment {name} is not set"
    found = line(installation.check_environment({name: "1"}), "environment")
    assert found == f"fail environment {name} is set: loading a checkpoint may run code; run: unset {name}"
