"""Print a preset as arguments: dvc exp run $(python src/preset.py cifar10). Without a name, list the presets."""

import argparse

from darkroom import paths
from darkroom.command import run_command
from darkroom.errors import InputError
from darkroom.params_file import read_yaml
from darkroom.presets import preset_names, read_preset, set_arguments, summary


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Print presets as arguments of dvc exp run; later ones win.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a preset of conf/; none: list them")
    names = parser.parse_args().names
    if names:
        try:
            overlays = {name: read_preset(paths.PRESETS, name) for name in names}
            print(*set_arguments(read_yaml(paths.PARAMS), overlays))
        except InputError:
            # Without a word here, `dvc exp run $(…)` would run what params.yaml says and call it this preset.
            print("preset-failed")
            raise
        return
    for name in preset_names(paths.PRESETS):
        print(f"{name:<16}{summary(paths.PRESETS, name)}")


if __name__ == "__main__":
    run_command(main)
