"""A small Hugging Face hub on 127.0.0.1: data sets and models with their files, at one commit each, by the addresses that the libraries ask."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What it serves, what it was asked, and how it fails."""

    address: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Content by path, by data set or model."""
    asked: list[str] = field(default_factory=list)
    status: int = 200
    """What every request is answered with if it is not 200."""
    licence: str | list[str] | None = "mit"
    cut: bool = False
    """Close the connection in the middle of a file."""


@contextmanager
def hub() -> Iterator[Hub]:
    """Serve until the block ends."""
    served = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": served}))
    served.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        wanted = parse_qs(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()).get("paths", [])
        path, _, query = unquote(self.path).partition("?")
        self.hub.asked.append(f"{self.command} {path}")
        if self.hub.status != 200:
            return self.answer(b"", self.hub.status)
        name = "/".join(re.sub(r"^(/api)?(/datasets|/models)?/", "", path).split("/")[:2])
        files = self.hub.files.get(name)
        if files is None:
            return self.answer(b"", 404, {"X-Error-Code": "RepoNotFound"})
        rest = path[path.index(name) + len(name) :]
        revision = re.match(r"/(?:revision|resolve|tree|paths-info)/([^/]*)", rest)
        if revision and revision[1] not in (COMMIT, "main"):
            return self.answer(b"", 404, {"X-Error-Code": "RevisionNotFound"})
        if rest == "" or rest.startswith("/revision/"):
            siblings = [{"rfilename": file} for file in files]
            return self.json({"id": name, "sha": COMMIT, "cardData": {"license": self.hub.licence}, "siblings": siblings})
        if rest.startswith("/paths-info/"):
            return self.json([entry for entry in _entries(files) if entry["path"] in wanted])
        if rest.startswith("/tree/"):
            depth = None if "recursive=true" in query.lower() else 0
            return self.json([entry for entry in _entries(files) if depth is None or entry["path"].count("/") == depth])
        file = rest.removeprefix(f"/resolve/{revision[1]}/" if revision else "")
        if file not in files:
            return self.answer(b"", 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        tag = hashlib.sha256(files[file]).hexdigest()
        return self.answer(files[file], 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{tag}"'})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def json(self, content: object) -> None:
        self.answer(json.dumps(content).encode(), 200, {"Content-Type": "application/json"})

    def answer(self, data: bytes, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            if self.hub.cut and len(data) > 1000:
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
            else:
                self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def _entries(files: dict[str, bytes]) -> list[dict[str, object]]:
    folders = sorted({file.rpartition("/")[0] for file in files} - {""})
    return [{"type": "directory", "path": folder, "oid": "0" * 40} for folder in folders] + [
        {"type": "file", "path": file, "size": len(data), "oid": hashlib.sha1(data).hexdigest()} for file, data in files.items()
    ]
