"""./darkroom predict reads images from wherever they are, with the same bits; what cannot be read is listed, and odd input is one line."""

import csv
import io
import json
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from object_store import object_store
from PIL import Image
from predicting import write_photos
from ruamel.yaml import YAML

from darkroom.base.errors import InputError
from darkroom.base.yaml_file import read_yaml
from darkroom.batch import camera
from darkroom.cli import predict

pytestmark = pytest.mark.filterwarnings("ignore")
Rows = list[dict[str, str]]


@pytest.fixture
def few(workspace: Path, digits: Any) -> list[Path]:
    """Forty digits in a folder and a folder below, in order."""
    rows = digits.split.rows["test"]
    write_photos(digits, workspace / "few", rows[:30])
    write_photos(digits, workspace / "few" / "below", rows[30:40])
    return sorted((workspace / "few").rglob("*.png"))


def rows_of(*arguments: str, out: str = "found.csv") -> Rows:
    """Predict into a file, and return its rows."""
    predict.main([*arguments, "--out", out])
    with Path(out).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def predicted(rows: Rows) -> list[tuple[str, ...]]:
    """Return the classes and probabilities, without the names of the images."""
    return [tuple(value for name, value in row.items() if name not in ("path", "actual")) for row in rows]


def write_table(path: Path, rows: list[tuple[str, str]]) -> None:
    """Write paths and labels in the format of the ending."""
    columns = dict(zip(("file", "label"), map(list, zip(*rows, strict=True)), strict=True))
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"file": file, "label": label}) + "\n" for file, label in rows))
    else:
        path.write_text("file;label\n" + "".join(f"{file};{label}\n" for file, label in rows))


def test_files_are_the_same_wherever_they_are(few: list[Path], workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rows_of("few")
    assert [row["path"] for row in expected] == [str(path.relative_to(workspace)) for path in few]
    with zipfile.ZipFile("few.zip", "w") as archive:
        for name in ("notes.txt", "__MACOSX/x.png", "a/.hidden.png"):
            archive.writestr(name, b"no image")
        for path in few:
            archive.write(path, str(path.relative_to(workspace)))
    with tarfile.open("few.tar.gz", "w:gz") as packed:
        for path in few:
            packed.add(path, str(path.relative_to(workspace)))
    lines = "\n".join(str(path.relative_to(workspace)) for path in few)
    Path("list.txt").write_text(f"{lines}\n\n")
    Path("crlf.txt").write_text(lines.replace("\n", "\r\n"))
    for ending in ("csv", "jsonl", "parquet"):
        write_table(Path(f"table.{ending}"), [(str(path.relative_to(workspace)), "7") for path in few])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    for arguments in (
        ["few.zip"], ["few.tar.gz"], ["@list.txt"], ["@crlf.txt"], ["-"], ["table.csv"], ["table.jsonl"], ["table.parquet"],
        ["few/**/*.png"], [str(path) for path in few],
    ):  # fmt: skip
        found = rows_of(*arguments)
        assert predicted(found) == predicted(expected), arguments
    assert rows_of("few.zip")[0]["path"] == f"few.zip/{few[0].relative_to(workspace)}"


@pytest.fixture
def site(workspace: Path) -> Iterator[str]:
    """The folder of the workspace on a server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(workspace))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_images_at_addresses(few: list[Path], workspace: Path, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rows_of("few")
    named = [str(path.relative_to(workspace)) for path in few]
    Path("list.txt").write_text("".join(f"{site}/{name}\n" for name in named))
    found = rows_of("@list.txt")
    assert predicted(found) == predicted(expected)
    assert found[0]["path"] == f"{site}/{named[0]}"
    with object_store() as store:
        for name, value in store.env.items():
            monkeypatch.setenv(name, value)
        for name in named:
            store.put(name, Path(name).read_bytes())
        assert predicted(rows_of("s3://bucket/few")) == predicted(expected)
        write_table(Path("table.csv"), [(f"s3://bucket/{name}", "3") for name in named])
        found = rows_of("table.csv")
        assert predicted(found) == predicted(expected)
        assert {row["actual"] for row in found} == {"3"}
        with pytest.raises(InputError, match=r"^s3://bucket/missing\.png: cannot be read \(does not exist\)"):
            predict.main(["s3://bucket/missing.png", "--out", "x.csv"])
    with pytest.raises(InputError, match=r"missing\.png: cannot be read \(the server returns 404 Not Found\)"):
        predict.main([f"{site}/missing.png", "--out", "x.csv"])


def test_a_table_with_labels_gives_the_accuracy(few: list[Path], workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes = [row["class"] for row in rows_of("few")]
    names = [str(path.relative_to(workspace)) for path in few]
    others = {name: str((int(name) + 1) % 10) for name in classes}
    labels = [name if place % 4 else others[name] if place % 8 else "rosebush" for place, name in enumerate(classes)]
    labels[1] = "NA"
    write_table(Path("table.csv"), list(zip(names, labels, strict=True)))
    capsys.readouterr()
    found = rows_of("table.csv")
    assert [row["actual"] for row in found] == [name if name != "NA" else "" for name in labels]
    right = sum(one == other for one, other in zip(labels, classes, strict=True))
    said = capsys.readouterr().out
    line, unknown = f"accuracy {right / 34:.4f} ", "5 of 39 labels name no class of the model and do not count in an accuracy"
    assert (right, line in said, "of 34 labelled images" in said) == (29, True, True)
    assert f"predict: {unknown}; the first is 'rosebush': it has 0, 1, 2," in said
    predict.main(["table.csv"])
    shown = capsys.readouterr().out
    assert line in shown
    assert unknown in shown
    capsys.readouterr()
    assert [row["actual"] for row in rows_of("found.csv", out="again.csv")] == [row["actual"] for row in found]
    assert line in capsys.readouterr().out
    assert "... and 20 more" in shown


def test_what_cannot_be_read_is_listed_and_the_rest_written(few: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    few[3].write_bytes(b"nothing")
    Path("list.txt").write_text("".join(f"{path}\n" for path in [*few, "few/gone.png"]))
    with pytest.raises(InputError, match=r"003\.png: cannot be read \(.*\) \(and 1 more\); .* or raise predict\.max_bad"):
        predict.main(["@list.txt", "--out", "found.csv", "--sheet", "sheet.html"])
    assert Path("sheet.html").read_text().count("<img") == 39
    with Path("found.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [str(path) for path in few if path != few[3]]
    with Path("found.unreadable.csv").open(newline="") as file:
        unreadable = list(csv.DictReader(file))
    assert [row["path"] for row in unreadable] == [str(few[3]), "few/gone.png"]
    assert unreadable[1]["reason"] == "does not exist"
    assert "predict: 2 images cannot be read -> found.unreadable.csv" in capsys.readouterr().out
    # The list of an earlier run does not stay beside results without unreadable images.
    assert len(rows_of("few/below")) == 10
    assert not Path("found.unreadable.csv").exists()
    params = Path("params.yaml").read_text()
    Path("params.yaml").write_text(params.replace("max_bad: 0", "max_bad: 2"))
    predict.main(["@list.txt"])
    assert f"warning: {few[3]}: cannot be read" in capsys.readouterr().err


def test_a_batch_of_unreadable_images_has_no_features(few: list[Path]) -> None:
    predict.main(["few", "--embeddings", "--out", "whole.parquet"])
    content = read_yaml(Path("params.yaml"))
    content["predict"] |= {"batch_size": 2, "max_bad": 2}
    YAML(typ="safe", pure=True).dump(content, Path("params.yaml"))
    for path in few[:2]:
        path.write_bytes(b"nothing")
    predict.main(["few", "--embeddings", "--out", "rest.parquet"])
    whole, rest = pq.read_table("whole.parquet"), pq.read_table("rest.parquet")
    assert rest["path"].to_pylist() == whole["path"].to_pylist()[2:]
    assert rest.schema.field("embedding") == whole.schema.field("embedding")


def test_only_what_is_shown_is_predicted(few: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    few[39].write_bytes(b"nothing")  # beyond the first batch
    predict.main(["few"])
    assert "... and 20 more; write all of them to a file" in capsys.readouterr().out


@pytest.mark.usefixtures("workspace")
def test_a_frame_of_a_camera(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    cv2 = pytest.importorskip("cv2")

    class Camera:
        def __init__(self, number: int):
            self.number = number

        def isOpened(self) -> bool:  # noqa: N802
            return self.number == 1

        def read(self) -> tuple[bool, Any]:
            return True, np.full((8, 8, 3), (10, 20, 200), np.uint8)

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    with Image.open(io.BytesIO(camera.read_frame(1))) as image:
        assert image.getpixel((0, 0)) == (200, 20, 10)
    predict.main(["camera:1"])
    assert capsys.readouterr().out.splitlines()[1].startswith("camera:1 ")
    with pytest.raises(InputError, match=r"^camera:0: there is no such camera"):
        predict.main(["camera:0"])
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"^camera:1: needs OpenCV, which is not installed; run 'pip install .*opencv"):
        predict.main(["camera:1"])


def bad_zip(name: str) -> None:
    with zipfile.ZipFile("bad.zip", "w") as archive:
        archive.writestr(name, b"x")


def bomb() -> None:
    with zipfile.ZipFile("bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(60_000_000))


def damaged() -> None:
    Path("half.tar.gz").write_bytes(b"\x1f\x8b" + bytes(100))


@pytest.mark.parametrize(
    ("make", "argument", "message"),
    [
        (lambda: None, "nothing.png", r"^nothing\.png: does not exist; "),
        (lambda: None, "params.yaml", r"^params\.yaml: is not a JPEG, PNG, .* image; name an image or a folder"),
        (lambda: Path("l.txt").write_text("params.yaml\n"), "@l.txt", r"^params\.yaml: is not a JPEG, PNG, .* image; name an"),
        (lambda: None, "", r"^predict: one of the paths is empty"),
        (lambda: None, "*.jpeg", r"^\*\.jpeg: fits no image"),
        (lambda: None, "@nothing.txt", r"^@nothing\.txt: the list does not exist"),
        (lambda: None, "ftp://host/a.png", r"^ftp://host/a\.png: is no address that can be read"),
        (lambda: None, "https://host/a.zip", r"^https://host/a\.zip: archives and tables are read from files"),
        (lambda: Path("empty.txt").write_text("\n"), "@empty.txt", r"^@empty\.txt: the list is empty"),
        (lambda: Path("t.csv").write_text("a,b\n1,2\n"), "t.csv", r"^t\.csv: has no column \(of a, b\) that may be the path"),
        (lambda: Path("t.csv").write_text("path,label\na.png\n"), "t.csv", r"^t\.csv: cannot be read after row 0 \(a row has 1 cells"),
        (lambda: Path("t.csv").write_text(""), "t.csv", r"^t\.csv: is empty; write 'path,label' in the first line"),
        (lambda: Path("t.csv").write_text("path\n"), "t.csv", r"^t\.csv: has no rows"),
        (lambda: Path("t.csv").write_text("path,label\n,a\n"), "t.csv", r"^t\.csv: row 1 has no path"),
        (lambda: Path("t.jsonl").write_text("[]\n"), "t.jsonl", r"^t\.jsonl: cannot be read after row 0 \(a line is not an object"),
        (lambda: Path("t.parquet").write_bytes(b"no"), "t.parquet", r"^t\.parquet: cannot be read after row 0"),
        (lambda: bad_zip("../a.png"), "bad.zip", r"^bad\.zip: its member '\.\./a\.png' leads out of the archive"),
        (lambda: bad_zip("/a.png"), "bad.zip", r"^bad\.zip: its member '/a\.png' is an absolute path"),
        (bomb, "bomb.zip", r"^bomb\.zip: unpacks to more than 200 times its size, like a zip bomb"),
        (damaged, "half.tar.gz", r"^half\.tar\.gz: is not a \.zip or \.tar\.\* archive, or is damaged"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("workspace")
def test_odd_input_is_one_line(make: Callable[[], Any], argument: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    if message.startswith("^params"):  # found before a model is loaded
        monkeypatch.setattr("darkroom.api.named_model.open_model", None)
    with pytest.raises(InputError, match=message):
        predict.main([argument, "--out", "x.csv"])
    assert not Path("x.csv").exists()
    assert not Path("x.csv.parts").exists()


@pytest.mark.thorough
def test_features_take_the_same_inputs(few: list[Path], workspace: Path) -> None:
    Path("list.txt").write_text("".join(f"{path}\n" for path in few))
    predict.main(["few", "--embeddings", "--out", "a.parquet"])
    predict.main(["@list.txt", "--embeddings", "--out", "b.parquet"])
    one, other = (pq.read_table(f"{name}.parquet").drop_columns(["path"]) for name in "ab")
    assert one.equals(other)
    write_table(workspace / "table.csv", [(str(path), "1") for path in few])
    predict.main(["table.csv", "--nearest", "2", "--among", "a.parquet", "--out", "n.parquet"])
    assert [near[0] for near in pq.read_table("n.parquet")["nearest"].to_pylist()] == [
        str(path.relative_to(workspace)) for path in few
    ]
    with zipfile.ZipFile("few.zip", "w") as archive:
        archive.write(few[0], "a.png")
    with pytest.raises(InputError, match=r"^few\.zip: a pretrained network reads files and folders alone"):
        predict.main(["few.zip", "--backbone", "pretrained", "--embeddings", "--out", "x.parquet"])
