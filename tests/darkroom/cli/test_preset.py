"""`dvc exp run $(./darkroom preset NAME)`: with a preset it runs that, and after any failure nothing."""

import os
import subprocess

import pytest
from clones import Clone, make_clone

from darkroom.cli import REFUSED_BY_DVC

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return make_clone(tmp_path_factory.mktemp("preset") / "darkroom")


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("true", "preset cifar10 mnits"),
        ("true", "prset cifar10"),
        ("echo 'train: {lrr: 1}' > conf/mnist.yaml", "preset mnist"),
        ("echo '<<<<<<< HEAD' >> params.yaml", "preset mnist"),
        ("echo '<<<<<<< HEAD' >> src/darkroom/base/command.py", "preset mnist"),
        ("rm src/darkroom/cli/preset.py", "preset mnist"),
        *(
            pytest.param(damage, words, marks=pytest.mark.thorough)
            for damage, words in (
                ("true", "preset mnits"),
                ("true", "preset --typo cifar10"),
                ("true", "preset ''"),
                ("true", "cifar10"),
                ("echo 'train: {lr: [' > conf/mnist.yaml", "preset mnist"),
                ("echo '# nothing' > conf/mnist.yaml", "preset mnist"),
                ("printf '\\377' > conf/mnist.yaml", "preset mnist"),
                ("rm conf/mnist.yaml && mkdir conf/mnist.yaml", "preset mnist"),
                ("rm params.yaml", "preset mnist"),
                ("> params.yaml", "preset mnist"),
                ("echo '<<<<<<< HEAD' >> src/darkroom/base/params.py", "preset mnist"),
                ("echo '<<<<<<< HEAD' >> src/darkroom/cli/__init__.py", "preset mnist"),
            )
        ),
    ],
)
def test_a_preset_that_fails_runs_nothing(clone: Clone, damage: str, words: str) -> None:
    try:
        clone.run(damage)
        status = clone.run("git status --porcelain").stdout
        done = clone.run(f"dvc exp run $(./darkroom {words}) -S train.lr=0.5", status=None)
        assert done.returncode != 0
        assert f"unrecognized arguments: {REFUSED_BY_DVC}" in done.stderr
        assert "Running stage" not in done.stdout
        assert clone.run("git status --porcelain").stdout == status
        assert not (clone.path / "data" / "raw").exists()
    finally:
        clone.run("rm -rf conf/mnist.yaml && git checkout -q .")


@pytest.mark.sample(1)
@pytest.mark.parametrize("option", ["--queue", "--temp"])
def test_nothing_is_queued_either(clone: Clone, option: str) -> None:
    done = clone.run(f"dvc exp run {option} $(./darkroom preset mnits) -S train.lr=0.5", status=None)
    assert done.returncode != 0
    assert done.stderr.startswith("error: conf/mnits.yaml: there is no such preset; did you mean 'mnist'?\n")
    assert "No experiment tasks in the queue" in clone.run("dvc queue status").stdout


@pytest.mark.parametrize("words", ["preset", pytest.param("preset --help", marks=pytest.mark.thorough)])
def test_what_is_no_preset_is_refused_too(clone: Clone, words: str) -> None:
    done = clone.run(f"dvc exp run $(./darkroom {words})", status=None)
    assert done.returncode != 0
    assert "Running stage" not in done.stdout
    assert not (clone.path / "data" / "raw").exists()


def test_a_preset_runs(clone: Clone) -> None:
    assert "Running stage 'download'" in clone.run("dvc exp run $(./darkroom preset debug) -S train.debug=false download").stdout
    assert "limit_train_batches: 4" in clone.run("git diff params.yaml").stdout


def test_on_a_terminal_nothing_but_the_error_is_shown(clone: Clone) -> None:
    main, terminal = os.openpty()
    command = ["./darkroom", "preset", "mnits"]
    done = subprocess.run(command, cwd=clone.path, env=clone.env, stdout=terminal, stderr=subprocess.PIPE, text=True)
    os.close(terminal)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    with pytest.raises(OSError, match="Input/output error"):  # nothing was written, and nobody will
        os.read(main, 1000)
    os.close(main)
