"""Stage split: decide which pictures train, validate and test; writes rows and counts to data/split, no pixels."""

import numpy as np

from darkroom import paths
from darkroom.data.listing import SPLITS
from darkroom.data.pack import Pack
from darkroom.data.splits import divide, write_split
from darkroom.errors import run_command
from darkroom.params_file import load_params
from darkroom.workspace import running


def main() -> None:
    """Run the stage."""
    with running("split") as stage:
        params = load_params(paths.PARAMS)
        pack = Pack.open(paths.RAW)
        splits = divide(pack, params.split, params.base.seed)
        with stage.replaced_dir(paths.SPLIT) as directory:
            write_split(directory, pack, splits, params.split, params.base.seed)
    counts = ", ".join(f"{np.sum(splits == name)} {name}" for name in SPLITS)
    left_out = int(np.sum(splits == "left_out"))
    note = f"; {left_out} left out, the same pictures stand in val or test" if left_out else ""
    print(f"split: {counts}; {len(pack.classes)} classes{note}")


if __name__ == "__main__":
    run_command(main)
