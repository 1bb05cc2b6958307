"""./darkroom find speed and export: mistakes are one line before anything is computed; exports of another model are refused."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from explanation_fixtures import digits_predictor

from darkroom.base import paths
from darkroom.base.errors import InputError, RunError
from darkroom.cli import export, find
from darkroom.cli.find import speed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-sizes", "1,x"], r"--batch-sizes: is '1,x', but should be numbers from 1 to 4096 with commas, such as 1,8,32$"),
        (["--batch-sizes", "0"], r"--batch-sizes: is '0', but"),
        (["--batch-sizes", ""], r"--batch-sizes: is '', but"),
        (["--seconds", "-1"], r"--seconds: is -1, but should be more than 0, such as 60$"),
        (["--seconds", "nan"], r"--seconds: is nan"),
        (["--secnds", "1"], r"--secnds: unknown flag; did you mean '--seconds'\?"),
        (["--out", "nowhere/speed"], r"--out: the folder nowhere does not exist; create it first"),
        (
            ["--out", str(paths.ROOT / "src")],
            r"--out: .*src holds \S+, which was not written by ./darkroom find speed; name another folder",
        ),
        (["--out", str(paths.ROOT / "models" / "exported")], r"--out: .* is in models, which stages write"),
        (["--exported", "nowhere"], r"--exported: nowhere holds no export \(about.json\); run './darkroom export --out nowhere'"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find.main(["speed", *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--allow-loss", "1"], r"--allow-loss: only openvino-int8 may lose accuracy; add --format openvino-int8, or remove it"),
        (["--format", "openvino-int8", "--allow-loss", "-1"], r"--allow-loss: is -1, but should be between 0 and 100 points"),
        (["--format", "openvino-int8", "--allow-loss", "nan"], r"--allow-loss: is nan, but should be between"),
        (["--format", "openvino_int8"], r"--format: there is no format 'openvino_int8'; did you mean 'openvino-int8'\?"),
    ],
)
def test_mistakes_of_export(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        export.main(arguments)


@pytest.mark.slow
def test_where_nothing_was_measured_it_fails_and_says_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_measure", lambda *_: SimpleNamespace(timings=[]))
    with pytest.raises(RunError, match=r"^find: nothing was measured in 0\.1 s; give --seconds 1$"):
        speed.main(["--seconds", "0.1", "--out", str(tmp_path / "speed")])
    assert not (tmp_path / "speed").exists()


@pytest.mark.thorough
@pytest.mark.xdist_group("export")
def test_every_form_is_measured_and_another_models_export_is_refused(digits: Any, tmp_path: Path) -> None:
    from darkroom.export.export import export_model
    from darkroom.export.measuring import measure

    predictor, rows = digits_predictor(digits, positive_class=None, data_sha256={}, origin=None), digits.split.rows["val"][:50]
    folder = tmp_path / "exported"
    export_model(predictor, digits.pack, rows, ["torch"], folder)
    measured = measure(predictor, "none", digits.pack, rows, [folder], [1, 16], 1.0)
    rows_of = [dict(zip(measured.header(), row, strict=True)) for row in measured.rows()]
    assert {(row["form"], row["batch_size"]) for row in rows_of} == {
        (name, size) for name in ("eager", "torch") for size in (1, 16)
    }
    assert len({row["accuracy"] for row in rows_of}) == 1
    assert all(row["images"] == 50 and row["parameters"] > 1000 and row["peak_megabytes"] for row in rows_of)
    with pytest.raises(InputError, match=r"exported: was exported with predict.tta none, which is flip now; run"):
        measure(predictor, "flip", digits.pack, rows, [folder], [1], 1.0)
    about = json.loads((folder / "about.json").read_text()) | {"weights_sha256": "1"}
    (folder / "about.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=r"exported: is an export of another model than models; run './darkroom export --out "):
        measure(predictor, "none", digits.pack, rows, [folder], [1], 1.0)
    (folder / "about.json").write_text("{")
    with pytest.raises(InputError, match=r"about.json: is damaged; run './darkroom export' again"):
        measure(predictor, "none", digits.pack, rows, [folder], [1], 1.0)
