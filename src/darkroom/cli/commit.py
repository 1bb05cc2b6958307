"""./darkroom commit: the commit of an experiment, branch or tag, for parameters that name a training."""

from darkroom.base.errors import InputError
from darkroom.cli import parser_of


def main(arguments: list[str]) -> None:
    """Print the commit."""
    parser = parser_of(
        "commit",
        "train.init_from, train.resume_from and train.teacher.model take commits: a name can come to mean another training.",
        examples=["./darkroom commit my-experiment", "dvc exp run -S train.init_from=$(./darkroom commit my-experiment)"],
    )
    parser.add_argument("name", metavar="NAME", help="experiment, branch, tag, HEAD, HEAD~1, ...; NAME:FOLDER keeps the folder")
    name = parser.parse(arguments).name

    from darkroom.base import paths
    from darkroom.repository.git import commit_of
    from darkroom.repository.origins import COMMIT, with_commit
    from darkroom.versions.revisions import open_revision

    found = with_commit(paths.main_repository(), name)
    if found is None:
        open_revision(paths.main_repository(), name.partition(":")[0], ())  # says what is wrong
        raise InputError(f"{name}: is no version; name an experiment, a branch or a tag")
    revision, colon, folder = found.partition(":")
    whole = commit_of(paths.main_repository(), revision) if COMMIT.fullmatch(revision) else revision
    print(f"{whole}{colon}{folder}")
