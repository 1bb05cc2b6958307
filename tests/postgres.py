"""A PostgreSQL server of a test's own, which the test starts and stops."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def program(name: str) -> str | None:
    """Return the path of one of the server's programs, None where it is not installed."""
    return shutil.which(name) or next((str(place / name) for place in PLACES if (place / name).is_file()), None)


@contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """Run a server in a folder, and yield the address of its database."""
    initdb, pg_ctl = program("initdb"), program("pg_ctl")
    assert initdb
    assert pg_ctl
    data, port = folder / "data", _free_port()
    data.mkdir()
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    if user is not None:
        owner = pwd.getpwnam(user)
        for place in (folder, data):
            os.chown(place, owner.pw_uid, owner.pw_gid)
        for parent in folder.parents:  # pytest's own are closed to others
            if parent.stat().st_uid == 0 and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)

    def run(*command: str) -> None:
        subprocess.run(command, cwd=folder, user=user, group=user, extra_groups=[], check=True, capture_output=True, timeout=120)

    run(initdb, "--pgdata", str(data), "--username=darkroom", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
    options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
    # Its log is a file: a server that inherits a pipe keeps it open.
    run(pg_ctl, "--pgdata", str(data), "--wait", "--silent", "--log", str(folder / "log"), "--options", options, "start")
    try:
        yield f"postgresql://darkroom@127.0.0.1:{port}/postgres"
    finally:
        run(pg_ctl, "--pgdata", str(data), "--wait", "--silent", "--mode=immediate", "stop")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
