"""The published model of a revision, or of a folder, as bytes."""

from pathlib import Path

from darkroom.errors import InputError
from darkroom.versions.revisions import open_revision

MODEL = ("model.json", "model.safetensors")


def read_model(root: Path, repository: Path, name: str) -> tuple[str, dict[str, bytes]]:
    """Read the published model of a folder, or else of a revision.

    Parameters
    ----------
    root
        Where a folder's path begins.
    repository
        The Git repository that knows branches and experiments.
    name
        Path, commit, branch, tag or experiment.

    Returns
    -------
    name, content
        The name with the commit, and bytes by file.

    Raises
    ------
    InputError
        If there is no such model.
    """
    folder = root / name
    if folder.is_dir():
        try:
            return name, {file: (folder / file).read_bytes() for file in MODEL}
        except FileNotFoundError as error:
            missing = Path(str(error.filename)).name
            raise InputError(f"{name}: has no {missing}; name the folder of a published model, or a revision") from None
    revision = open_revision(repository, name, ("models",))
    return str(revision), {file: revision.read(f"models/{file}") for file in MODEL}
