"""./darkroom labels curve: accuracy by number of labelled images, as a table and a chart."""

from darkroom.base.errors import InputError
from darkroom.cli.labels import BACKBONE_HELP, sub_parser


def main(arguments: list[str]) -> None:
    """Print and draw accuracy by number of images."""
    parser = sub_parser(
        "curve",
        "Logistic heads are fitted to growing parts of the training images, on features of a pretrained network, and judged on "
        "validation, or in cross-validation where that is small; test is not looked at. A network that is trained as a whole "
        "learns from more images in its own way, often more.",
        ["./darkroom labels curve", "./darkroom labels curve --out curve.csv --chart curve.png"],
    )
    parser.add_output("--out", metavar="FILE", help="write the table as .csv")
    parser.add_output("--chart", metavar="FILE", help="where to draw it as .png (default: logs/labels-curve.png)")
    parser.add_argument("--backbone", metavar="NAME", help=BACKBONE_HELP)
    chosen = parser.parse(arguments)

    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.params_file import load_sections

    ignore_variables()
    for option, path, ending in (("--out", chosen.out, ".csv"), ("--chart", chosen.chart, ".png")):
        if path is not None and path.suffix.lower() != ending:
            raise InputError(f"{option}: {path} does not end with {ending}; name such a file")

    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split
    from darkroom.labels.curve import lines, measure_curve, sentence, write_points
    from darkroom.labels.curve_chart import draw_curve

    params = load_sections(paths.PARAMS, "base", "split", "train", "hardware")
    pack = Pack.open(paths.RAW)
    curve = measure_curve(pack, Split.open(paths.SPLIT, pack), params, chosen.backbone)
    chart = chosen.chart or paths.logs_dir() / "labels-curve.png"
    draw_curve(chart, curve)
    if chosen.out is not None:
        write_points(chosen.out, curve.points)
    print(*lines(curve), sep="\n")
    print(f"labels curve: {sentence(curve)}")
    print(f"labels curve: chart in {paths.shown(chart.absolute())}" + (f", table in {chosen.out}" if chosen.out else ""))
