"""./darkroom serve: one or two models behind HTTP, with a page to drop photos on."""

import ipaddress
import os
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.api.named_model import MODEL_HELP, open_model
from darkroom.base.errors import InputError, RunError, one_line
from darkroom.cli import parser_of
from darkroom.outputs.parser import CommandParser
from darkroom.outputs.rule import other_table

if TYPE_CHECKING:
    from darkroom.base.params import Params
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split
    from darkroom.models.saving import Published
    from darkroom.serving.explaining import Near
    from darkroom.serving.served import Served
    from darkroom.serving.service import Loaded

# Modules, and the packages that hold them.
PACKAGES = {
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}
USUAL = "models"
TOKEN = "DARKROOM_TOKEN"
SHORTEST_TOKEN = 16
MOST_MODELS = 2
MOST_NEAREST = 12
# Flag, default, least, most, and what it is. Numbers of images and requests are those of serving.limits.
NUMBERS = (
    ("--port", 8000, 0, 65535, "port; 0: any that is free"),
    ("--nearest", 5, 0, MOST_NEAREST, "nearest training images on the page, where data/raw is here; 0: none"),
    ("--max-bytes", 20_000_000, 1000, 1_000_000_000, "largest request"),
    ("--max-pixels", None, 1, None, "largest image (default: params.yaml: predict.max_pixels, which is also the most)"),
    ("--max-images", 16, 1, 1000, "images of a request"),
    ("--max-queue", 64, 1, 10_000, "requests that wait or are computed at once"),
    ("--timeout", 30, 1, 3600, "seconds that a request may take, its upload included"),
    ("--batch-size", 32, 1, 1024, "images that go through the network at once"),
)


def main(arguments: list[str]) -> None:
    """Serve until a signal comes."""
    chosen = _parser().parse(arguments)
    _check(chosen)
    token = _token(chosen)
    _check_packages()

    from darkroom.base import paths
    from darkroom.base.environment import ignore_variables
    from darkroom.base.params_file import load_sections
    from darkroom.serving.limits import Limits
    from darkroom.serving.server import Server, address_of, listen

    ignore_variables()
    params = load_sections(paths.PARAMS, "base", "train", "predict", "hardware")
    most = params.predict.max_pixels
    if chosen.max_pixels is not None and chosen.max_pixels > most:
        raise InputError(f"--max-pixels: is {chosen.max_pixels}, more than predict.max_pixels ({most}); raise that, or lower it")
    limits = Limits(
        max_bytes=chosen.max_bytes,
        max_images=chosen.max_images,
        max_pixels=chosen.max_pixels or most,
        max_queue=chosen.max_queue,
        timeout=chosen.timeout,
        batch_size=chosen.batch_size,
    )
    listening = listen(chosen.host, chosen.port)
    version = _version(paths.ROOT / "pyproject.toml")
    hosts = (*chosen.allow_host, chosen.host)
    print("serve: loads the model", flush=True)
    server = Server(limits, lambda: _load(chosen, params, version), hosts=hosts, token=token, version=version)
    server.serve_on(listening, address_of(listening))


def _parser() -> CommandParser:
    parser = parser_of(
        "serve",
        "Programs send images to /predict; people drop them on the page at /. It answers as './darkroom predict' does. "
        "/openapi.json describes all addresses; /health, /metrics and /model are for operators.",
        examples=[
            "./darkroom serve",
            "./darkroom serve --model models --model my-experiment --port 8080",
            "./darkroom serve --collect corrected",
            "./darkroom serve --host 0.0.0.0 --token-file token.txt --allow-host photos.example.com",
            "curl -F file=@photo.jpg http://127.0.0.1:8000/predict",
        ],
        statuses={"0": "stopped by Ctrl-C or SIGTERM, after answering all that was accepted"},
    )
    parser.add_argument(
        "--model", action="append", metavar="MODEL", help=f"{MODEL_HELP} (default: models); given twice, the page compares both"
    )
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (default: 127.0.0.1)")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which the server is asked; may be repeated",
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"holds the token that requests must carry; or set {TOKEN}; "
        "needed unless --host is an address of this machine alone",
    )  # fmt: skip
    parser.add_output(
        "--collect",
        other=partial(other_table, "./darkroom serve"),
        metavar="FOLDER",
        help="keep photos whose class is corrected on the page, with a table for download",
    )
    for flag, usual, _, _, what in NUMBERS:
        told = what if usual is None else f"{what} (default: {usual})"
        parser.add_argument(flag, type=int, default=usual, metavar="N", help=told)
    return parser


def _check(chosen: Namespace) -> None:
    """Refuse arguments that are wrong."""
    for flag, _, least, most, _ in NUMBERS:
        value = getattr(chosen, flag[2:].replace("-", "_"))
        if value is not None and (value < least or (most is not None and value > most)):
            meant = f"{least} or more" if most is None else f"{least} to {most}"
            raise InputError(f"{flag}: is {value}, but should be {meant}; give another number")
    from darkroom.serving.limits import check_host

    for name in chosen.allow_host:
        check_host(name)
    chosen.model = chosen.model or [USUAL]
    if len(chosen.model) > MOST_MODELS or len(set(chosen.model)) < len(chosen.model):
        raise InputError(f"--model: names {', '.join(chosen.model)}; name one model, or two different ones")


def _token(chosen: Namespace) -> str | None:
    """Return the token of the file or the environment; the command line, which others can read, has none."""
    where, text = TOKEN, os.environ.pop(TOKEN, None)  # popped: no process that is started needs it
    if chosen.token_file is not None:
        where = "--token-file"
        try:
            text = chosen.token_file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not UTF-8"
            raise InputError(f"--token-file: {chosen.token_file} cannot be read ({reason}); name a file with the token") from None
    token = None if text is None else text.strip()
    way = "python -c 'import secrets; print(secrets.token_urlsafe())' > token.txt"
    if token is None:
        if not _is_loopback(chosen.host):
            raise InputError(
                f'--host: {chosen.host} can be reached from other machines, so a token is needed; run "{way}", '
                f"then add --token-file token.txt, or set {TOKEN}"
            )
        return None
    if len(token) < SHORTEST_TOKEN or not token.isprintable() or " " in token:
        raise InputError(f'{where}: is no token of {SHORTEST_TOKEN} or more characters on one line; run "{way}"')
    if not token.isascii():
        raise InputError(f'{where}: holds letters beyond ASCII, which the header of a request cannot; run "{way}"')
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_packages() -> None:
    missing = [package for module, package in PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise RunError(f"serve: needs {', '.join(missing)}; run 'pip install -c requirements-dev.txt {' '.join(missing)}'")


def _version(path: Path) -> str:
    import tomllib

    version: str = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["version"]
    return version


def _load(chosen: Namespace, params: "Params", version: str) -> "Loaded":
    """Load models, what explains them, and the folder of corrections."""
    from darkroom.serving.collected import Collected
    from darkroom.serving.explaining import Explaining
    from darkroom.serving.served import Served
    from darkroom.serving.service import Loaded

    def opened(name: str) -> Callable[[], "Published"]:
        return lambda: open_model(None if name == USUAL else name, params, "predict")

    models = [Served(name, opened(name), params, chosen.batch_size, version) for name in chosen.model]
    first = models[0]
    for other in models[1:]:
        if other.classes != first.classes:
            print(f"serve: {first.name} and {other.name} have different classes; a correction names those of {first.name}")
    data = _data()
    explaining: Sequence[Explaining] = [Explaining(each, _near(each, data, chosen.nearest)) for each in models]
    collected = Collected(chosen.collect, first.classes, data[0] if data else None) if chosen.collect else None
    return Loaded(explaining, collected)


def _data() -> "tuple[Pack, Split] | None":
    """Return data/raw without the images of the test split, and data/split; None with a line if they are not here."""
    from darkroom.base import paths
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split

    try:
        pack = Pack.open(paths.RAW)
        split = Split.open(paths.SPLIT, pack)
    except InputError as error:
        print(f"serve: without data/raw the page has no nearest training images ({one_line(error)})", flush=True)
        return None
    pack.withhold(split.rows["test"])
    return pack, split


def _near(served: "Served", data: "tuple[Pack, Split] | None", count: int) -> "Near | None":
    from darkroom.serving.explaining import make_near

    if data is None or not count:
        return None
    try:
        return make_near(served, *data, count)
    except InputError as error:
        print(f"serve: no nearest training images for {served.name}: {one_line(error)}", flush=True)
        return None
