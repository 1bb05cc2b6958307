"""Stage check: read params.yaml as a whole and refuse every mistake in it, before DVC removes the results of another stage."""

from darkroom.base import files, paths
from darkroom.base.command import run_stage, stage_parser
from darkroom.base.params_file import load_params
from darkroom.hardware.processes import check_processes, known_processes
from darkroom.stage.runner import refuse_smoke_test, running, with_way_back

# The same every time, so that no other stage runs again after it.
FOUND = (
    "params.yaml holds no mistake that can be seen before the data. The stage check writes this line; download waits for it.\n"
)


def main() -> None:
    """Run the stage."""
    with running("check") as stage, with_way_back():
        params = load_params(paths.PARAMS)
        refuse_smoke_test(params)
        check_processes(params, known_processes(params.hardware))
        stage.check()
        files.write_text(paths.CHECKED, FOUND)


if __name__ == "__main__":
    run_stage(main, stage_parser("check", __doc__))
