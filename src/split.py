"""Stage split: decide which pictures train, validate and test; writes rows and counts to data/split, no pixels."""

from darkroom import paths
from darkroom.data.dividing import divide
from darkroom.data.pack import Pack
from darkroom.data.splits import summary, write_split
from darkroom.errors import run_command
from darkroom.params_file import load_params
from darkroom.workspace import running


def main() -> None:
    """Run the stage."""
    with running("split") as stage:
        params = load_params(paths.PARAMS)
        pack = Pack.open(paths.RAW)
        division = divide(pack, params.split, params.base.seed)
        with stage.replaced_dir(paths.SPLIT) as directory:
            write_split(directory, pack, division, params.split, params.base.seed)
        print(f"split: {summary(pack, division)}")


if __name__ == "__main__":
    run_command(main)
