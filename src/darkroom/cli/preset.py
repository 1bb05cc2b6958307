"""./darkroom preset: presets of conf/ as arguments of `dvc exp run`."""

import shlex

from darkroom.cli import parser_of, suggest


def main(arguments: list[str]) -> None:
    """Print presets as arguments, or the list of presets."""
    parser = parser_of(
        "preset",
        "Without a name, list the presets. If it fails, it prints an argument that DVC refuses, so that nothing runs.",
        examples=[
            "./darkroom preset",
            "dvc exp run $(./darkroom preset cifar10)",
            "dvc exp run $(./darkroom preset cifar10 recipes/cifar_resnet18) -S train.epochs=10",
        ],
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="presets of conf/, or paths of .yaml files; later ones win")
    names = parser.parse(arguments).names

    from darkroom.base import paths
    from darkroom.base.yaml_file import read_yaml
    from darkroom.experiments.presets import preset_names, read_preset, set_arguments, summary

    if names:
        overlays = {name: read_preset(paths.PRESETS, name) for name in names}
        print(*set_arguments(read_yaml(paths.PARAMS), overlays))
        suggest(f"preset: to run it, type: dvc exp run $(./darkroom preset {shlex.join(names)})")
        return
    known = preset_names(paths.PRESETS)
    width = max(map(len, known), default=0)
    for name in known:
        print(f"{name:<{width}}  {summary(paths.PRESETS, name)}")
    suggest("preset: 'dvc exp run $(./darkroom preset NAME)' runs one, 'cat conf/NAME.yaml' shows it")
