"""Where a study is stored: a journal file or a database; its errors on one line."""

import fcntl
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock, get_lock_file
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from darkroom.base.errors import InputError, RunError, one_line, warn
from darkroom.base.files import WRITING, make_file

KEY = "params.yaml: tune.storage"
# By default SQLAlchemy takes drivers for these that the project does not install.
DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "mysql": "mysql+pymysql"}
# Attempts to open a database whose tables another search creates at the same moment.
MAX_ATTEMPTS = 5


class JournalLock(BaseJournalFileLock):
    """Lock of a journal. The system releases it when its process dies; Optuna's own locks would stay and block others.

    Parameters
    ----------
    path
        Path of the journal.
    """

    def __init__(self, path: Path):
        self.path = Path(f"{path}.lock")
        self.of_thread = threading.local()

    def acquire(self) -> bool:
        """Wait for the lock."""
        self.of_thread.file = self.path.open("ab")
        fcntl.flock(self.of_thread.file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Release the lock."""
        self.of_thread.file.close()


def open_storage(address: str | None, root: Path, study: str) -> tuple[BaseStorage, str]:
    """Open a storage, and return it with its address for optuna-dashboard, without a password.

    Parameters
    ----------
    address
        `tune.storage`.
    root
        The repository, which paths are relative to.
    study
        Name of the study, and by default of its journal.

    Raises
    ------
    InputError
        If it is damaged or cannot be reached.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if address is not None and "://" in address:
        return _database(address), _shown(_full(address))
    path = root / (address or f"search/{study}.journal")
    make_file(path)
    lock = JournalLock(path)
    with get_lock_file(lock):
        check_journal(path)
    with faults(str(path)):
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock)), str(path)


def check_journal(path: Path) -> None:
    """Check every record of a journal that no process writes to now, and remove an incomplete one at its end.

    Raises
    ------
    InputError
        Naming the damaged line.
    """
    data = path.read_bytes() if path.is_file() else b""
    whole, _, torn = data.rpartition(b"\n")
    if torn:
        warn(f"{path}: its last record is incomplete, since a search was killed while writing it; it is removed")
        with path.open("r+b") as file:
            file.truncate(len(data) - len(torn))
    for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
        try:
            known = isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            known = False
        if not known:
            raise InputError(
                f"{path}:{number}: is damaged; restore the file from a backup, or give tune.study a new name "
                "(the experiments of its trials are not affected: 'dvc exp show')"
            )


@contextmanager
def faults(where: str) -> Iterator[None]:
    """Turn errors of a storage into one line."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = error.__cause__ or error
        raise RunError(
            f"{where}: the study cannot be read or written ({_first_line(cause)}); "
            "fix the storage and run the same command again, which resumes; finished experiments are kept"
        ) from error


def _database(address: str) -> BaseStorage:
    shown = _shown(address)
    try:
        url = make_url(_full(address))
        if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
            _create_whole(Path(url.database))
        return _connect(_full(address))
    except ModuleNotFoundError as error:
        raise InputError(f"{KEY}: {shown} needs the package {error.name}; install it (docs/search.md)") from error
    except Exception as error:  # of any kind, depending on the driver
        cause = error.__cause__ or error
        raise InputError(
            f"{KEY}: {shown} cannot be used ({_first_line(cause)}); start the server, or correct the address"
        ) from error


def _create_whole(path: Path) -> None:
    """Create an SQLite database in one step: a kill while its tables are created would leave them without unique indices."""
    with tempfile.TemporaryDirectory(prefix=WRITING, dir=path.parent) as folder:
        new = Path(folder, path.name)
        RDBStorage(f"sqlite:///{new}").engine.dispose()
        with suppress(FileExistsError):  # another search was faster
            path.hardlink_to(new)


def _connect(address: str) -> RDBStorage:
    for attempt in range(MAX_ATTEMPTS):
        # Made before it is initialised, so that its connections can be closed if that fails.
        storage = RDBStorage.__new__(RDBStorage)
        try:
            # pool_pre_ping: connections that the server has closed are opened again.
            storage.__init__(address, engine_kwargs={"pool_pre_ping": True, "pool_size": 20})  # type: ignore[misc]
        except (IntegrityError, ProgrammingError):  # another search is creating the tables
            storage.engine.dispose()
            if attempt == MAX_ATTEMPTS - 1:
                raise
            time.sleep(1)
        else:
            return storage
    raise AssertionError


def _full(address: str) -> str:
    scheme, _, rest = address.partition("://")
    return f"{DRIVERS.get(scheme, scheme)}://{rest}"


def _shown(address: str) -> str:
    try:
        return make_url(address).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "the address"


def _first_line(error: BaseException) -> str:
    return one_line((str(error).strip().splitlines() or [type(error).__name__])[0])[:200]
