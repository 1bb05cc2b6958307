"""Stage download: read the images of params.yaml's source, check every one, and pack them into data/raw."""

import argparse
from pathlib import Path

from darkroom import paths
from darkroom.command import run_command
from darkroom.errors import InputError
from darkroom.params import DownloadParams
from darkroom.params_file import load_params
from darkroom.sources.fetch import checksum, shown_archive
from darkroom.sources.pack_writer import summary, write_pack
from darkroom.sources.read import read_source
from darkroom.stage.runner import running


def main() -> None:
    """Run the stage, or print a checksum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--checksum",
        nargs="?",
        const="",
        metavar="ARCHIVE",
        help="only print the SHA-256 of a path or address; without one, of download.archive",
    )
    archive = parser.parse_args().checksum
    if archive is not None:
        print_checksum(load_params(paths.PARAMS).download, archive)
        return
    with running("download") as stage:
        params = load_params(paths.PARAMS).download
        with stage.replaced_dir(paths.RAW) as directory, read_source(params, directory) as listing:
            dataset = write_pack(listing, directory, params)
            line = summary(dataset, directory)
    print(f"download: {line}")


def print_checksum(params: DownloadParams, archive: str) -> None:
    """Print the checksum of the archive that stands behind its address now, and how to set it."""
    if archive:
        # Paths on the command line are relative to where it is typed, those in params.yaml to the repository.
        where = str(Path(archive).resolve()) if Path(archive).exists() else archive
        params = params.model_copy(update={"archive": where})
    if params.archive is None:
        raise InputError("params.yaml: download.archive: is null; set it to a path or an address, or name one behind --checksum")
    digest = checksum(params)
    chosen = f" -S download.source=archive -S download.archive={params.archive}" if archive else ""
    print(f"{digest}  {shown_archive(params)}")
    print(f"If that is the archive you mean: dvc exp run{chosen} -S download.sha256={digest}")


if __name__ == "__main__":
    run_command(main)
