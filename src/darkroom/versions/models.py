"""The published model of a revision, or of a folder, as bytes."""

from pathlib import Path

from darkroom.base.errors import InputError
from darkroom.versions.revisions import open_revision

MODEL = ("model.json", "model.safetensors")
MODELS = "models"


def read_model(root: Path, repository: Path, name: str) -> tuple[str, dict[str, bytes]]:
    """Read the published model of a folder or of a revision.

    Parameters
    ----------
    root
        What the path of a folder is relative to.
    repository
        The Git repository with the branches and experiments.
    name
        Path, commit, branch, tag or experiment; `commit:folder` for a folder other than `models`.

    Returns
    -------
    name, content
        The name with the commit, and the bytes of each file.

    Raises
    ------
    InputError
        If there is no such model.
    """
    path = root / name
    if path.resolve().is_relative_to(root.resolve() / MODELS):
        raise InputError(f"{name}: is removed when training starts; name a revision, such as HEAD:{name}")
    if path.is_dir():
        try:
            return name, {file: (path / file).read_bytes() for file in MODEL}
        except FileNotFoundError as error:
            missing = Path(str(error.filename)).name
            raise InputError(f"{name}: has no {missing}; name the folder of a published model, or a revision") from None
    # As in `git show`; no name in Git has a colon.
    commit, _, folder = name.partition(":")
    revision = open_revision(repository, commit, (MODELS,))
    content = {file: revision.read(f"{folder.rstrip('/') or MODELS}/{file}") for file in MODEL}
    return (f"{revision}:{folder}" if folder else str(revision)), content
