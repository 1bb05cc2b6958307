"""./darkroom download: the checksum of an archive, before the stage download reads it."""

import shlex
from pathlib import Path

from darkroom.base.errors import InputError
from darkroom.cli import parser_of


def main(arguments: list[str]) -> None:
    """Print the SHA-256 of an archive, and the command that uses the archive."""
    parser = parser_of(
        "download",
        "An archive on another server is downloaded to the cache first. 'dvc repro download' downloads and packs the images.",
        examples=["./darkroom download --checksum photos.zip", "./darkroom download --checksum s3://bucket/photos.tar.gz"],
    )
    parser.add_argument(
        "--checksum",
        nargs="?",
        const="",
        metavar="ARCHIVE",
        help="a path or an address (default: params.yaml: download.archive)",
    )
    archive = parser.parse(arguments).checksum
    if archive is None:
        raise InputError("--checksum: is missing; run './darkroom download --checksum ARCHIVE', or 'dvc repro download'")

    from darkroom.base import paths
    from darkroom.base.params_file import load_sections
    from darkroom.base.secrets import refuse_secrets
    from darkroom.experiments.presets import override_text
    from darkroom.sources.fetch import checksum, shown_archive

    params = load_sections(paths.PARAMS, "download").download
    if archive:
        refuse_secrets(archive, "--checksum", "download.archive")
        # Paths on the command line are relative to the current folder, those in params.yaml to the repository.
        where = str(Path(archive).resolve()) if Path(archive).exists() else archive
        params = params.model_copy(update={"archive": where})
    if params.archive is None:
        raise InputError("params.yaml: download.archive: is null; set it to a path or an address, or name one after --checksum")
    digest = checksum(params)
    settings = ["download.source=archive", f"download.archive={override_text(params.archive)}"] if archive else []
    words = [word for setting in [*settings, f"download.sha256={digest}"] for word in ("-S", setting)]
    print(f"{digest}  {shown_archive(params)}")
    print(f"If that is the archive you mean: dvc exp run {shlex.join(words)}")
