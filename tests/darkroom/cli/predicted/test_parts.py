"""./darkroom predict in parts: whenever it is killed, the same command ends with the bits of a run that was not."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from predicting import write_photos

from darkroom.base.errors import InputError, Interrupted
from darkroom.batch import parts
from darkroom.batch.blocks import Blocks
from darkroom.cli import predict

pytestmark = pytest.mark.filterwarnings("ignore")
SIZE, PARTS = 32, 5
SRC = Path(parts.__file__).parents[2]


@pytest.fixture
def many(workspace: Path, digits: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 140 digits, one of which cannot be read, and parts of 32 images in batches of 16."""
    write_photos(digits, workspace / "many", digits.split.rows["test"][:140])
    (workspace / "many" / "070.png").write_bytes(b"nothing")
    monkeypatch.setattr(parts, "IMAGES", SIZE)
    params = (workspace / "params.yaml").read_text()
    batch = params.index("batch_size", params.index("\npredict:"))
    params = params[:batch] + "batch_size: 16" + params[params.index("\n", batch) :]
    (workspace / "params.yaml").write_text(params.replace("max_bad: 0", "max_bad: 1"))
    return workspace


def run(out: str, *further: str) -> None:
    predict.main(["many", "--out", out, *further])


def content(out: str) -> dict[str, bytes]:
    """Return the files of a result."""
    path = Path(out)
    found = sorted(path.rglob("*")) if path.is_dir() else [path, path.with_name(f"{path.stem}.unreadable.csv")]
    return {each.name.replace("killed", "whole"): each.read_bytes() for each in found}


class Killed(BaseException):
    """Stands for kill -9: from then on no file operation has an effect, neither does what cleans up."""


def dies_at(out: str, number: int, *, before: bool = True) -> bool:
    """Run until the n-th file is put in its place, and return whether it got so far."""
    operations = {(Path, name): getattr(Path, name) for name in ("replace", "unlink", "rmdir", "mkdir", "chmod")}
    operations[shutil, "rmtree"] = shutil.rmtree
    replace, count, dead = Path.replace, iter(range(1, 10_000)), []

    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **keywords: None if dead else original(*arguments, **keywords)

    def counted(self: Path, target: Path) -> Path:
        is_last = not dead and next(count) == number
        if dead or (is_last and before):
            dead.append(True)
            raise Killed
        replace(self, target)
        if is_last:
            dead.append(True)
            raise Killed
        return target

    with pytest.MonkeyPatch.context() as patch:
        for (owner, name), original in operations.items():
            patch.setattr(owner, name, counted if name == "replace" else guarded(original))
        try:
            run(out)
        except Killed:
            return True
    return False


@pytest.mark.sample(1)
@pytest.mark.parametrize("out", ["{}.csv", "{}.parquet", "{}/"])
@pytest.mark.usefixtures("many")
def test_a_kill_at_any_write_changes_nothing(out: str) -> None:
    run(out.format("whole"))
    expected = content(out.format("whole"))
    number = 0
    while dies_at(out.format("killed"), number := number + 1, before=bool(number % 2)):
        if number % 3 == 0:  # else the next one goes on from there, and is killed as well
            run(out.format("killed"))
            assert content(out.format("killed")) == expected, number
            _remove(Path(out.format("killed")))
    assert number > 5
    assert content(out.format("killed")) == expected
    assert not list(Path().rglob(".writing-*"))
    assert not list(Path().glob("*.parts"))


def _remove(path: Path) -> None:
    for each in [*path.glob("*")] if path.is_dir() else [path, path.with_name(f"{path.stem}.unreadable.csv")]:
        each.unlink()


KILLED = """
import sys
from pathlib import Path
from darkroom.base import paths
from darkroom.batch import parts
from darkroom.cli import predict
parts.IMAGES = 32
paths.PARAMS, paths.MODELS = Path("params.yaml").resolve(), Path("models").resolve()
predict.main(["many", "--out", sys.argv[1]])
"""


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.thorough)])
def test_a_process_that_is_killed_changes_nothing(many: Path, kills: int) -> None:
    run("whole.parquet")
    numbers = random.Random(kills)
    for number in range(kills):
        process = subprocess.Popen([sys.executable, "-c", KILLED, "killed.parquet"], env={**os.environ, "PYTHONPATH": str(SRC)})
        wanted = many / "killed.parquet.parts" / f"part-{number % PARTS:05d}.parquet"
        while process.poll() is None and not wanted.exists():
            time.sleep(0.002)
        time.sleep(numbers.uniform(0, 0.02))
        process.kill()
        process.wait()
    run("killed.parquet")
    assert content("killed.parquet") == content("whole.parquet")


def test_what_is_there_is_not_computed_again(
    many: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dies_at("killed/", 7)  # the record, then two files a part, but for the first three
    done = sorted(path.name for path in (many / "killed").glob("part-*"))
    assert 1 < len(done) < PARTS
    starts: list[int] = []
    iterate = Blocks.iterate

    def seen(self: Blocks, start: int = 0) -> Any:
        starts.append(start)
        return iterate(self, start)

    monkeypatch.setattr(Blocks, "iterate", seen)
    run("killed/")
    assert starts == [0, starts[1]]  # the first batch prepares the network
    assert starts[1] >= SIZE * (len(done) - 1)
    assert f"goes on after {starts[1]} images" in capsys.readouterr().err
    assert sum(pq.read_table(path).num_rows for path in (many / "killed").glob("part-*")) == 139
    # Complete: nothing is left to do.
    run("killed/")
    assert len(starts) == 2
    assert pq.read_table(many / "killed").num_rows == 139  # other programs pass over what is no part


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: (folder / "many" / "000.png").write_bytes((folder / "many" / "001.png").read_bytes()),
            r"is of a run that differs in input; repeat that command, or remove the folder",
        ),
        (
            lambda folder: (folder / "many" / "900.png").write_bytes((folder / "many" / "001.png").read_bytes()),
            r"is of a run that differs in input; repeat that command, or remove the folder",
        ),
        (
            lambda folder: edit(folder / "params.yaml", "tta: none", "tta: flip"),
            r"differs in settings: tta \(it was none, and is flip\)",
        ),
        (lambda folder: edit(folder / "models" / "model.json", '"classes"', '"classes" '), r"damaged|is not the file"),
        (
            lambda folder: (folder / "killed" / "part-00000.parquet").write_bytes(b"x"),
            r"part-00000\.parquet: is not what was written",
        ),
        (lambda folder: edit(folder / "killed" / "_run.json", "precision", "precisiom"), r"_run\.json: is damaged"),
    ],
)
def test_what_changed_meanwhile_is_refused(many: Path, change: Callable[[Path], Any], message: str) -> None:
    assert dies_at("killed/", 5)
    change(many)
    with pytest.raises(InputError, match=message):
        run("killed/")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.usefixtures("many")
def test_other_flags_are_refused_and_nothing_begun_is_not_missed() -> None:
    assert dies_at("killed.csv", 5)
    with pytest.raises(
        InputError, match=r"^killed\.csv\.parts: is of a run that differs in settings: top_k \(it was 3, and is 2\); repeat"
    ):
        run("killed.csv", "--top-k", "2")
    run("killed.csv")
    # Killed before its first part: nothing is lost by other flags.
    assert dies_at("early.csv", 2)
    assert Path("early.csv.parts").is_dir()
    run("early.csv", "--top-k", "2")


def test_another_process_and_other_files_are_refused(many: Path) -> None:
    with parts.Parts(many / "taken", ".csv", {}) as one:
        one.finish()
        with pytest.raises(InputError, match=r"taken: another process writes there"):
            run("taken/")
    (many / "full").mkdir()
    (many / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(
        InputError, match=r"^--out: full holds thesis\.txt, which was not written by ./darkroom predict; name another folder"
    ):
        run("full/")
    assert (many / "full" / "thesis.txt").read_text() == "mine"


def test_an_interrupted_run_says_what_is_kept(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = parts.Parts.add

    def interrupted(self: parts.Parts, *arguments: Any) -> None:
        add(self, *arguments)
        if len(self.done) == 2:
            raise Interrupted(signal.SIGINT)

    monkeypatch.setattr(parts.Parts, "add", interrupted)
    with pytest.raises(
        Interrupted, match=r"interrupted by SIGINT; the 64 images of 2 parts are kept, and the same command goes on"
    ):
        run("killed.csv")
    assert (many / "killed.csv.parts" / "part-00001.csv").exists()


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_one_file_is_what_the_parts_are_together(many: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(f"joined.{ending}")
    run("parts/", "--format", ending)
    assert len(list((many / "parts").glob(f"part-*.{ending}"))) == PARTS
    monkeypatch.setattr(parts, "IMAGES", 4096)
    run(f"whole.{ending}")
    if ending == "parquet":
        assert pq.read_table("joined.parquet").equals(pq.read_table("whole.parquet"))
    else:
        assert Path(f"joined.{ending}").read_bytes() == Path(f"whole.{ending}").read_bytes()


@pytest.mark.parametrize("out", ["parts/", "killed/"])
@pytest.mark.usefixtures("many")
def test_parts_of_another_format_are_refused_before_a_model_is_loaded(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run that has ended, and of one that was killed, whose parts would be mixed."""
    if out == "killed/":
        assert dies_at(out, 4)
    else:
        run(out)
    before = content(out)
    assert any(name.startswith("part-") for name in before)
    monkeypatch.setattr("darkroom.api.named_model.open_model", None)
    for ending in ("csv", "jsonl"):
        with pytest.raises(
            InputError, match=rf": is of a run that differs in format \(it was parquet, and is {ending}\); repeat"
        ):
            run(out, "--format", ending)
    assert content(out) == before


@pytest.mark.usefixtures("many")
def test_files_of_somebody_else_beside_a_result_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.api.named_model.open_model", None)
    Path("x.unreadable.csv").write_text("mine\n")
    with pytest.raises(InputError, match=r"^--out: x\.unreadable\.csv exists and was not written by ./darkroom predict; name"):
        run("x.csv")
    Path("x.unreadable.csv").write_text("path,reason\nmany/070.png,is damaged\n")
    with pytest.raises(InputError, match=r"^--out: x\.unreadable\.csv is read as well, and would be lost; name another one"):
        predict.main(["x.unreadable.csv", "--out", "x.csv"])
    Path("x.csv.parts").mkdir()
    Path("x.csv.parts", "mine").touch()
    Path("x.unreadable.csv").unlink()
    with pytest.raises(InputError, match=r"^x\.csv\.parts: holds other files, such as mine; name a new folder"):
        run("x.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.csv", "--format", "csv"], r"^--format: is that of the parts in a folder"),
        (["--out", "x/", "--format", "xml"], r"^--format: is xml, but should be one of csv, jsonl, parquet"),
        (["--out", "no/x/"], r"^--out: the folder no does not exist"),
        (["--out", "models/x/"], r"^--out: models/x is in .*, which stages write"),
        (["--out", "x.csv", "--sheet", "x.pdf"], r"^--sheet: x\.pdf does not end with"),
    ],
)
@pytest.mark.usefixtures("many")
def test_a_mistake_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        predict.main(["many", *arguments])
