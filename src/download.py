"""Stage download: read the images of params.yaml's source, check every one, and pack them into data/raw."""

from darkroom.stage.observed import observe

observe(__name__)  # before anything else is imported

from darkroom.base import paths
from darkroom.base.command import run_stage, stage_parser
from darkroom.base.params_file import load_params
from darkroom.sources.corrections.applied import lines
from darkroom.sources.corrections.table import read_corrections
from darkroom.sources.pack_writer import summary, write_pack
from darkroom.sources.read import read_source
from darkroom.stage.runner import running


def main() -> None:
    """Run the stage."""
    with running("download") as stage:
        params = load_params(paths.PARAMS).download
        corrections = read_corrections(params.corrections)
        # Not in data/raw: by what code and settings the same images were read is no reason to train again.
        with stage.replaced(paths.DOWNLOAD_RECORD, paths.RAW) as (record, directory):
            with read_source(params, directory) as listing:
                dataset = write_pack(listing, directory, params, corrections)
                line = summary(dataset, directory)
            stage.record(record, {"data/raw": directory})
    for each in lines(dataset):
        print(each)
    print(f"download: {line} -> {paths.shown(paths.RAW)}")


if __name__ == "__main__":
    run_stage(main, stage_parser("download", __doc__, "dvc exp run -S download.source=folder -S download.folder=photos"))
