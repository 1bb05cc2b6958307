"""Every option of every command that names what is written goes through the rule; a new one cannot miss it."""

import argparse
import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.base import paths
from darkroom.base.command import Parser
from darkroom.base.errors import InputError
from darkroom.base.nested import outputs_of, read_stages
from darkroom.cli import COMMANDS
from darkroom.cli.labels import WHAT
from darkroom.outputs.parser import CommandParser
from darkroom.outputs.rule import check_file, check_place
from darkroom.prediction.predictions import Predictions, write_predictions
from darkroom.reporting.sheets import save_sheet

CALLS = [*([name] for name in COMMANDS), *(["labels", name] for name in WHAT), ["find", "speed"]]
# Options and arguments with a text that name no place to write: what is read, and names.
READ = {
    "--model", "--backbone", "--among", "--data", "--checksum", "--exported", "--token-file", "--format", "--threshold", "--class",
    "--split", "--name", "-S", "--open", "--sort", "--filter", "--gate", "--host", "--allow-host", "--batch-sizes", "--formats",
    "images", "folder", "names", "name", "presets", "revisions", "what",
}  # fmt: skip


class Made(BaseException):
    """Carries a parser out of a command."""

    def __init__(self, parser: Parser):
        self.parser = parser


def parser_of(call: list[str]) -> Parser:
    """Return the parser that a command makes."""

    def parse(self: Parser, _: list[str]) -> argparse.Namespace:
        raise Made(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parser, "parse", parse)
        patch.setattr(CommandParser, "parse", parse)
        with pytest.raises(Made) as made:
            importlib.import_module(f"darkroom.cli.{call[0]}").main(call[1:])
    return made.value.parser


PARSERS = {" ".join(call): parser_of(call) for call in CALLS}
OUTPUTS = [
    (name, flag.flag) for name, parser in PARSERS.items() if isinstance(parser, CommandParser) for flag in parser.outputs.values()
]


def name_of(action: argparse.Action) -> str:
    return max(action.option_strings, key=len) if action.option_strings else action.dest


@pytest.mark.parametrize("name", PARSERS)
def test_every_option_that_takes_a_text_is_an_output_or_known_to_be_none(name: str) -> None:
    parser = PARSERS[name]
    assert isinstance(parser, CommandParser)
    taken = [each for each in parser._actions if each.nargs != 0 and each.type not in (int, float)]
    unknown = {name_of(each) for each in taken} - {each.flag for each in parser.outputs.values()} - READ
    assert unknown == set(), "add it by add_output, or to READ if nothing is written there"


def test_the_outputs_are_these() -> None:
    assert OUTPUTS == [
        ("evaluate", "--out"),
        ("predict", "--out"),
        ("predict", "--sheet"),
        ("explain", "--out"),
        ("export", "--out"),
        ("serve", "--collect"),
        ("find", "--out"),
        ("show", "--csv"),
        ("compare", "--md"),
        ("compare", "--html"),
        ("compare", "--csv"),
        ("drift", "--out"),
        ("drift", "--sheet"),
        ("report", "--out"),
        ("labels check", "--out"),
        ("labels check", "--sheet"),
        ("labels next", "--out"),
        ("labels next", "--sheet"),
        ("labels curve", "--out"),
        ("labels curve", "--chart"),
        ("find speed", "--out"),
    ]


def arguments_of(name: str) -> list[str]:
    """Return what a command needs besides options."""
    needed = [each for each in PARSERS[name]._actions if not each.option_strings and each.nargs is None]
    return [str(next(iter(each.choices))) if each.choices else "x" for each in needed]


def is_folder(name: str, flag: str) -> bool:
    return (name, flag) in [("export", "--out"), ("serve", "--collect"), ("find speed", "--out")]


@pytest.mark.parametrize(("name", "flag"), OUTPUTS)
def test_a_file_of_somebody_else_is_refused_before_anything_is_done(
    name: str, flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for ending in ("csv", "parquet", "jsonl", "json", "html", "png", "md", "txt"):
        path = Path(f"mine.{ending}")
        path.write_text("path,label\nx.png,daisy\n")
        call = [*name.split(), *arguments_of(name), flag, str(path)]
        with pytest.raises(InputError) as error:
            importlib.import_module(f"darkroom.cli.{call[0]}").main(call[1:])
        expected = (
            "is a file; name a folder" if is_folder(name, flag) else f"exists and was not written by ./darkroom {name}; name"
        )
        assert str(error.value).startswith(f"{flag}: {path} {expected}")
        assert path.read_text() == "path,label\nx.png,daisy\n"


@pytest.mark.parametrize(("name", "flag"), OUTPUTS)
def test_a_place_that_stages_write_is_refused(name: str, flag: str) -> None:
    for place in (paths.MODELS / "x.csv", paths.ROOT / "metrics" / "x.csv", paths.RAW / "x"):
        with pytest.raises(InputError, match=rf"^{flag}: \S+ is in \S+, which stages write; name a file elsewhere"):
            PARSERS[name].parse([*arguments_of(name), flag, str(place)])


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("export", "parity.json"),
        ("export", "notes.txt"),
        ("find speed", "speed.csv"),
        ("find speed", "notes.txt"),
        ("serve", "manifest.csv"),
        ("predict", "notes.txt"),
    ],
)
def test_a_folder_of_somebody_else_is_refused(name: str, file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text("{}x")
    flag = "--collect" if name == "serve" else "--out"
    with pytest.raises(
        InputError, match=rf"^{flag}: {tmp_path} holds {file}, which was not written by \./darkroom {name}; name another"
    ):
        PARSERS[name].parse([flag, str(tmp_path)])
    assert (tmp_path / file).read_text() == "{}x"


def predict(*arguments: str) -> argparse.Namespace:
    return PARSERS["predict"].parse(arguments)


def result(path: Path) -> Path:
    write_predictions(path, Predictions(["a", "b"], ["x.png"], np.array([[0.2, 0.8]])), 1)
    return path


def sheet(path: Path) -> Path:
    save_sheet(path, Image.new("RGB", (9, 9)), "./darkroom predict")
    return path


def test_own_files_empty_ones_and_new_ones_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    for path in (result(tmp_path / "own.csv"), tmp_path / "empty.csv", tmp_path / "new.csv"):
        assert predict("x.png", "--out", str(path)).out == str(path)
    assert predict("x.png", "--sheet", str(sheet(tmp_path / "own.png"))).sheet == tmp_path / "own.png"
    assert PARSERS["show"].parse(["--csv", "-"]).csv == "-"


def linked(path: Path) -> Path:
    link = path.with_name("link.csv")
    link.symlink_to(path)
    return link


@pytest.mark.parametrize(
    "read",
    [
        lambda path: [str(path)],
        lambda path: ["y.png", f"@{path}"],
        lambda path: [str(linked(path))],
        lambda path: ["x.png", "--nearest", "1", "--among", str(path)],
        lambda path: [str(path.with_name("ow*"))],
        lambda path: [str(path.parent / "." / "sub" / ".." / path.name)],
    ],
)
def test_an_input_is_never_an_output(tmp_path: Path, read: Callable[[Path], list[str]]) -> None:
    (tmp_path / "sub").mkdir()
    path = result(tmp_path / "own.csv")
    with pytest.raises(InputError, match=r"^--out: \S+own\.csv is read as well, and would be lost; name another one$"):
        predict(*read(path), "--out", str(path))


def test_a_folder_in_place_of_a_file_is_named_so_also_if_it_is_read(tmp_path: Path) -> None:
    for read in ("x.png", str(tmp_path)):
        with pytest.raises(InputError, match=r"^--sheet: \S+ is a folder; name a file"):
            predict(read, "--sheet", str(tmp_path))


def test_a_picture_in_a_folder_that_is_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    places = [(str(tmp_path), "sheet.png"), (str(tmp_path), "sub/sheet.png"), (str(tmp_path / "*.png"), "sheet.png")]
    for read, place in places:
        with pytest.raises(
            InputError, match=r"^--sheet: \S+ is in \S+, where it would be taken for a photo; name a file elsewhere"
        ):
            predict(read, "--sheet", str(tmp_path / place))
    predict(str(tmp_path), "--sheet", str(tmp_path / "sheet.html"), "--out", str(tmp_path / "found.csv"))


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--html: \S+both is that of --md as well; name another file"):
        PARSERS["compare"].parse(["HEAD", "--md", str(tmp_path / "both"), "--html", str(tmp_path / "both")])


def test_files_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    check_file(tmp_path / "x.csv", "--csv", "")
    with pytest.raises(InputError, match=r"--csv: the folder .*/none does not exist; create it first"):
        check_file(tmp_path / "none" / "x.csv", "--csv", "")
    with pytest.raises(InputError, match=r"--csv: .* is a folder; name a file"):
        check_file(tmp_path, "--csv", "")
    with pytest.raises(InputError, match="--csv: /dev/null is no regular file; name a file"):
        check_file(Path("/dev/null"), "--csv", "")


NAMES = sorted(out for stage in read_stages(paths.PIPELINE).values() for out in outputs_of(stage))


@pytest.mark.parametrize("name", [*NAMES, "models", "metrics"])
def test_outputs_of_stages_are_refused(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(paths.ROOT / name)
    monkeypatch.chdir(paths.ROOT / "data")
    for out in (paths.ROOT / name / "x.csv", Path("..", name, "deep", "x.csv"), tmp_path / "link" / "x.csv"):
        with pytest.raises(InputError, match=r"--out: .*x\.csv is in \S+, which stages write; name a file elsewhere"):
            check_place(out, "--out")


def test_other_places_are_not(tmp_path: Path) -> None:
    for out in (tmp_path / "x.csv", paths.ROOT / "x.csv", paths.ROOT / "data" / "x.csv"):
        check_place(out, "--out")
    check_place(paths.SPEED_METRICS, "--out", "./darkroom find speed")
