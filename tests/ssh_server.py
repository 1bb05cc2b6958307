"""An SSH server on 127.0.0.1, by asyncssh, that serves the files of one folder to whoever has the key."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh


@contextmanager
def ssh_server(served: Path, home: Path, opened: Callable[[str], None] = lambda _: None) -> Iterator[str]:
    """Yield the address of the folder, once `home` holds a key for it and knows the server.

    `opened` is told the path of a file whenever one is opened.
    """
    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    settings = home / ".ssh"
    settings.mkdir(parents=True)
    user.write_private_key(str(settings / "id_ed25519"))
    user.write_public_key(str(settings / "authorized"))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    connections: list[Any] = []
    keys = {"server_host_keys": [host], "authorized_client_keys": str(settings / "authorized")}
    files = partial(_Files, chroot=bytes(served), opened=opened)

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen("127.0.0.1", 0, sftp_factory=files, acceptor=connections.append, **keys)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result()
    try:
        port = server.get_port()
        (settings / "known_hosts").write_text(f"[127.0.0.1]:{port} {host.export_public_key().decode()}")
        yield f"ssh://somebody@127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(_close([server, *connections]), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class _Files(asyncssh.SFTPServer):
    def __init__(self, channel: Any, *, chroot: bytes, opened: Callable[[str], None]):
        super().__init__(channel, chroot=chroot)
        self.opened = opened

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        self.opened(path.decode())
        return super().open(path, pflags, attrs)


async def _close(open_ones: list[Any]) -> None:
    for each in open_ones:
        each.close()
        await each.wait_closed()
