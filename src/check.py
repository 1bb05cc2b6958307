"""Stage check: read params.yaml as a whole and refuse every mistake in it, before DVC removes the results of another stage."""

from darkroom.stage.observed import observe

observe(__name__)  # before anything else is imported

from darkroom.base import files, paths
from darkroom.base.command import run_stage, stage_parser
from darkroom.base.nested import read_stages
from darkroom.base.params_file import load_params
from darkroom.base.yaml_file import read_yaml
from darkroom.hardware.processes import check_processes, known_processes
from darkroom.precheck.dependencies import check_dependencies, check_files
from darkroom.precheck.names import check_names
from darkroom.precheck.revisions import check_revisions
from darkroom.precheck.source_keys import check_source_keys
from darkroom.repository.way_back import with_way_back
from darkroom.stage.runner import refuse_smoke_test, running

# The same every time, so that no other stage runs again after it.
FOUND = (
    "params.yaml holds no mistake that can be seen before the data. The stage check writes this line; download waits for it.\n"
)


def main() -> None:
    """Run the stage."""
    with running("check") as stage, with_way_back():
        params = load_params(paths.PARAMS)
        refuse_smoke_test(params)
        check_dependencies(read_stages(paths.PIPELINE), read_yaml(paths.PARAMS), paths.ROOT)
        check_files(params)
        check_source_keys(params.download, paths.ROOT / "dvc.lock")
        check_revisions(params.train)
        check_names(params)
        check_processes(params, known_processes(params.hardware))
        stage.check()
        files.write_text(paths.CHECKED, FOUND)


if __name__ == "__main__":
    run_stage(main, stage_parser("check", __doc__))
