"""Load a server as clients do: latency alone and with others, bad uploads, memory, and a stop under load.

    python benchmarks/serve_load.py PHOTO [PHOTO ...] [--model MODEL] [--clients 8] [--requests 50] [--bad 1000]

It starts `./darkroom serve`, and compares with what the network takes for a batch of as many photos as there are clients. Leave
the machine alone meanwhile: clients share its cores with the server. Times are in milliseconds.
"""

import argparse
import collections
import http.client
import io
import itertools
import json
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

WARM_UP = 20
REPEATS = 30
STEPS = ("network", "decode")
HEADERS = {"content-type": "application/octet-stream"}


class Client:
    """A connection that stays open."""

    def __init__(self, address: str):
        self.connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)

    def ask(self, body: bytes, headers: dict[str, str] = HEADERS, path: str = "/predict?top_k=1") -> tuple[int, str]:
        """Return status and text."""
        self.connection.request("POST" if body or headers else "GET", path, body or None, headers)
        response = self.connection.getresponse()
        return response.status, response.read().decode()

    def measured(self) -> dict[str, float]:
        """Return what /metrics says."""
        text = self.ask(b"", {}, "/metrics")[1]
        pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--model", default="models")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--bad", type=int, default=1000)
    chosen = parser.parse_args()
    photos = [path.read_bytes() for path in chosen.photos]
    command = ["./darkroom", "serve", "--port", "0", "--nearest", "0", "--max-bytes", "2000000", "--model", chosen.model]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    started = time.perf_counter()
    address = ready(process)
    print(f"ready after {time.perf_counter() - started:.1f} s")
    one_by_one(address, photos)
    together(address, photos, chosen)
    bad_uploads(address, psutil.Process(process.pid), chosen.bad)
    stop(process, address, photos, chosen.clients)


def ready(process: "subprocess.Popen[str]") -> str:
    """Return the address once the server says that it is ready."""
    assert process.stdout
    for line in process.stdout:
        if found := re.search(r"serve: (http://\S+) is ready", line):
            return found[1]
    raise SystemExit("the server has not started")


def network_seconds(before: dict[str, float], after: dict[str, float], step: str = "network") -> float:
    """Return the mean seconds of a step between two looks at /metrics."""
    total, count = (f'darkroom_seconds_{part}{{step="{step}"}}' for part in ("sum", "count"))
    return (after[total] - before[total]) / (after[count] - before[count])


def one_batch(address: str, photos: list[bytes], count: int) -> float:
    """Return the mean seconds that the network takes for a batch of so many photos, which come in one request."""
    client, line = Client(address), "--photo"
    head = f'{line}\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()
    body = b"".join(head + data + b"\r\n" for data in cycled(photos, count)) + f"{line}--\r\n".encode()
    before: dict[str, float] = {}
    for number in range(3 + REPEATS):
        before = client.measured() if number == 3 else before
        status, text = client.ask(body, {"content-type": "multipart/form-data; boundary=photo"})
        assert status == 200, text
    return network_seconds(before, client.measured())


def one_by_one(address: str, photos: list[bytes]) -> None:
    """One client: what a request takes beyond the network, and beyond decoding."""
    client, seconds = Client(address), []
    for number, data in zip(range(WARM_UP + 4 * REPEATS), itertools.cycle(photos), strict=False):
        if number == WARM_UP:
            before = client.measured()
        start = time.perf_counter()
        assert client.ask(data)[0] == 200
        seconds.append(time.perf_counter() - start)
    after = client.measured()

    whole, network, decode = statistics.mean(seconds[WARM_UP:]), *(network_seconds(before, after, name) for name in STEPS)
    print(f"one client: {1000 * whole:.1f}: network {1000 * network:.1f}, decoding {1000 * decode:.1f}", end="")
    print(f", beyond the network {1000 * (whole - network):.1f}, beyond both {1000 * (whole - network - decode):.1f}")


def together(address: str, photos: list[bytes], chosen: argparse.Namespace) -> None:
    """Several clients at once."""
    seconds: list[float] = []

    def work(data: bytes) -> None:
        client = Client(address)
        for _ in range(chosen.requests):
            start = time.perf_counter()
            assert client.ask(data)[0] == 200
            seconds.append(time.perf_counter() - start)

    start = time.perf_counter()
    in_threads([threading.Thread(target=work, args=(data,)) for data in cycled(photos, chosen.clients)])
    per_second = len(seconds) / (time.perf_counter() - start)
    batch = one_batch(address, photos, chosen.clients)
    p50, p95 = np.quantile(seconds, (0.5, 0.95))
    print(f"{chosen.clients} clients: median {1000 * p50:.1f}, p95 {1000 * p95:.1f}, {per_second:.1f} requests/s")
    print(f"a batch of {chosen.clients} in the network: {1000 * batch:.1f}; p95 is {p95 / batch:.2f} times that")


def bad_uploads(address: str, server: psutil.Process, count: int) -> None:
    """Send what must be refused; memory is that of the server after a fifth of them, and after all."""
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    bomb, jpeg = io.BytesIO(), io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    Image.fromarray(noise).save(jpeg, "JPEG")
    kinds = [
        (bomb.getvalue(), HEADERS),
        (jpeg.getvalue()[:-2000], HEADERS),
        (noise.tobytes(), HEADERS),
        (bytes(3_000_000), HEADERS),
        (b"<svg/>", {"content-type": "text/html"}),
        (b"--x\r\n\r\njunk", {"content-type": "multipart/form-data; boundary=x"}),
    ]
    limits: collections.Counter[str] = collections.Counter()
    for number, (body, headers) in zip(range(count), itertools.cycle(kinds), strict=False):
        if number == count // 5:
            before = server.memory_info().rss
        status, text = Client(address).ask(body, headers)
        assert 400 <= status < 500, (status, text)
        limits[json.loads(text)["limit"]] += 1
    grown = (server.memory_info().rss - before) / 1e6
    print(f"{count} bad uploads refused: {dict(limits)}; memory {before / 1e6:.0f} MB, then {grown:+.1f} MB")


def stop(process: "subprocess.Popen[str]", address: str, photos: list[bytes], clients: int) -> None:
    """Stop the server under load: what it has accepted, clients must have had."""
    outcomes: collections.Counter[str] = collections.Counter()

    def work(data: bytes) -> None:
        client = Client(address)
        try:
            while True:
                status, text = client.ask(data)
                outcomes["answered" if status == 200 else json.loads(text)["limit"]] += 1
        except (OSError, http.client.HTTPException):
            outcomes["not accepted"] += 1

    before = Client(address).measured()
    threads = [threading.Thread(target=work, args=(data,)) for data in cycled(photos, clients)]
    threading.Timer(2, lambda: process.send_signal(signal.SIGTERM)).start()
    in_threads(threads)
    said = process.communicate(timeout=60)[0]
    name = 'darkroom_requests_total{path="/predict",status="200"}'
    print(f"stop under load: {dict(outcomes)}; status {process.returncode}; {before[name]:.0f} before; {said.splitlines()[-1]}")


def cycled(photos: list[bytes], count: int) -> list[bytes]:
    """Return so many photos, from the beginning again."""
    return [photos[number % len(photos)] for number in range(count)]


def in_threads(threads: list[threading.Thread]) -> None:
    """Run threads to their end."""
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
