"""Show where the time of a training goes: python tools/profile_training.py [--seconds 60]. Changes nothing.

Trains what params.yaml says on the data here, from scratch and without a teacher, for so long, in a folder of its own.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from darkroom.base import paths
from darkroom.base.command import run_command
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Show where the time of a training goes.")
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    content = read_yaml(paths.PARAMS)
    content["train"] |= {"epochs": 10**6, "early_stopping": None, "inspect": ["profiler"]}
    content["train"]["trainer"] |= {"max_time": {"seconds": seconds}}
    params = check_params(content)
    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)
    pack.withhold(split.rows["test"])

    from darkroom.training.auto_precision import resolve_auto
    from darkroom.training.checkpoints.saved_states import StateStore
    from darkroom.training.fit import fit
    from darkroom.training.plan import make_plan

    with tempfile.TemporaryDirectory() as folder:
        store = StateStore(Path(folder, "states"), {})
        with store.held():
            fit(resolve_auto(make_plan(params, pack, split.rows["train"])), split, store, logs=Path(folder))
        (written,) = Path(folder).glob("*/profile.txt")
        print(written.read_text().partition("\n\n")[0])


if __name__ == "__main__":
    run_command(main)
