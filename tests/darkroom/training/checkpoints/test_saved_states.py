"""States are whole or not used, belong to what they were made of, and are not kept for ever."""

import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from darkroom.base import files
from darkroom.base.errors import MAIN_PROCESS, RunError
from darkroom.base.params import Params
from darkroom.stage.state_files import EPOCH_OVER, FINISHED, WITHIN_EPOCH, forget_finished
from darkroom.training.checkpoints.collect import Limits
from darkroom.training.checkpoints.fresh_start import refuse_other_versions, why_fresh
from darkroom.training.checkpoints.log_files import write_files
from darkroom.training.checkpoints.saved_states import StateStore, depends_on
from darkroom.training.checkpoints.saved_trainings import install_line, is_in_use, other_versions, saved_trainings
from darkroom.training.checkpoints.started import how_it_was_started, typed

ABOUT = {"params": {"train": {"lr": 0.01, "epochs": 3}}, "code": {"src/train.py": "aa"}}


def state(step: int) -> dict[str, Any]:
    return {"global_step": step, "weights": torch.full((50,), float(step))}


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    store = StateStore(tmp_path, ABOUT)
    with store.held():
        for step, phase in ((6, EPOCH_OVER), (8, WITHIN_EPOCH), (12, WITHIN_EPOCH), (12, EPOCH_OVER)):
            store.save(state(step) | {"phase": phase}, step=step, phase=phase)
    return store


def test_the_newest_is_used_and_the_two_newest_are_kept(store: StateStore) -> None:
    latest = store.latest()
    assert latest is not None
    assert (latest["global_step"], latest["phase"]) == (12, EPOCH_OVER)
    assert len(list(store.folder.glob("*.ckpt"))) == 2


def test_every_flipped_bit_is_found_and_the_state_before_is_used(store: StateStore, capsys: pytest.CaptureFixture[str]) -> None:
    newest = max(store.folder.glob("*.ckpt"))
    content = newest.read_bytes()
    numbers = random.Random(0)
    for _ in range(100):
        place = numbers.randrange(8 * len(content))
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        newest.write_bytes(flipped)
        latest = store.latest()
        assert latest is not None
        assert latest["phase"] == WITHIN_EPOCH
        assert "is damaged (its SHA-256 differs); an earlier state is used if there is one" in capsys.readouterr().err


def test_a_state_runs_no_code(store: StateStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Planted:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {tmp_path}/ran",)

    store.save({"planted": Planted()}, step=99, phase=WITHIN_EPOCH)
    latest = store.latest()
    assert latest is not None
    assert latest["global_step"] == 12
    assert "cannot be opened without running code" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def weights_of(store: StateStore) -> set[str]:
    return {path.name for path in store.folder.glob("*.safetensors")}


def test_weights_stay_as_long_as_one_of_the_two_states_names_them(store: StateStore) -> None:
    first, second, third = (store.save_weights(epoch, {"layer": torch.full((3,), float(epoch))}) for epoch in (1, 2, 3))
    store.save(state(13), step=13, phase=EPOCH_OVER, weights=[first, second])
    assert weights_of(store) == {first, second}
    store.save(state(14), step=14, phase=EPOCH_OVER, weights=[second])
    assert weights_of(store) == {first, second}
    again = StateStore(store.root, ABOUT)
    latest = again.latest()
    assert latest is not None
    assert latest["weights"] == [second]
    again.save(state(15), step=15, phase=EPOCH_OVER, weights=[again.save_weights(3, {"layer": torch.full((3,), 3.0)})])
    assert weights_of(store) == {second, third}
    assert torch.equal(again.load_weights(second)["layer"], torch.full((3,), 2.0))
    again.forget()
    assert weights_of(store) == set()


def test_a_state_whose_weights_are_damaged_is_not_used(store: StateStore, capsys: pytest.CaptureFixture[str]) -> None:
    name = store.save_weights(3, {"layer": torch.zeros(3)})
    store.save(state(13), step=13, phase=EPOCH_OVER, weights=[name])
    path = store.folder / name
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(
        RunError, match=r"safetensors: is damaged or missing; run the same command to resume from an earlier state"
    ):
        store.load_weights(name)
    latest = store.latest()
    assert latest is not None
    assert latest["global_step"] == 12
    assert "names weights that are damaged or missing; an earlier state is used if there is one" in capsys.readouterr().err


def run_of(store: StateStore, folder: Path) -> Path:
    """Return the run.json that a workspace has published of a training."""
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps({"state": store.folder.name}))
    return folder / "run.json"


def test_finished_trainings_leave_no_weights(store: StateStore, tmp_path: Path) -> None:
    store.save(state(18), step=18, phase=FINISHED, weights=[store.save_weights(3, {"layer": torch.zeros(3)})])
    forget_finished(store.root, run_of(store, tmp_path / "models"))
    assert weights_of(store) == set()


def test_a_stage_forgets_the_training_of_its_own_workspace_alone(store: StateStore, tmp_path: Path) -> None:
    """Two trainings side by side share .resume: one evaluates while the other has finished and not yet published."""
    other = StateStore(store.root, ABOUT | {"code": {}})
    for each in (store, other):
        with each.held():
            each.save(state(18), step=18, phase=FINISHED, weights=[each.save_weights(3, {"layer": torch.zeros(3)})])
    forget_finished(store.root, run_of(store, tmp_path / "models"))
    assert store.latest() is None
    assert other.latest() is not None
    assert weights_of(other)
    forget_finished(store.root, tmp_path / "models" / "none.json")
    (tmp_path / "models" / "run.json").write_text("{}")
    forget_finished(store.root, tmp_path / "models" / "run.json")
    assert other.latest() is not None


def test_the_states_of_a_training_that_another_workspace_repeats_are_left(store: StateStore, tmp_path: Path) -> None:
    store.save(state(18), step=18, phase=FINISHED)
    run = run_of(store, tmp_path / "models")
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with store.held():
            os.write(writer, b"held")
            time.sleep(60)
        os._exit(0)
    assert os.read(reader, 4) == b"held"
    forget_finished(store.root, run)
    assert store.latest() is not None
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    forget_finished(store.root, run)
    assert store.latest() is None


def test_a_full_disk_leaves_the_states_before(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(store.folder.iterdir())

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(RunError, match=r"the state of step 18 cannot be saved \(No space left on device\); free disk space"):
        store.save(state(18), step=18, phase=EPOCH_OVER)
    assert sorted(store.folder.iterdir()) == before


def test_weights_that_do_not_fit_on_the_disk_leave_what_was_there(store: StateStore) -> None:
    """The library that writes them has an error of its own, whose text has the reason."""
    before = sorted(store.folder.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(RunError, match=r"the weights of epoch 3 cannot be saved \(.*File too large.*\); free disk space"):
            store.save_weights(3, {"layer": torch.zeros(1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(store.folder.iterdir()) == before


def test_too_small_a_disk_is_found_before_training(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.check_space(1000, num_kept=5)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    with pytest.raises(RunError, match=r"training needs 16\.0 GB for its states and model, but the disk has 1\.0 GB free"):
        store.check_space(10**9)


@pytest.mark.parametrize(
    ("about", "why"),
    [
        (ABOUT | {"params": {"train": {"lr": 0.02, "epochs": 3}}}, "differs in params.train.lr"),
        (ABOUT | {"params": {"train": {"lr": 0.02, "epochs": 4}}}, "differs in params.train.epochs and 1 more"),
        (ABOUT | {"code": {"src/train.py": "bb"}}, "differs in code.src/train.py"),
    ],
)
def test_why_a_training_starts_fresh(store: StateStore, about: dict[str, Any], why: str) -> None:
    other = StateStore(store.root, about)
    with other.held():
        assert other.latest() is None
        assert str(why_fresh(other)).endswith(why)


def test_trainings_without_a_state_are_passed_over(store: StateStore) -> None:
    """Those that are recorded, and folders of which nothing is left: the difference to what could be resumed is what counts."""
    age(store.folder, 3)
    recorded = StateStore(store.root, ABOUT | {"code": {"src/train.py": "cc"}})
    with recorded.held():
        (recorded.folder / "finished").touch()
    (store.root / "0123456789abcdef").mkdir()
    now = StateStore(store.root, ABOUT | {"params": {"train": {"lr": 0.02, "epochs": 3}}})
    assert why_fresh(now) == f"the state in {store.folder} differs in params.train.lr"
    store.forget()
    assert why_fresh(now) is None


def test_finished_trainings_are_forgotten_and_others_are_not(store: StateStore, tmp_path: Path) -> None:
    run = run_of(store, tmp_path / "models")
    forget_finished(store.root, run)
    assert store.latest() is not None
    store.save(state(18), step=18, phase=FINISHED)
    forget_finished(store.root, run)
    assert store.latest() is None


def interrupted(root: Path, number: int, days: float = 0.0) -> StateStore:
    """Return a training that was interrupted so many days ago."""
    store = StateStore(root, {"number": number, "params": {"train": {"epochs": 40}}})
    files.write_json(store.folder / "about.json", store.about)
    store.save(state(10) | {"darkroom": {"epoch": 3}, "more": torch.zeros(50_000)}, step=10, phase=WITHIN_EPOCH)
    age(store.folder, days)
    return store


def age(folder: Path, days: float) -> None:
    os.utime(folder, (time.time() - days * 86400,) * 2)


def take_up(store: StateStore, limits: Limits = Limits()) -> None:  # noqa: B008
    with store.held(limits):
        pass


def test_no_number_of_interrupted_trainings_is_too_large(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such as the trials of a search that was killed; the next one resumes each of them."""
    trials = [interrupted(tmp_path, number, days=number) for number in range(12)]
    take_up(trials[7])
    assert all(trial.latest() for trial in trials)
    assert capsys.readouterr().out == ""


def test_a_training_is_removed_for_its_age(tmp_path: Path) -> None:
    new, old, own, held = (interrupted(tmp_path, number, days=days) for number, days in enumerate((29, 31, 100, 100)))
    age(held.folder, 100)
    with held.held(Limits(None, None)):
        age(held.folder, 100)
        child = os.fork()  # a lock does not hold against its own process
        if child == 0:
            take_up(own)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    assert new.latest()
    assert own.latest()
    assert held.latest(), "another process trains it"
    assert not old.folder.exists()


def test_what_is_removed_is_said_with_the_way_to_keep_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, own = interrupted(tmp_path, 1, days=31), interrupted(tmp_path, 2)
    take_up(own, Limits(states_max_days=None))
    assert old.latest()
    age(old.folder, 31)
    take_up(own)
    said = capsys.readouterr().out
    assert said.startswith(
        f"train: removed the unfinished training {old.folder} (epoch 3 of 40 done, 0.2 MB): not used for 31 days "
    )
    assert said.endswith("(hardware.states_max_days is 30; null keeps states for ever)\n")


def test_the_oldest_is_removed_where_all_take_too_much_of_the_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [interrupted(tmp_path, number, days=days) for number, days in enumerate((5, 4, 3, 0.5))]
    size = saved_trainings(tmp_path)[0].num_bytes
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * size))  # and 4 are taken
    take_up(trials[3], Limits(states_max_share=0.51))
    assert [trial.folder.exists() for trial in trials] == [False, True, True, True]
    assert "all of them take 0.0 GB, more than 51% of what the disk has free without them (hardware.states_max_share; null" in (
        capsys.readouterr().out
    )
    take_up(trials[3], Limits(states_max_share=None))
    take_up(trials[2], Limits(states_max_share=0.01))
    assert [trial.folder.exists() for trial in trials] == [False, False, True, True], "that of the last day stays"


def test_what_is_left_of_recorded_trainings_goes_in_time_without_a_word(
    store: StateStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.save(state(18), step=18, phase=FINISHED)
    forget_finished(store.root, run_of(store, tmp_path / "models"))
    other = interrupted(store.root, 1)
    take_up(other)
    assert store.folder.exists()
    age(store.folder, 31)
    take_up(other)
    assert not store.folder.exists()
    assert capsys.readouterr().out == ""


def test_states_of_earlier_versions_are_known(store: StateStore) -> None:
    """Their names have no epoch."""
    (training,) = saved_trainings(store.root)
    assert (training.step, training.epoch, training.is_finished) == (12, None, False)
    assert training.progress() == "step 12"
    store.save(state(13) | {"darkroom": {"epoch": 3}}, step=13, phase=FINISHED)
    assert saved_trainings(store.root)[0].progress() == "finished, but not published"
    latest = store.latest()
    assert latest is not None
    assert latest["global_step"] == 13


def test_the_same_training_runs_once_at_a_time(store: StateStore) -> None:
    pid = os.fork()
    if pid == 0:
        with store.held():
            time.sleep(30)
        os._exit(0)
    try:
        deadline = time.monotonic() + 5
        while not (store.folder / "lock").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(RunError, match=rf"process {pid} on .* is running here; wait for it"), store.held():
            pass
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("commands", "shown"),
    [
        ([["/v/bin/python", "src/train.py"], ["/bin/sh", "-c", "python src/train.py"], ["bash"]], "python src/train.py"),
        (
            [
                ["python", "src/train.py"],
                ["sh", "-c", "x"],
                ["/v/bin/python3.11", "/v/bin/dvc", "exp", "run", "-S", "a=b c"],
                ["zsh"],
            ],
            "dvc exp run -S 'a=b c'",
        ),
        ([["python", "src/train.py"], ["python", "-m", "dvc", "repro"]], "dvc repro"),
        (
            [
                ["python", "src/train.py"],
                ["python", "/v/bin/dvc", "exp", "run"],
                ["python", "./darkroom", "tune"],
                ["code", "darkroom"],
            ],
            "./darkroom tune",
        ),
    ],
)
def test_the_command_that_a_person_typed(commands: list[list[str]], shown: str) -> None:
    assert typed(commands) == shown


def test_where_the_parents_of_a_process_are_hidden_its_own_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on machines whose users see only their own processes."""

    def hidden(_: psutil.Process) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil.Process, "parents", hidden)
    assert how_it_was_started()["command"] == typed([psutil.Process().cmdline()])


VERSIONS = {"torch": "1.0+cpu", "numpy": "2.0"}


def test_other_versions_of_packages_are_refused(store: StateStore, tmp_path: Path) -> None:
    """They would start again in silence: what a training depends on is another thing then."""
    refuse_other_versions(store)
    begun = StateStore(tmp_path / "other", ABOUT | {"packages": VERSIONS})
    upgraded = StateStore(begun.root, ABOUT | {"packages": VERSIONS | {"torch": "2.0+cpu"}})
    with begun.held():
        begun.save(state(6) | {"darkroom": {"epoch": 2}}, step=6, phase=EPOCH_OVER)
        refuse_other_versions(begun)
    with upgraded.held(), pytest.raises(RunError) as refused:
        refuse_other_versions(upgraded)
    assert str(refused.value) == (
        f"{begun.folder}: this training (epoch 2 of 3 done) was begun with torch 1.0+cpu (here 2.0+cpu), and a mixture has the "
        "numbers of neither; run 'pip install torch==1.0+cpu --extra-index-url https://download.pytorch.org/whl/cpu' to resume it, "
        f"or 'rm -rf {begun.folder}' to start afresh"
    )
    child = os.fork()
    if child == 0:
        with begun.held():
            time.sleep(30)
    while not is_in_use(begun.folder):
        time.sleep(0.01)
    refuse_other_versions(upgraded)  # it runs, in another environment
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    shutil.rmtree(begun.folder)
    refuse_other_versions(upgraded)


def test_a_processor_with_other_instructions_is_another_machine(
    make_params: Callable[..., Params], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It rounds otherwise, so a training that goes on there has the numbers of neither."""
    here = depends_on({}, make_params(), {})
    assert here["machine"]["device"]
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "OTHER")
    there = depends_on({}, make_params({"hardware.accelerator": "cpu"}), {})
    assert there["machine"] == {"device": "cpu", "processor": "OTHER"}
    assert there != here


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        (
            {"packages": VERSIONS | {"timm": "3.0"}},
            "with timm None (here 3.0), and a mixture has the numbers of neither; run it where",
        ),
        (
            {"packages": VERSIONS, "machine": {"device": "cpu", "processor": "AVX2"}},
            "with machine.device None (here cpu), machine.processor None (here AVX2), and a mixture has the numbers of neither; run it where",
        ),
        ({"packages": VERSIONS | {"numpy": "2.1"}, "code": {"src/train.py": "bb"}}, None),
        ({"packages": VERSIONS | {"numpy": "2.1"}, "params": {"train": {"lr": 0.5}}}, None),
        ({"packages": VERSIONS | {"numpy": "2.1"}, "data": {"raw": "cc"}}, None),
    ],
)
def test_only_what_computes_the_same_training_is_compared(tmp_path: Path, changes: dict[str, Any], refused: str | None) -> None:
    begun, now = StateStore(tmp_path, ABOUT | {"packages": VERSIONS}), StateStore(tmp_path, ABOUT | changes)
    with begun.held():
        begun.save(state(6), step=6, phase=FINISHED)
    with now.held():
        if refused is None:
            refuse_other_versions(now)
            assert why_fresh(now)
        else:
            with pytest.raises(RunError, match=re.escape(refused)):
                refuse_other_versions(now)


def test_the_state_of_a_kept_epoch_says_that_the_disk_is_full(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "write_hash_named", full)
    with pytest.raises(RunError, match=r"the state of epoch 2 cannot be saved \(No space"):
        store.save_kept_state(2, state(12))


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_another_process_of_the_training_takes_no_lock(store: StateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MAIN_PROCESS, str(os.getpid()))
    monkeypatch.setenv("LOCAL_RANK", "1")
    (store.folder / "lock").unlink(missing_ok=True)
    with store.held():
        assert not (store.folder / "lock").exists()


@pytest.mark.parametrize("content", ["", "[1]", "{", None])
def test_what_a_training_says_of_itself_may_be_damaged(store: StateStore, content: str | None) -> None:
    for name in ("about.json", "started.json"):
        (store.folder / name).unlink(missing_ok=True)
        if content is not None:
            (store.folder / name).write_text(content)
    store.save(state(13) | {"darkroom": {"epoch": 3}}, step=13, phase=EPOCH_OVER)
    (training,) = saved_trainings(store.root)
    assert (training.about(), training.started(), training.progress()) == ({}, {}, "epoch 3 done")
    assert why_fresh(StateStore(store.root, ABOUT | {"code": {}})) is None


def test_a_folder_that_another_process_removes_is_no_training(store: StateStore) -> None:
    (store.root / "file").write_text("")
    assert [training.folder for training in saved_trainings(store.root)] == [store.folder]
    assert saved_trainings(store.root / "nowhere") == []
    assert not is_in_use(store.root / "nowhere")


def test_packages_that_are_gone_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    wanted = {"torch": "0.1+cpu", "no-such-package": "1"}
    found = other_versions(wanted)
    assert found["no-such-package"] is None
    assert found["torch"]
    line = install_line(wanted, found)
    assert line == "pip install torch==0.1+cpu no-such-package==1 --extra-index-url https://download.pytorch.org/whl/cpu"


def test_files_of_a_log_stay_in_their_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.\./x: is outside of the folder"):
        write_files(tmp_path / "log", {"../x": torch.zeros(1, dtype=torch.uint8)})
