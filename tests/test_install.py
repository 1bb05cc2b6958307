"""tools/install.py sets up an environment: kind of PyTorch, installer, interruptions. The indexes are local, the wheels tiny."""

import ast
import base64
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "tools" / "install.py"
PINS = (
    "torch==2.15.0",
    "torchvision==0.29.2",
    "nvidia-made==1.0 ; sys_platform == 'linux'",
    "nvidia-ml-py==13.0",
    "triton==3.9.0",
)
NMS = "def nms(boxes, scores, threshold): pass\n"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


INSTALL = load()


def write_wheel(folder: Path, name: str, version: str, files: dict[str, str], requires: tuple[str, ...] = ()) -> None:
    """Write a wheel into an index in the layout of PEP 503."""
    package = name.replace("-", "_")
    information = f"{package}-{version}.dist-info"
    metadata = "".join(f"Requires-Dist: {line}\n" for line in requires)
    members = files | {
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for path, text in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text.encode())}\n")
    (folder / name).mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name / f"{package}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in members.items():
            wheel.writestr(path, text)
        wheel.writestr(f"{information}/RECORD", "".join(rows) + f"{information}/RECORD,,\n")


def torch_files(nms: str = NMS) -> tuple[dict[str, str], dict[str, str]]:
    torch = {"torch/__init__.py": "def zeros(*shape): pass\n"}
    return torch, {"torchvision/__init__.py": "from torchvision import ops\n", "torchvision/ops.py": nms}


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve /pypi, where torch needs NVIDIA's wheels, and /cpu, where it does not; yield the address of both."""
    root = tmp_path_factory.mktemp("indexes")
    torch, torchvision = torch_files()
    for folder, local, requires in (("pypi", "", ("nvidia-made", "triton")), ("cpu", "+cpu", ())):
        write_wheel(root / folder, "torch", f"2.15.0{local}", torch, requires)
        write_wheel(root / folder, "torchvision", f"0.29.2{local}", torchvision, ("torch==2.15.0",))
    for name, version in (("nvidia-made", "1.0"), ("nvidia-ml-py", "13.0"), ("triton", "3.9.0")):
        write_wheel(root / "pypi", name, version, {f"{name.replace('-', '_')}.py": "content = 'whole'\n"})
    uv, version = (
        shutil.which("uv"),
        next(pin for pin in INSTALL.read_pins(ROOT / "requirements-dev.txt") if pin.startswith("uv==")),
    )
    version = version.removeprefix("uv==")
    write_wheel(root / "fast", "uv", version, {f"uv-{version}.data/scripts/uv": f'#!/bin/sh\nexec {uv} "$@"\n'})

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(root))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an environment once, in a folder that has a file: the tests copy it."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work", encoding="utf-8")
    assert INSTALL.Environment(folder).create()
    return folder


@pytest.fixture
def run(request: pytest.FixtureRequest, indexes: str, empty: Path, tmp_path: Path) -> Run:
    """Return a function that runs the script with one installer on the PATH, with the local indexes alone."""
    commands = tmp_path / "commands"
    commands.mkdir()
    if request.param == "uv":
        uv = shutil.which("uv")
        assert uv, "uv is among the development requirements"
        (commands / "uv").symlink_to(uv)
    shutil.copytree(empty, tmp_path / "venv", symlinks=True)
    (tmp_path / "requirements.txt").write_text("# pinned\n" + "\n".join(PINS) + "\n", encoding="utf-8")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_", "VIRTUAL_ENV"))}
    environment = kept | {
        "PATH": str(commands),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{indexes}/pypi",
        "PIP_NO_CACHE_DIR": "1",
        "UV_NO_CONFIG": "1",
        "UV_DEFAULT_INDEX": f"{indexes}/pypi",
        "UV_CACHE_DIR": str(tmp_path / "cache"),
    }

    def call(*arguments: str, index: str = f"{indexes}/cpu") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), str(tmp_path / "requirements.txt"), "--venv", str(tmp_path / "venv")]
        done = subprocess.run(
            [*command, "--cpu-index", index, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert f"with {request.param}." in done.stdout
        return done

    return call


def installed(venv: Path) -> set[str]:
    folders = venv.glob("lib/python*/site-packages/*.dist-info")
    return {folder.name.removesuffix(".dist-info") for folder in folders} - {
        folder.name.removesuffix(".dist-info")
        for pattern in ("pip-*", "setuptools-*")
        for folder in venv.glob(f"lib/*/*/{pattern}")
    }


CPU = {"torch-2.15.0+cpu", "torchvision-0.29.2+cpu", "nvidia_ml_py-13.0"}
CUDA = {"torch-2.15.0", "torchvision-0.29.2", "nvidia_ml_py-13.0", "nvidia_made-1.0", "triton-3.9.0"}


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere PyPI has one kind of wheel")
@pytest.mark.parametrize("run", ["uv", pytest.param("pip", marks=pytest.mark.thorough)], indirect=True)
def test_either_kind_can_be_asked_for_at_any_time(run: Run, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    first = run("--cpu")
    assert first.returncode == 0, first.stderr
    assert installed(venv) == CPU
    assert "PyTorch for the CPU: as asked for" in first.stdout
    assert "A new environment takes about 1.5 GB" in first.stdout
    kept = run()
    assert kept.returncode == 0, kept.stderr
    assert "torch 2.15.0+cpu is installed already" in kept.stdout
    assert installed(venv) == CPU
    assert run("--cuda").returncode == 0
    assert installed(venv) == CUDA
    # Offline, CPU wheels that are there need no index.
    assert run("--cpu").returncode == 0
    assert installed(venv) == CPU
    assert "note" not in run("--cpu", index="http://127.0.0.1:9").stdout


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere PyPI has one kind of wheel")
@pytest.mark.parametrize("run", ["pip", pytest.param("uv", marks=pytest.mark.thorough)], indirect=True)
def test_without_the_index_of_cpu_wheels_the_pinned_ones_are_installed(run: Run, tmp_path: Path) -> None:
    done = run("--cpu", index="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert installed(tmp_path / "venv") == CUDA
    notes = [line for line in done.stdout.splitlines() if line.startswith("note")]
    assert len(notes) == 1
    assert "http://127.0.0.1:9: out of reach" in notes[0]
    assert "the wheels with CUDA are installed instead (6.1 GB" in notes[0]


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Windows has another layout")
@pytest.mark.parametrize("run", ["uv", pytest.param("pip", marks=pytest.mark.thorough)], indirect=True)
def test_an_interrupted_installation_continues(run: Run, tmp_path: Path) -> None:
    assert run("--cuda").returncode == 0
    site = next((tmp_path / "venv").glob("lib/*/site-packages"))
    for name in ("triton", "nvidia_made"):
        (site / f"{name}.py").unlink()  # uv links it to its cache: what is written there changes the cache too
    (site / "triton.py").write_text("content = ", encoding="utf-8")
    (site / "nvidia_ml_py-13.0.dist-info" / "RECORD").unlink()
    shutil.rmtree(site / "pip")
    done = run()
    assert done.returncode == 0, done.stderr
    noted = {line.split()[1].partition("-")[0] for line in done.stdout.splitlines() if line.endswith("it is installed again")}
    assert noted == {"nvidia_made", "nvidia_ml_py", "triton", "pip"}
    assert installed(tmp_path / "venv") == CUDA
    for name in ("triton", "nvidia_made"):
        assert (site / f"{name}.py").read_text(encoding="utf-8") == "content = 'whole'\n"


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Windows has another layout")
def test_uv_is_fetched_and_uses_the_indexes_of_pip(
    indexes: str, empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(empty, tmp_path / "venv", symlinks=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_", "VIRTUAL_ENV"))}
    own = {
        "PATH": "/bin",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{indexes}/pypi",
        "PIP_EXTRA_INDEX_URL": f"{indexes}/fast",
    }
    monkeypatch.setattr(os, "environ", kept | own | {"UV_NO_CONFIG": "1", "UV_CACHE_DIR": str(tmp_path / "cache")})
    environment = INSTALL.Environment(tmp_path / "venv")
    environment.fetch_uv()
    assert next(iter(environment.installers)) == "uv"
    del environment.installers["pip"]
    assert environment.install("triton==3.9.0")
    assert environment.version("triton") == "3.9.0"


def test_indexes_of_pip_are_told_to_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    listed = (
        ":env:.index-url='https://own/simple'\n:env:.timeout='9'\nglobal.cert='/etc/own.pem'\n"
        "global.extra-index-url='https://a https://b'\nglobal.index-url='https://other/simple'\ninstall.find-links='/wheels'\n"
    )
    told = "--index-strategy unsafe-best-match --default-index https://own/simple --index https://a --index https://b --find-links /wheels"
    assert INSTALL.indexes_of_pip(listed) == told.split()
    assert os.environ["SSL_CERT_FILE"] == "/etc/own.pem"


@pytest.mark.thorough
def test_an_environment_whose_python_is_gone_is_replaced(empty: Path, tmp_path: Path) -> None:
    shutil.copytree(empty, tmp_path / "venv", symlinks=True)
    environment = INSTALL.Environment(tmp_path / "venv")
    python = Path(environment.python)
    python.unlink()
    python.symlink_to(tmp_path / "gone")
    assert environment.create()
    assert INSTALL.works(environment.python, "-c", "import pip")


def test_a_folder_that_is_no_environment_is_not_emptied(empty: Path) -> None:
    assert (empty / "thesis.txt").read_text(encoding="utf-8") == "years of work"
    assert INSTALL.works(str(empty / "bin" / "python"), "-c", "import pip")


def test_torch_and_torchvision_that_do_not_match_are_one_line(tmp_path: Path) -> None:
    torch, torchvision = torch_files("def nms(*_): raise RuntimeError('operator torchvision::nms does not exist')\n")
    for path, text in (torch | torchvision).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    environment = INSTALL.Environment(tmp_path / "venv")
    environment.python = sys.executable
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {INSTALL.CHECK}"
    assert environment.problem(code) == "RuntimeError: operator torchvision::nms does not exist"
    exec(INSTALL.CHECK, {})  # those that are installed do match


def test_what_cannot_be_installed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(INSTALL.Environment, "create", lambda _: True)
    monkeypatch.setattr(INSTALL.Environment, "fetch_uv", lambda _: None)
    monkeypatch.setattr(INSTALL, "install", lambda *_: False)
    monkeypatch.setattr(sys, "argv", ["install.py", "requirements.txt", "--venv", str(tmp_path / "venv"), "--cpu"])
    assert INSTALL.main() == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere PyPI has one kind of wheel")
@pytest.mark.parametrize(
    ("asked", "torch", "driver", "kind"),
    [
        (None, None, True, "cuda"),
        (None, None, False, "cpu"),
        (None, "2.15.0", False, "cuda"),
        (None, "2.15.0+cpu", True, "cpu"),
        ("cuda", "2.15.0+cpu", False, "cuda"),
        ("cpu", "2.15.0", True, "cpu"),
    ],
)
def test_what_is_asked_for_wins_then_what_is_there_then_the_driver(
    asked: str | None, torch: str | None, driver: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(INSTALL, "has_nvidia_driver", lambda: driver)
    assert INSTALL.choose(asked, torch)[0] == kind


@pytest.mark.parametrize("status", [0, 9])
def test_nvidia_smi_counts_only_where_it_works(status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\nexit {status}\n", encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert INSTALL.has_nvidia_driver() == (status == 0)


def test_an_index_says_what_it_has(indexes: str) -> None:
    assert INSTALL.missing(f"{indexes}/cpu", "torch", "2.15.0+cpu") == ""
    assert INSTALL.missing(f"{indexes}/cpu/", "torch", "2.16.0+cpu") == "has no torch 2.16.0+cpu"
    assert INSTALL.missing(f"{indexes}/nothing", "torch", "2.15.0+cpu") == "status 404 for torch"


def test_an_old_python_is_refused_by_a_file_that_it_can_read() -> None:
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 8))
    assert [minor for minor in range(8, 17) if INSTALL.suitable((3, minor))] == [11, 12, 13]


def test_the_pins_name_both_packages_of_pytorch() -> None:
    pins = INSTALL.read_pins(ROOT / "requirements.txt")
    dropped = [pin.partition("==")[0] for pin in pins if INSTALL.CUDA_ONLY.match(pin)]
    assert {"triton", "nvidia-cublas", "cuda-toolkit"} <= set(dropped)
    assert "nvidia-ml-py" not in dropped
    assert {"torch", "torchvision"} <= {pin.partition("==")[0] for pin in pins}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ((), None),
        (("CPU=1",), "--cpu"),
        (("CUDA=1",), "--cuda"),
        (("CPU=0", "CUDA=no"), None),
        (("CPU=1", "CUDA=1"), "--cuda --cpu"),
    ],
)
def test_make_installs_once_but_whenever_a_kind_is_named(
    variables: tuple[str, ...], expected: str | None, tmp_path: Path
) -> None:
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["make", "--dry-run", "setup", *variables]
    environment = {"PATH": os.environ["PATH"]}

    def planned() -> str:
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    assert "tools/install.py --venv .venv" in planned()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "run.stamp").touch()
    assert ("tools/install.py" in planned()) == (expected is not None)
    if expected:
        assert expected in planned()
