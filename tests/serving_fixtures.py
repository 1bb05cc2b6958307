"""A server in this process, with a network for the digits that was not trained, and photos of many kinds."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explanation_fixtures import build, digits_predictor
from PIL import Image
from starlette.testclient import TestClient

from darkroom.base.params import Params
from darkroom.serving.collected import Collected
from darkroom.serving.explaining import Explaining
from darkroom.serving.limits import Limits
from darkroom.serving.served import Served
from darkroom.serving.server import Server
from darkroom.serving.service import Loaded

Start = Callable[..., TestClient]
SMALL = {"hardware.accelerator": "cpu", "train.threads": 1}


def encoded(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="session")
def mixed() -> dict[str, bytes]:
    """Photos of several formats, sizes and modes; one is turned by EXIF."""
    random = np.random.default_rng(0)
    colour = Image.fromarray(random.integers(0, 256, (90, 120, 3), np.uint8))
    exif = colour.getexif()
    exif[0x0112] = 6
    return {
        "a.jpg": encoded(colour, "JPEG"),
        "turned.jpg": encoded(colour.resize((301, 77)), "JPEG", exif=exif),
        "cmyk.jpg": encoded(colour.convert("CMYK"), "JPEG"),
        "alpha.png": encoded(colour.convert("RGBA").resize((31, 64)), "PNG"),
        "grey16.png": encoded(random.integers(0, 65536, (40, 40), np.uint16)),
        "palette.gif": encoded(colour.convert("P"), "GIF"),
        "b.webp": encoded(colour, "WEBP"),
        "c.tif": encoded(colour, "TIFF"),
        "small.bmp": encoded(random.integers(0, 256, (8, 8), np.uint8), "BMP"),
    }


@pytest.fixture
def params(make_params: Callable[..., Params]) -> Params:
    return make_params(SMALL)


def served(name: str, digits: Any, params: Params, **about: Any) -> Served:
    network = build("small_cnn", channels=1, num_classes=10, width=4).network
    told = {"threads": 1, "data_sha256": {}, "weights_sha256": name[:1] * 64, "params": {"base": {"seed": 1}}} | about
    model = digits_predictor(digits, network, **told).model
    return Served(name, lambda: model, params, 4, "1.0")


@pytest.fixture
def start(digits: Any, params: Params) -> Iterator[Start]:
    """Return what starts a server: `start(Limits(max_images=2), token=…, collect=folder, names=("a", "b"))`."""
    clients: list[TestClient] = []

    def started(
        limits: Limits | None = None,
        *,
        token: str | None = None,
        hosts: tuple[str, ...] = (),
        collect: Path | None = None,
        names: tuple[str, ...] = ("models",),
        wait: bool = True,
        **about: Any,
    ) -> TestClient:
        def load() -> Loaded:
            models = [Explaining(served(name, digits, params, **about)) for name in names]
            return Loaded(models, Collected(collect, digits.pack.classes, digits.pack) if collect else None)

        server = Server(limits or Limits(), load, hosts=hosts, token=token, version="1.0")
        client = TestClient(server.guard, base_url="http://127.0.0.1", raise_server_exceptions=False)
        client.server = server  # type: ignore[attr-defined]
        clients.append(client.__enter__())
        while wait and client.get("/health").status_code != 200:
            assert server._error is None, server._error
        return client

    yield started
    for client in clients:
        client.__exit__(None, None, None)
