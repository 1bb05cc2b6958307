"""What goes wrong with the content of files of other revisions, as an error that names the file."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from darkroom.base.errors import InputError
from darkroom.versions.revisions import Revision

DAMAGED = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OSError, pa.ArrowException, csv.Error)


@contextmanager
def reading(path: str, revision: Revision) -> Iterator[None]:
    """Turn what goes wrong with the content of a file into an InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except DAMAGED as error:
        way_out = "check that commit out and run './darkroom verify'" if revision.commit else "run 'dvc checkout --force'"
        text = f"{type(error).__name__}: {error}"[:200]
        raise InputError(f"{path}: is damaged in {revision.name} ({text}); {way_out}") from error
