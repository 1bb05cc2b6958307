"""./darkroom export: a model as files for other programs, each compared with the model on real images."""

from pathlib import Path

from darkroom.api.named_model import MODEL_HELP, open_model
from darkroom.base.errors import InputError, nearest
from darkroom.cli import parser_of, suggest
from darkroom.outputs.parser import CommandParser

FORMATS = ("onnx", "openvino", "openvino-int8", "torch")
ALLOW_LOSS, DEFAULT_LOSS = "--allow-loss", 0.3


def main(arguments: list[str]) -> None:
    """Write the files to a folder, and say how they compare."""
    chosen = _parser().parse(arguments)

    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.params_file import load_sections

    formats = list(dict.fromkeys(chosen.format or ["onnx"]))
    for name in formats:
        if name not in FORMATS:
            hint = nearest(name, FORMATS, f"there are {', '.join(FORMATS)}")
            raise InputError(f"--format: there is no format '{name}'; {hint}")
    allowed = _check_loss(chosen.allow_loss, formats)
    ignore_variables()
    params = load_sections(paths.PARAMS, "base", "train", "predict", "hardware")
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split

    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)
    pack.withhold(split.rows["test"])

    from darkroom.export.export import export_model, make_exporter
    from darkroom.export.formats import FORMATS as WRITTEN

    for name in formats:
        WRITTEN[name].check(name)
    predictor, tta = make_exporter(lambda: open_model(chosen.model, params, "predict"), params)
    export_model(
        predictor,
        pack,
        split.rows["val"],
        formats,
        chosen.out,
        tta=tta,
        calibration=split.rows["train"],
        allowed=allowed,
        option=ALLOW_LOSS,
        tell=lambda written: print(*written.lines(chosen.out), sep="\n", flush=True),
    )
    if "onnx" in formats:
        suggest(f"python {chosen.out}/classify.py PHOTO   # needs onnxruntime, numpy and Pillow alone")


def _parser() -> CommandParser:
    parser = parser_of(
        "export",
        "Each takes images (N, H, W, 3) of any size in uint8, crops, resizes and normalises them as predict does, and gives "
        "calibrated probabilities. It is compared with the model on images of validation: one other decision, and nothing is "
        "written; openvino-int8 may decide otherwise, and says what accuracy it loses. Beside ONNX stands classify.py, which "
        "needs onnxruntime, numpy and Pillow alone.",
        examples=[
            "./darkroom export",
            "./darkroom export --format onnx --format openvino --out exported",
            "./darkroom export --format openvino-int8 --allow-loss 0.5",
            "./darkroom export --model classifier@prod --out exported",
        ],
    )
    parser.add_argument(
        "--format", action="append", metavar="FORMAT", help=f"{', '.join(FORMATS)}; may be given several times (default: onnx)"
    )
    parser.add_output("--out", other=_other, default=Path("exported"), metavar="FOLDER", help="is replaced (default: exported)")
    parser.add_argument(
        ALLOW_LOSS, type=float, metavar="POINTS", help="openvino-int8: points of validation accuracy it may lose (default: 0.3)"
    )
    parser.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP} (default: models)")
    return parser


def _check_loss(points: float | None, formats: list[str]) -> float:
    """Return the points that int8 may lose, as the option says or by default."""
    if points is None:
        return DEFAULT_LOSS
    if "openvino-int8" not in formats:
        raise InputError(f"{ALLOW_LOSS}: only openvino-int8 may lose accuracy; add --format openvino-int8, or remove it")
    if not 0 <= points <= 100:
        raise InputError(f"{ALLOW_LOSS}: is {points:g}, but should be between 0 and 100 points, such as 0.5")
    return points


def _other(out: Path) -> str | None:
    from darkroom.export.folder import other_file

    return other_file(out)
