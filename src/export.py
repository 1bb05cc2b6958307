"""Stage export: write the published model for other programs, each file compared with the model (models/exported)."""

from darkroom.stage.observed import observe

observe(__name__)  # before anything else is imported

import os

from darkroom.base import files, paths
from darkroom.base.command import run_stage, stage_parser
from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.base.params_file import load_params
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.stage.record import RECORD
from darkroom.stage.runner import running


def main() -> None:
    """Run the stage: of DVC for one format, by hand for all of them."""
    params = load_params(paths.PARAMS)
    if not params.export.formats:
        raise InputError("params.yaml: export.formats: is empty, so there is nothing to export; set it, such as to [onnx]")
    one = os.environ.get("DVC_STAGE", "").partition("@")[2]
    for name in [one] if one else params.export.formats:
        _export(name, params)


def _export(name: str, params: Params) -> None:
    with running(f"export@{name}") as stage:
        pack = Pack.open(paths.RAW)
        split = Split.open(paths.SPLIT, pack)
        pack.withhold(split.rows["test"])

        from darkroom.export.export import export_model, make_exporter
        from darkroom.export.formats import FORMATS

        FORMATS[name].check(name)
        place, table = paths.EXPORTED / name, paths.EXPORT_TABLES / f"{name}.json"
        with stage.replaced(table, place) as (metrics, folder):
            predictor, tta = make_exporter(paths.MODELS, params)
            (written,) = export_model(
                predictor,
                pack,
                split.rows["val"],
                [name],
                folder,
                tta=tta,
                calibration=split.rows["train"],
                allowed=params.export.allow_loss,
                option="export.allow_loss",
            )
            files.write_json(metrics, written.record())
            stage.record(folder / RECORD, {paths.shown(place): folder, paths.shown(table): metrics})
    print(*written.lines(place), sep="\n")


if __name__ == "__main__":
    run_stage(main, stage_parser("export", __doc__, "./darkroom export   # to a folder of yours; nothing is recorded"))
