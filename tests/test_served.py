"""A real server answers as ./darkroom predict, also in a browser, and a stop under load loses nothing."""

import collections
import http.client
import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from browser import BROWSER, look
from clones import ROOT, Clone, Finished
from serving_fixtures import mixed

from darkroom.cli.serve import PACKAGES

# One server; the clone in which the pipeline ran is shared as well.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("served")]
__all__ = ["mixed"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


class Running:
    """./darkroom serve in a clone."""

    def __init__(self, clone: Clone, arguments: str):
        command = f"exec ./darkroom serve --port 0 {arguments}"
        self.process = subprocess.Popen(
            ["bash", "-c", command], cwd=clone.path, env=clone.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout
        self.said: list[str] = []
        for line in self.process.stdout:
            self.said.append(line)
            if found := re.search(r"serve: (http://\S+) is ready", line):
                self.address = found[1]
                return
        raise AssertionError("".join(self.said))

    def stop(self, number: int = signal.SIGTERM) -> str:
        """Send a signal, and return what it says; it must end with status 0."""
        self.process.send_signal(number)
        said, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, said
        return said


@pytest.fixture(scope="module")
def clone(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return finished.copy(tmp_path_factory.mktemp("served") / "darkroom")


@pytest.fixture(scope="module")
def running(clone: Clone) -> Iterator[Running]:
    clone.run("cp -rL models ../other")
    running = Running(clone, "--model models --model ../other --collect ../kept --nearest 3")
    yield running
    if running.process.poll() is None:
        running.stop(signal.SIGINT)


@pytest.fixture(scope="module")
def folder(mixed: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    for name, data in mixed.items():
        (folder / name).write_bytes(data)
    return folder


def test_it_answers_what_predict_writes(clone: Clone, running: Running, folder: Path, mixed: dict[str, bytes]) -> None:
    """The same batch to the bit; photos alone within rounding, and with the same decision."""
    names = sorted(mixed)
    clone.run(f"./darkroom predict {' '.join(str(folder / name) for name in names)} --out ../predicted.jsonl")
    wanted = [json.loads(line) for line in (clone.path.parent / "predicted.jsonl").read_text().splitlines()]
    files = [("file", (name, mixed[name])) for name in names]
    together = requests.post(f"{running.address}/predict", files=files, timeout=60).json()["predictions"]
    for told, name, each in zip(wanted, names, together, strict=True):
        assert Path(told.pop("path")).name == each.pop("name") == name
        assert told == each
        alone = requests.post(f"{running.address}/predict", files={"file": mixed[name]}, timeout=60).json()["predictions"][0]
        assert alone["class"] == each["class"]
        assert alone["probability"] == pytest.approx(each["probability"], abs=1e-6)


@pytest.mark.sample(1)
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.parametrize(("width", "dark"), [(1400, False), (390, True)])
def test_a_photo_in_a_browser(running: Running, folder: Path, width: int, dark: bool) -> None:
    """Chosen, answered by both models, explained, corrected by the keyboard's submit; then a photo that is dropped."""
    photo = folder / "a.jpg"
    wanted = requests.post(f"{running.address}/predict", files={"file": photo.read_bytes()}, timeout=60).json()
    done = "document.querySelectorAll('.photo:not([aria-busy])').length"
    seen = look(
        f"{running.address}/",
        width=width,
        dark=dark,
        chosen=[photo],
        steps=[
            f"{done} == 1",
            "document.querySelectorAll('.photo .images img').length == 6",
            "(document.querySelector('form').requestSubmit(), true)",
            "document.querySelector('form [role=status]').textContent.startsWith('Saved as')",
            DROP,
            f"{done} == 2",
        ],
        expression="[...document.querySelectorAll('.photo')].map((each) => [each.querySelector('h2').innerText,"
        " each.querySelector('.verdict bdi').innerText, document.getElementById('status').innerText])",
    )
    assert seen.errors == []
    assert seen.width <= width
    assert [(name, verdict) for name, verdict, _ in seen.value][1] == ("a.jpg", wanted["predictions"][0]["class"])
    assert seen.value[0][0] == "dropped.png"
    assert seen.value[0][2].startswith("dropped.png: models says ")
    assert all(url.startswith((running.address, f"blob:{running.address}")) for url in seen.requests)
    assert "what speaks for" in seen.text


# What a browser sends when a file is dropped on the page.
DROP = """(() => {
  const canvas = document.createElement("canvas"), kept = new DataTransfer();
  canvas.width = canvas.height = 8;
  const data = atob(canvas.toDataURL("image/png").split(",")[1]);
  kept.items.add(new File([Uint8Array.from(data, (each) => each.charCodeAt(0))], "dropped.png", { type: "image/png" }));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: kept, bubbles: true, cancelable: true }));
  return true;
})()"""


@pytest.fixture(scope="module")
def image(clone: Clone) -> Clone:
    """The files that the image of Dockerfile.serve has: those that it copies, and .dockerignore lets through."""
    folder = clone.path.parent / "image"
    folder.mkdir()
    ignored = (ROOT / "Dockerfile.serve.dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = [line[1:] for line in ignored if line.startswith("!")]
    last = (ROOT / "Dockerfile.serve").read_text(encoding="utf-8").rpartition("FROM ")[2]
    for line in re.findall(r"^COPY (?!--from)(.+)$", last, re.MULTILINE):
        for source in line.split()[:-1]:
            for name in (each for each in let_through if each == source or each.startswith(f"{source}/")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                clone.run(f"cp -rL {name} {folder / name}")
    return Clone(folder)


def test_the_image_runs_as_a_user_without_rights_and_says_when_it_is_ready() -> None:
    text = (ROOT / "Dockerfile.serve").read_text(encoding="utf-8")
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == [re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)[0]] * 2
    last = text.rpartition("FROM ")[2]
    assert re.search(r"^USER [1-9]\d*$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert "/health" in last
    packages = re.search(r"--constraint requirements-dev.txt \\\n\s+(.+)$", text, re.MULTILINE)
    assert packages
    assert packages[1].split() == list(PACKAGES.values())


def test_an_upload_that_has_begun_may_end_and_a_second_signal_ends_all(image: Clone, mixed: dict[str, bytes]) -> None:
    running = Running(image, "--nearest 0")
    data = mixed["a.jpg"]
    uploads = [http.client.HTTPConnection(running.address.removeprefix("http://"), timeout=60) for _ in range(2)]
    for upload in uploads:
        upload.putrequest("POST", "/predict")
        for name, value in (("content-type", "image/jpeg"), ("content-length", str(len(data)))):
            upload.putheader(name, value)
        upload.endheaders(data[:100])
    metrics = f"{running.address}/metrics"
    while "darkroom_open_requests 3.0" not in requests.get(metrics, timeout=60).text:  # and this one
        time.sleep(0.02)
    running.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    uploads[0].send(data[100:])
    assert uploads[0].getresponse().status == 200
    running.process.send_signal(signal.SIGINT)
    said, _ = running.process.communicate(timeout=60)
    assert said.splitlines()[-1] == "error: interrupted by SIGINT; 1 requests are not answered"
    assert running.process.returncode == 130
    for upload in uploads:
        upload.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.thorough)])
def test_a_stop_under_load_loses_no_request(image: Clone, mixed: dict[str, bytes], number: int) -> None:
    """What the server counts as accepted, clients have had as an answer; what else they sent was refused in words.

    It runs with what is in the image alone, without data.
    """
    running = Running(image, "")
    outcomes: collections.Counter[Any] = collections.Counter()
    stopped = threading.Event()
    enough = threading.Semaphore(0)

    def ask(data: bytes) -> None:
        with requests.Session() as session:
            while not stopped.is_set():
                try:
                    response = session.post(f"{running.address}/predict", files={"file": data}, timeout=60)
                    outcomes[response.status_code if response.ok else response.json()["limit"]] += 1
                    assert response.headers.get("connection") == "close" or response.ok
                except requests.ConnectionError:
                    outcomes["connection"] += 1
                    return  # the port is closed
                enough.release()

    clients = [threading.Thread(target=ask, args=(data,)) for data in mixed.values()]
    try:
        for client in clients:
            client.start()
        for _ in range(50):
            enough.acquire(timeout=60)
        said = running.stop(number)
    finally:
        stopped.set()
        running.process.kill()  # where it did not stop; the clients' connections end with it
        for client in clients:
            client.join()
    (answered,) = re.findall(r"stopped; all of (\d+) requests were answered", said)
    assert outcomes[200] == int(answered) >= 50
    assert set(outcomes) <= {200, "stopping", "connection"}
    assert outcomes["stopping"] > 0
