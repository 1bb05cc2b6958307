"""An S3 server on 127.0.0.1, by moto, that fails where a test tells it to."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import boto3
import requests
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
Start = Callable[..., Any]
Fault = Callable[[Callable[[], Iterable[bytes]], Start], list[bytes]]


@dataclass
class ObjectStore:
    """The server: what stands in its one bucket, what was asked of it, and what goes wrong."""

    address: str
    application: Any
    asked: list[str] = field(default_factory=list)
    """Method, path and range of every request."""
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    """What becomes of the next answers to GETs of a path, one each."""
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    """What happens once, before a path is read."""

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "very secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": "/nowhere/config",
            "AWS_SHARED_CREDENTIALS_FILE": "/nowhere/credentials",
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    @property
    def client(self) -> Any:
        return boto3.client(
            "s3", endpoint_url=self.address, aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1"
        )

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket="bucket", Key=key, Body=data)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket="bucket", Key=key)

    def __call__(self, environ: dict[str, Any], start: Start) -> list[bytes]:
        path = environ["PATH_INFO"]
        self.asked.append(f"{environ['REQUEST_METHOD']} {path} {environ.get('HTTP_RANGE', '')}".rstrip())
        if environ["REQUEST_METHOD"] == "GET" and path in self.before:
            self.before.pop(path)()
        faults = self.faults.get(path, []) if environ["REQUEST_METHOD"] == "GET" else []
        answer = partial(self.application, environ, start)
        return faults.pop(0)(answer, start) if faults else list(answer())


def refuses(status: str, code: str, message: str = "as the test wants it") -> Fault:
    """Answer with an error of S3."""

    def fault(_: Callable[[], Iterable[bytes]], start: Start) -> list[bytes]:
        body = ERROR.format(code=code, message=message).encode()
        start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]

    return fault


def whole(answer: Callable[[], Iterable[bytes]], _: Start) -> list[bytes]:
    """Answer as if nothing were wrong."""
    return list(answer())


def breaks_off(answer: Callable[[], Iterable[bytes]], _: Start) -> list[bytes]:
    """Send less than was announced."""
    return [b"".join(answer())[:20]]


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Serve one empty bucket, called bucket."""
    store = ObjectStore("", DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, store, threaded=True)
    store.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        store.client.create_bucket(Bucket="bucket")
        yield store
    finally:
        # Moto's state is the whole process's.
        requests.post(f"{store.address}/moto-api/reset", timeout=10).raise_for_status()
        server.shutdown()
        thread.join()
        server.server_close()
