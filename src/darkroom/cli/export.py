"""./darkroom export: a model as files for other programs, each compared with the model on real images."""

from pathlib import Path

from darkroom.api.named_model import MODEL_HELP, open_model
from darkroom.base.errors import InputError, nearest
from darkroom.cli import parser_of, suggest
from darkroom.cli.predict import check_place

FORMATS = ("onnx", "openvino", "torch")


def main(arguments: list[str]) -> None:
    """Write the files to a folder, and say how they compare."""
    parser = parser_of(
        "export",
        "Each takes images (N, H, W, 3) of any size in uint8, crops, resizes and normalises them as predict does, and gives "
        "calibrated probabilities. It is compared with the model on images of validation: one other decision, and nothing is "
        "written. Beside ONNX stands classify.py, which needs onnxruntime, numpy and Pillow alone.",
        examples=[
            "./darkroom export",
            "./darkroom export --format onnx --format openvino --out exported",
            "./darkroom export --model classifier@prod --out exported",
        ],
    )
    parser.add_argument(
        "--format", action="append", metavar="FORMAT", help=f"{', '.join(FORMATS)}; may be given several times (default: onnx)"
    )
    parser.add_argument("--out", type=Path, default=Path("exported"), metavar="FOLDER", help="is replaced (default: exported)")
    parser.add_argument("--model", metavar="MODEL", help=f"{MODEL_HELP} (default: models)")
    chosen = parser.parse(arguments)

    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.params_file import load_sections

    formats = list(dict.fromkeys(chosen.format or ["onnx"]))
    for name in formats:
        if name not in FORMATS:
            hint = nearest(name, FORMATS, f"there are {', '.join(FORMATS)}")
            raise InputError(f"--format: there is no format '{name}'; {hint}")
    _check_folder(chosen.out)
    ignore_variables()
    params = load_sections(paths.PARAMS, "base", "train", "predict", "hardware")
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split

    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)
    pack.withhold(split.rows["test"])

    from darkroom.export.export import export_model
    from darkroom.export.formats import FORMATS as WRITTEN
    from darkroom.inference.predictor import Predictor

    for name in formats:
        WRITTEN[name].check(name)
    plain = params.predict.model_copy(update={"backend": "torch", "precision": "32-true"})
    params = params.model_copy(update={"predict": plain})
    predictor = Predictor.load(lambda: open_model(chosen.model, params, "predict"), params, "predict")
    for each in export_model(predictor, pack, split.rows["val"], formats, chosen.out, tta=plain.tta):
        ties = f", {each.parity.ties} ties apart" if each.parity.ties else ""
        print(
            f"export: {each.path} ({each.num_bytes / 1e6:.1f} MB): the same decisions on {each.parity.images} images{ties}, "
            f"probabilities within {each.parity.largest_difference:.1g}"
        )
    if "onnx" in formats:
        suggest(f"python {chosen.out}/classify.py PHOTO   # needs onnxruntime, numpy and Pillow alone")


def _check_folder(out: Path) -> None:
    """Refuse a folder that holds something else than an export."""
    check_place(out)
    if out.exists() and not (out.is_dir() and ((out / "parity.json").is_file() or not any(out.iterdir()))):
        raise InputError(f"--out: {out} exists and is no export; name another folder")
    if not out.absolute().parent.is_dir():
        raise InputError(f"--out: the folder {out.parent} does not exist; create it first")
