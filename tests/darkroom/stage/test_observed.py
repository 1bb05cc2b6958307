"""A stage records only what it declares: each test is a stage of a small repository, run as people run it."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.stage.declared import Declared
from darkroom.stage.observed import HashingLoader, Observation, asked_by_git

SRC = Path(__file__).resolve().parents[3] / "src"
SCRIPT = '''"""A stage."""

from darkroom.stage.observed import observe

observe(__name__)

from darkroom.base import paths
from darkroom.base.command import run_command
from darkroom.stage.runner import running


def main():
    with running("split") as stage, stage.replaced(paths.SPLIT) as (directory,):
        from plugins import mine

        mine.run()
        (directory / "after").write_text("after")


if __name__ == "__main__":
    run_command(main)
'''
DVC = """stages:
  split:
    cmd: python src/split.py
    deps: [src/split.py, src/darkroom/base, src/darkroom/stage, src/plugins, data/raw, '${split.folder}']
    params: [split]
    outs: [data/split]
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    for name in ("base", "stage"):
        shutil.copytree(SRC / "darkroom" / name, root / "src" / "darkroom" / name, ignore=shutil.ignore_patterns("__pycache__"))
    files = {
        "src/darkroom/__init__.py": "",
        "src/plugins/__init__.py": "",
        "src/plugins/table.json": "{}",
        "src/split.py": SCRIPT,
        "src/helpers.py": "SCALE = 1.0\n",
        "src/mylib/__init__.py": "",
        "src/mylib/part.py": "",
        "other/a.json": "{}",
        "../outside/a.json": "{}",
        "data/raw/images.npy": "pixels",
        "data/photos/a.png": "pixels",
        "data/split/before": "before",
        "dvc.yaml": DVC,
        "params.yaml": "split: {folder: data/photos, table: null, sha256: null}\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def run(repository: Path) -> Run:
    """Run the stage with what a plug-in does: the body of a function, after its imports."""

    def run(body: str, head: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        (repository / "src" / "plugins" / "mine.py").write_text(f"{head}\n\ndef run():\n{lines}")
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | env
        return subprocess.run([sys.executable, "src/split.py"], cwd=repository, env=environment, capture_output=True, text=True)

    return run


def left(repository: Path) -> list[str]:
    return [path.name for path in (repository / "data" / "split").iterdir()]


WORKER = (
    "import multiprocessing\nprocess = multiprocessing.get_context('{}').Process(target=read)\nprocess.start()\nprocess.join()"
)
READ = "def read():\n    open('other/a.json').read()\n"


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("body", "head", "named", "added"),
    [
        ("pass", "import helpers", "src/helpers.py", "src/helpers.py"),
        ("import mylib.part", "", "src/mylib/__init__.py", "src/mylib"),
        ("open('other/a.json').read()", "", "other/a.json", "other/a.json"),
        ("import os\nos.chdir('other')\nopen('a.json').close()", "", "other/a.json", "other/a.json"),
        ("import sys, os\nsys.audit('open', 'other/a.json', 'rb', os.O_RDONLY)", "", "other/a.json", "other/a.json"),
        (WORKER.format("fork"), READ, "other/a.json", "other/a.json"),
        (WORKER.format("spawn"), READ, "other/a.json", "other/a.json"),
    ],
    ids=["helper", "package", "file", "file of another folder", "a reader in C that says so", "worker", "worker that is spawned"],
)
def test_what_is_not_declared_is_named_and_nothing_is_recorded(
    run: Run, repository: Path, body: str, head: str, named: str, added: str
) -> None:
    done = run(body, head)
    assert f"error: {named}: split reads it, but does not depend on it" in done.stderr
    assert f"add '- {added}' to stages.split.deps in dvc.yaml" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.returncode == 2
    assert left(repository) == ["before"]


def test_what_is_declared_made_or_the_environment_may_be_read(run: Run, repository: Path) -> None:
    (repository / "dvc.yaml").write_text(DVC.replace("data/raw,", "data/raw, src/helpers.py, src/mylib, other/a.json,"))
    (repository / "data" / "raw" / "link").symlink_to(repository.parent / "outside" / "a.json")
    body = """
import helpers, json, mylib.part, sqlite3
for name in ("other/a.json", "data/raw/link", "data/photos/a.png", "src/plugins/table.json", "params.yaml", "/etc/hosts"):
    open(name).close()
open("scratch.txt", "w").close()
open("scratch.txt").close()
"""
    done = run(body)
    assert (done.returncode, done.stderr) == (0, "")
    assert left(repository) == ["after"]


def test_a_file_whose_changes_dvc_ignores_is_no_source(run: Run, repository: Path) -> None:
    """Also in a folder that the stage depends on."""
    (repository / "src" / "plugins" / "table.json~").write_text("{}")
    done = run("open('src/plugins/table.json~').close()")
    assert done.stderr == "error: src/plugins/table.json~: split reads it, but DVC ignores files of this name; rename it\n"
    assert left(repository) == ["before"]


def test_temporary_files_may_lie_in_the_repository(run: Run, repository: Path) -> None:
    """Where a machine has no other place for them; elsewhere in it they are files like others."""
    (repository / "scratch").mkdir()
    (repository / "scratch" / "kept").write_text("x")
    read = "open('scratch/kept').close()"
    assert "error: scratch/kept: split reads it, but does not depend on it" in run(read).stderr
    done = run(read, TMPDIR=str(repository / "scratch"))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_state_of_the_repository_is_no_use_of_its_files(run: Run, repository: Path) -> None:
    """DVCLive asks for it, and the library that answers reads every file that has changed since the last commit."""
    for words in ("init -q", "add other", "-c user.name=T -c user.email=t@localhost commit -qm first"):
        subprocess.run(["git", *words.split()], cwd=repository, check=True)
    (repository / "other" / "a.json").write_text('{"b": 1}')
    done = run("from scmrepo.git import Git\nassert list(Git('.').untracked_files())\nGit('.').close()")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_link_to_a_folder_is_not_followed_unseen(run: Run, repository: Path) -> None:
    """DVC hashes the folder that a dependency leads to, and what links to files lead to, but nothing behind a link inside."""
    (repository / "data" / "raw" / "more").symlink_to(repository / "other")
    done = run("open('data/raw/more/a.json').close()")
    assert "error: data/raw/more/a.json: split reads it (through a link, other/a.json)" in done.stderr
    (repository / "data" / "raw" / "more").unlink()
    (repository / "data" / "raw" / "more").symlink_to(repository.parent / "outside")
    assert "error: data/raw/more/a.json: split reads it (through a link" in run("open('data/raw/more/a.json').close()").stderr
    (repository / "data" / "elsewhere").symlink_to(repository.parent / "outside")
    (repository / "params.yaml").write_text("split: {folder: data/elsewhere}\n")
    assert run("open('data/elsewhere/a.json').close()").returncode == 0
    package = repository.parent / "package"
    package.mkdir()
    (package / "__init__.py").write_text("value = 1\n")
    (repository / "src" / "plugins" / "linked").symlink_to(package)
    assert "error: src/plugins/linked/__init__.py: split reads it" in run("import plugins.linked").stderr


def test_a_file_elsewhere_that_a_parameter_names_is_pinned_or_a_dependency(run: Run, repository: Path) -> None:
    outside = repository.parent / "outside" / "a.json"
    body = f"open({str(outside)!r}).close()"
    assert run(body).returncode == 0  # the system's, for all that is known
    for name in (str(outside), str(outside.parent), "../outside/a.json"):
        (repository / "params.yaml").write_text(f"split: {{folder: data/photos, table: {name}, sha256: null}}\n")
        assert f"error: {outside}: split reads it" in run(body).stderr
    (repository / "params.yaml").write_text("split: {folder: data/photos, table: other}\n")
    assert "add '- other' to stages.split.deps" in run("open('other/a.json').close()").stderr  # a model's folder, as a whole
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    (repository / "params.yaml").write_text(f"split: {{folder: data/photos, table: {outside}, sha256: {digest}}}\n")
    assert run(body).returncode == 0
    (repository / "params.yaml").write_text(f"split: {{folder: {outside.parent}, table: {outside}, sha256: null}}\n")
    assert run(body).returncode == 0


@pytest.mark.parametrize("preloaded", [False, True])
def test_nothing_shadows_the_plugins(run: Run, repository: Path, tmp_path: Path, preloaded: bool) -> None:
    foreign = tmp_path / "site" / "plugins"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").touch()
    (foreign / "mine.py").write_text("def run(): print('foreign')\n")
    if preloaded:
        (tmp_path / "site" / "sitecustomize.py").write_text("import plugins.mine\n")
    shutil.rmtree(repository / "src" / "plugins" / "__pycache__", ignore_errors=True)
    (repository / "src" / "plugins" / "__init__.py").unlink()  # an older checkout
    assert run("print('own')", PYTHONPATH=str(tmp_path / "site")).stdout == "own\n"


@pytest.mark.parametrize("edited", ["src/split.py", "src/darkroom/base/paths.py", "src/darkroom/stage/observed.py"])
def test_code_edited_while_the_stage_imports_is_noticed(run: Run, repository: Path, tmp_path: Path, edited: str) -> None:
    """Whatever a module was when it ran, it is not what stands there when the stage hashes it."""
    hook = (
        "import sys\n"
        "def edit(event, arguments):\n"
        "    if event == 'import' and arguments[0] == 'pydantic':\n"
        f"        open({str(repository / edited)!r}, 'a').write('# edited\\n')\n"
        "sys.addaudithook(edit)\n"
    )
    (tmp_path / "sitecustomize.py").write_text(hook)
    done = run("pass", PYTHONPATH=str(tmp_path))
    assert f"error: {edited}: changed while split ran" in done.stderr
    assert left(repository) == ["before"]


def test_bytecode_of_another_source_never_runs(run: Run, repository: Path) -> None:
    """It has the size and the time of what stands there, as after `cp -p` or from an archive with fixed times."""
    plugin = repository / "src" / "plugins" / "value.py"
    for number in (1, 2):
        plugin.write_text(f"print({number})\n")
        os.utime(plugin, (1, 1))
        # As by any other Python: valid for a time and a size.
        if number == 1:
            subprocess.run([sys.executable, "-m", "py_compile", str(plugin)], check=True)
        assert run("import plugins.value", PYTHONDONTWRITEBYTECODE="").stdout == f"{number}\n"


def test_code_that_was_not_read_may_change_and_what_was_may_not(run: Run, repository: Path) -> None:
    plugins = repository / "src" / "plugins"
    for name in ("used.py", "idle.py", "late.py"):
        (plugins / name).write_text("value = 1\n")
    may = (
        "for name in ('idle.py', 'new.py', 'table.json', '.used.py.swp'):\n    open(f'src/plugins/{name}', 'w').write('# other')"
    )
    assert run(may, "from plugins import used").returncode == 0
    (plugins / "table.json").write_text("{}")
    for edit in (
        "open('src/plugins/used.py', 'a').write('#')",
        "open('src/plugins/used.py', 'a').write('#'); from plugins import used",
        "open('src/plugins/table.json').read(); open('src/plugins/table.json', 'a').write(' ')",
        "import os; os.makedirs('src/plugins/used', exist_ok=True); open('src/plugins/used/__init__.py', 'w')",
        "import os; os.listdir('src/plugins'); open('src/plugins/found.json', 'w')",
    ):
        done = run(edit, "from plugins import used")
        assert "changed while split ran, so nothing was written" in done.stderr, edit
        shutil.rmtree(plugins / "used", ignore_errors=True)


def test_dvc_ignores_what_is_taken_for_left_behind() -> None:
    lines = (SRC.parent / ".dvcignore").read_text(encoding="utf-8").splitlines()
    assert set(paths.LEFT_BEHIND) <= set(lines)


def test_what_another_process_opens_is_reported_to_the_first(tmp_path: Path) -> None:
    first, other = (Observation(str(tmp_path), str(tmp_path / "report")) for _ in range(2))
    for name in ("before", "after", "made"):
        (tmp_path / name).write_text("")
    other._note(str(tmp_path / "before"))
    other.report_all()
    other._note(str(tmp_path / "after"))
    other._note(str(tmp_path / "made"), os.O_WRONLY | os.O_TRUNC)
    other._note(str(tmp_path / "made"))  # its own
    with other.paused():
        other._note(str(tmp_path / "hashed"))
    assert first.of_all_processes() == {str(tmp_path / "before"), str(tmp_path / "after")}
    first.forget_reports()
    assert first.of_all_processes() == set()


def test_what_is_no_path_is_no_file(tmp_path: Path) -> None:
    seen = Observation(str(tmp_path), str(tmp_path / "report"))
    for name in (3, object(), None):
        seen._note(name)
    assert seen.opened == set()


def test_git_s_libraries_are_known_by_their_place(tmp_path: Path) -> None:
    library, found = tmp_path / "site-packages" / "dulwich" / "index.py", {}
    exec(compile("found = asked()", str(library), "exec"), {"asked": asked_by_git}, found)
    assert found == {"found": True}
    assert not asked_by_git()


@pytest.mark.parametrize(
    ("path", "added"), [("src/mylib/deep/part.py", "src/mylib"), ("src/darkroom/room/deep/part.py", "src/darkroom/room")]
)
def test_of_a_package_within_a_package_the_outermost_is_to_be_added(path: str, added: str, root: Path) -> None:
    """But rooms of darkroom are dependencies one by one."""
    file = root / path
    file.parent.mkdir(parents=True)
    file.write_text("")
    for folder in file.relative_to(root / "src").parents[:-1]:
        (root / "src" / folder / "__init__.py").write_text("")
    with pytest.raises(InputError, match=rf"^{path}: split reads it, .*; add '- {added}' to stages\.split\.deps in dvc\.yaml$"):
        Declared("split").check([str(file)])


def test_bytecode_stands_for_its_source(root: Path) -> None:
    (root / "src" / "idle.py").write_text("")
    (root / "src" / "__pycache__").mkdir()
    declared = Declared("split")
    assert declared.undeclared(importlib.util.cache_from_source(str(root / "src" / "split.py"))) is None
    with pytest.raises(InputError, match=r"^src/idle\.py: split reads it"):
        declared.check([importlib.util.cache_from_source(str(root / "src" / "idle.py"))])
    odd = root / "src" / "__pycache__" / "weights.pyc"  # a name that Python gives to no bytecode
    odd.write_text("")
    with pytest.raises(InputError, match=r"weights\.pyc: split reads it, but DVC ignores files of this name; rename it$"):
        declared.check([str(odd)])


def test_a_file_that_is_only_written_to_is_not_read(tmp_path: Path) -> None:
    seen, path = Observation(str(tmp_path), str(tmp_path / "report")), str(tmp_path / "journal")
    seen._note(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    assert seen.opened == set()
    seen._note(path)  # with what stood there before
    assert seen.opened == {path}


def test_a_script_that_was_saved_while_python_read_it_does_not_run(tmp_path: Path) -> None:
    script = tmp_path / "split.py"
    script.write_text("value = 2\n")
    seen = Observation(str(tmp_path), str(tmp_path / "report"))
    cached = Path(importlib.util.cache_from_source(str(script)))
    cached.parent.mkdir()
    cached.write_text("of the earlier text")
    with pytest.raises(SystemExit, match=r"split\.py: changed while it started; run the same command again$"):
        seen.check_running(str(script), compile("value = 1\n", str(script), "exec"))
    assert not cached.exists(), "it would run the next time"
    assert seen.code == {}
    seen.check_running(str(script), compile("value = 2\n", str(script), "exec"))
    assert seen.code == {str(script): files.sha256(script)}


def test_bytecode_of_a_copied_checkout_names_the_files_of_the_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    for name in ("first", "copy"):
        if name == "first":
            (tmp_path / name).mkdir()
            (tmp_path / name / "module.py").write_text("value = 1\n")
        else:
            shutil.copytree(tmp_path / "first", tmp_path / name)
        path = str(tmp_path / name / "module.py")
        for _ in range(2):  # compiled, then read
            code = HashingLoader("module", path, code={}).get_code("module")
            assert code is not None
            assert code.co_filename == path
