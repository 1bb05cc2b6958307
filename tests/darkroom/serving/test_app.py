"""What each address takes and answers, and that every refusal is one line of JSON naming the limit."""

import asyncio
import io
import json
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Markup
from PIL import Image
from serving_fixtures import Start, encoded

from darkroom.base.errors import RunError
from darkroom.inference.photos import PhotoReader
from darkroom.inference.predict import predict_images
from darkroom.serving import answers, served
from darkroom.serving.limits import Limits
from darkroom.serving.uploads import DISCARDED

PNG = encoded(np.arange(64, dtype=np.uint8).reshape(8, 8))
JPEG = encoded(np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8), "JPEG")
AS_PNG = {"content-type": "image/png"}


def refusal(response: Any) -> tuple[int, str]:
    """Return status and limit of a refusal."""
    assert "\n" not in response.text
    told = answers.Refusal.model_validate(response.json())
    assert len(told.error) > 20
    return response.status_code, told.limit


def test_photos_are_answered_as_predict_does_alone_and_together(start: Start, mixed: dict[str, bytes]) -> None:
    client = start()
    together = client.post("/predict?top_k=10", files=[("file", (name, data)) for name, data in mixed.items()])
    assert together.status_code == 200
    told = answers.Predicted.model_validate(together.json())
    assert [each.name for each in told.predictions] == list(mixed)
    assert told.model.weights_sha256 == "m" * 64
    predictor = client.server.service.loaded.models["models"].predictor
    reader = PhotoReader.of(predictor.seen, predictor.preprocess)
    images = [reader(data, 10**8) for data in mixed.values()]
    wanted = predict_images(predictor, images, batch_size=len(images))
    for place, (data, found) in enumerate(zip(mixed.values(), told.predictions, strict=True)):
        assert {each.class_: each.probability for each in found.top} == pytest.approx(
            dict(zip(predictor.model.card.classes, wanted[place].tolist(), strict=True)), abs=1e-6
        )
        alone = client.post("/predict", content=data, headers={"content-type": "application/octet-stream"}).json()
        assert alone["predictions"][0]["class"] == found.class_
        assert len(alone["predictions"][0]["top"]) == 3


def test_images_that_wait_are_computed_together_with_the_same_answers(start: Start, mixed: dict[str, bytes]) -> None:
    client = start()
    alone = {name: client.post("/predict", files={"file": data}).json()["predictions"] for name, data in mixed.items()}
    model = client.server.service.loaded.models["models"]
    compute, is_held, sizes = model.predict, threading.Event(), []

    def held(images: Any) -> Any:
        is_held.wait(10)
        sizes.append(len(images))
        return compute(images)

    client.server.service._batchers["models"]._compute = held

    async def all_at_once() -> list[Any]:
        service = client.server.service
        decoded = [(await service.decode(model, [each]))[0] for each in mixed.items()]
        tasks = [asyncio.create_task(service.predict(model, [image])) for image in decoded]
        await asyncio.sleep(0.05)
        is_held.set()
        return [(await task)[0] for task in tasks]

    found = client.portal.call(all_at_once)
    assert sizes == [len(mixed)]
    for name, each in zip(mixed, found, strict=True):
        assert each["class"] == alone[name][0]["class"]
        assert each["probability"] == pytest.approx(alone[name][0]["probability"], abs=1e-6)


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        ({"content": b"", "headers": AS_PNG}, (400, "image")),
        ({"content": PNG}, (415, "type")),
        ({"content": PNG, "headers": {"content-type": "text/html"}}, (415, "type")),
        ({"content": b"GIF89a", "headers": AS_PNG}, (422, "image")),
        ({"content": JPEG[: len(JPEG) // 2], "headers": AS_PNG}, (422, "image")),
        ({"content": b"<svg/>", "headers": {"content-type": "image/svg+xml"}}, (422, "image")),
        ({"content": bytes(200_001), "headers": AS_PNG}, (413, "max_bytes")),
        ({"content": iter([bytes(100_000)] * 3), "headers": AS_PNG}, (413, "max_bytes")),
        ({"files": [("file", ("a.png", PNG))] * 3}, (413, "max_images")),
        ({"files": [("file", ("a.png", PNG))] * 9}, (413, "max_images")),
        ({"data": {"file": "none"}, "files": {"x": ("", b"")}}, (400, "image")),
        ({"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data"}}, (400, "multipart")),
        ({"content": b"junk", "headers": {"content-type": "multipart/form-data; boundary=x"}}, (400, "multipart")),
        ({"files": {"file": ("large.png", encoded(np.zeros((60, 60), np.uint8)))}}, (413, "max_pixels")),
        ({"files": {"file": PNG}, "params": {"model": "other"}}, (404, "model")),
        ({"files": {"file": PNG}, "params": {"top_k": "0"}}, (422, "query")),
        ({"files": {"file": PNG}, "params": {"top_k": "11"}}, (422, "top_k")),
        ({"files": {"file": PNG}, "params": {"topk": "1"}}, (422, "query")),
        ({"files": {"file": PNG}, "params": {"top_k": ["1", "2"]}}, (422, "query")),
        ({"files": {"file": PNG}, "data": {"top_k": "1"}}, (422, "field")),
    ],
)
def test_what_is_refused(start: Start, sent: dict[str, Any], wanted: tuple[int, str]) -> None:
    client = start(Limits(max_bytes=200_000, max_images=2, max_pixels=3000))
    assert refusal(client.post("/predict", **sent)) == wanted
    assert f'darkroom_refusals_total{{limit="{wanted[1]}"}} 1.0' in client.get("/metrics").text
    assert client.server.service.uploads._held == 0


@pytest.mark.parametrize(
    ("address", "sent", "error"),
    [
        ("/predict?topk=1", {}, "topk: is no parameter of /predict; did you mean 'top_k'?"),
        ("/predict?xyz=1", {}, "xyz: is no parameter of /predict; /predict takes model, top_k"),
        ("/predict?top_k=1&top_k=2", {}, "top_k: is given 2 times; give one"),
        ("/predict?top_k=99", {}, "top_k: is 99, but the model has 10 classes; give at most as many"),
        ("/predict", {"data": {"top_k": "1"}}, "top_k: is no field of the form; write it into the address, /predict?top_k="),
        ("/predict", {"data": {"other": "1"}}, "other: is no field of the form; /predict takes files"),
        ("/explain?clas=1", {}, "clas: is no parameter of /explain; did you mean 'class'?"),
        ("/explain", {"data": {"class": "1"}}, "class: is no field of the form; write it into the address, /explain?class="),
    ],
)
def test_what_is_not_read_is_refused(start: Start, address: str, sent: dict[str, Any], error: str) -> None:
    """An answer would be to another question."""
    response = start().post(address, files={"file": PNG}, **sent)
    assert (response.status_code, response.json()["error"]) == (422, error)


def test_parameters_of_other_addresses(start: Start) -> None:
    client = start()
    assert client.get("/model?modell=a").json()["error"] == "modell: is no parameter of /model; did you mean 'model'?"
    assert client.get("/health?time=1").status_code == client.get("/?from=mail").status_code == 200  # for people and probes
    assert (
        client.post("/predict", content=PNG).json()["error"].startswith("Content-Type: is missing; send multipart/form-data, or ")
    )


def test_a_bomb_is_refused_by_its_header(start: Start) -> None:
    """A PNG of 100 million pixels in 12 kB."""
    file = io.BytesIO()
    Image.new("1", (10_000, 10_001)).save(file, "PNG")
    response = start(Limits(max_pixels=10**8)).post("/predict", files={"file": ("bomb.png", file.getvalue())})
    assert refusal(response) == (413, "max_pixels")
    assert response.json()["error"].startswith("bomb.png: has 10000 x 10001 pixels, more than max_pixels (100000000); send")


def test_unknown_addresses_and_methods(start: Start) -> None:
    client = start()
    assert refusal(client.get("/admin")) == (404, "path")
    assert refusal(client.get("/predict")) == (405, "path")


def test_requests_that_wait_too_long_or_are_too_many(start: Start) -> None:
    client = start(Limits(max_queue=1, timeout=0.3))
    service, is_held = client.server.service, threading.Event()
    compute = service._batchers["models"]._compute
    service._batchers["models"]._compute = lambda images: (is_held.wait(10), compute(images))[1]
    answered: list[Any] = []
    first = threading.Thread(target=lambda: answered.append(client.post("/predict", files={"file": PNG})))
    first.start()
    while service._working == 0:
        pass
    many = client.post("/predict", files={"file": PNG})
    assert (refusal(many), many.headers["retry-after"]) == ((429, "max_queue"), "1")
    first.join()
    assert (refusal(answered[0]), answered[0].headers["retry-after"]) == ((503, "timeout"), "1")
    is_held.set()
    service._batchers["models"]._compute = compute
    assert client.post("/predict", files={"file": PNG}).status_code == 200


def test_uploads_together_are_bounded(start: Start) -> None:
    client = start(Limits(max_bytes=1000))
    client.server.service.uploads._held = 8 * 1000  # those of others
    assert refusal(client.post("/predict", files={"file": PNG})) == (503, "max_queue")
    assert client.server.service.uploads._held == 8 * 1000


def test_what_is_too_large_is_read_for_a_while_and_not_kept(start: Start) -> None:
    client, sent = start(Limits(max_bytes=1000)), []

    def endless() -> Any:
        while True:
            sent.append(1)
            yield bytes(1000)

    response = client.post("/predict", content=(part for part, _ in zip(endless(), range(50), strict=False)), headers=AS_PNG)
    assert refusal(response) == (413, "max_bytes")
    assert DISCARDED < len(sent) <= 51


def test_until_the_model_is_loaded_only_the_page_answers(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    is_loaded = threading.Event()
    warm = served.Served._warm
    monkeypatch.setattr(served.Served, "_warm", lambda self, size: (is_loaded.wait(10), warm(self, size)))
    client = start(wait=False)
    for response in (client.get("/health"), client.get("/model"), client.post("/predict", files={"file": PNG})):
        assert (refusal(response), response.headers["retry-after"]) == ((503, "loading"), "1")
    assert "The model is being loaded" in client.get("/").text
    is_loaded.set()


def test_a_network_that_computes_nan_is_one_line(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    client = start()

    def failing(_: Any) -> Any:
        raise RunError("models/model.safetensors: its logits are NaN or infinite; train with a lower train.lr")

    client.server.service._batchers["models"]._compute = failing
    response = client.post("/predict", files={"file": PNG})
    assert refusal(response) == (500, "failed")
    assert "serve: a request failed: models/model.safetensors: its logits are NaN" in capsys.readouterr().out


def test_the_logging_of_the_process_stays_as_it_is(start: Start) -> None:
    """uvicorn's own configuration closes all handlers, and with absl's the stream that standard error was when absl was imported."""
    closed: list[str] = []

    class Handler(logging.Handler):
        def close(self) -> None:
            closed.append("closed")
            super().close()

    handler = Handler()
    try:
        start()
        assert closed == []
    finally:
        handler.close()


def test_heat_of_the_class_that_is_asked_for(start: Start) -> None:
    client = start()
    first = answers.Explained.model_validate(client.post("/explain", files={"file": PNG}).json())
    other = client.post("/explain", files={"file": PNG}, params={"class": "3"}).json()
    assert first.explained == client.post("/predict", files={"file": PNG}).json()["predictions"][0]["class"]
    assert other["explained"] == "3"
    assert other["heat"].startswith("data:image/png;base64,")
    assert other["heat"] != first.heat
    assert other["image"] == first.image
    assert refusal(client.post("/explain", files={"file": PNG}, params={"class": "11"})) == (422, "class")
    assert refusal(client.post("/explain", files=[("file", PNG), ("file", PNG)])) == (413, "max_images")


def test_which_model_answers_and_what_is_measured(start: Start) -> None:
    client = start(names=("a", "b"))
    assert client.get("/health").json() == {"status": "ready", "models": ["a", "b"]}
    about = answers.About.model_validate(client.get("/model?model=b").json())
    assert (about.name, about.weights_sha256, about.version, about.task) == ("b", "b" * 64, "1.0", "multiclass")
    assert client.get("/model").json()["name"] == "a"
    assert client.post("/predict?model=b", files={"file": PNG}).json()["model"]["weights_sha256"] == "b" * 64
    lines = client.get("/metrics").text.splitlines()
    assert 'darkroom_requests_total{path="/predict",status="200"} 1.0' in lines
    assert 'darkroom_batch_images_count{model="b"} 1.0' in lines
    assert f'darkroom_model_info{{name="a",version="1.0",weights_sha256="{"a" * 64}"}} 1.0' in lines
    assert any(line.startswith('darkroom_seconds_sum{step="network"}') for line in lines)


def test_openapi_describes_the_addresses(start: Start) -> None:
    described = start().get("/openapi.json").json()
    assert set(described["paths"]) == {"/predict", "/explain", "/health", "/model", "/metrics"}
    post = described["paths"]["/predict"]["post"]
    assert set(post["requestBody"]["content"]) == {"multipart/form-data", "image/*", "application/octet-stream"}
    assert {"200", "413", "415", "429", "503"} <= set(post["responses"])


def test_corrections_come_from_the_own_page_alone(start: Start, tmp_path: Path) -> None:
    client, page = start(collect=tmp_path / "kept"), {"X-Darkroom-Page": "1"}
    sent: dict[str, Any] = {"files": {"file": ("a.png", PNG)}, "data": {"label": "7"}}
    assert refusal(client.post("/corrections", **sent)) == (403, "origin")
    kept = client.post("/corrections", **sent, headers=page)
    assert answers.Kept.model_validate(kept.json()).table == "manifest.csv"
    assert (tmp_path / "kept" / kept.json()["path"]).read_bytes() == PNG
    assert refusal(client.post("/corrections", files=sent["files"], data={"label": "11"}, headers=page)) == (422, "label")
    assert refusal(client.post("/corrections", files=sent["files"], headers=page)) == (422, "label")
    assert refusal(start().post("/corrections", **sent, headers=page)) == (404, "collect")


def test_images_with_several_labels(start: Start, tmp_path: Path) -> None:
    client = start(task="multilabel", collect=tmp_path / "kept")
    (found,) = answers.Predicted.model_validate(client.post("/predict?top_k=10", files={"file": PNG}).json()).predictions
    assert found.classes == sorted(each.class_ for each in found.top if each.probability > 0.5)
    sent: dict[str, Any] = {"files": {"file": PNG}, "data": {"label": ["7", "3"]}, "headers": {"X-Darkroom-Page": "1"}}
    assert client.post("/corrections", **sent).json()["label"] == "7; 3"


def test_the_page_runs_its_own_script_alone(start: Start) -> None:
    response = start(names=("a", "b"), title="<img src=x>").get("/")
    parsed = Markup(response.text)
    scripts = [attributes for tag, attributes in parsed.elements if tag == "script"]
    assert scripts == [{"src": "/page.js", "defer": None}]
    policy = response.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    (setup,) = (json.loads(each["data-setup"] or "") for _, each in parsed.elements if "data-setup" in each)
    assert [each["name"] for each in setup["models"]] == ["a", "b"]
    assert "access-control-allow-origin" not in response.headers
