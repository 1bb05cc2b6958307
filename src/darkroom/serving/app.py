"""The addresses of the server: what each takes and answers. No torch."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from darkroom.base.errors import RunError, listed, nearest, one_line
from darkroom.data.listing import printable
from darkroom.serving import answers
from darkroom.serving.limits import Refused
from darkroom.serving.page import make_page
from darkroom.serving.service import Service

SCRIPT = Path(__file__).with_name("page.js")
PAGE_HEADER = "x-darkroom-page"
"""Only a script of the server's own page can send it: another site's would have to ask first, which is not allowed."""
BINARY = {"schema": {"type": "string", "format": "binary"}}
FILES = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            "required": ["file"],
        }
    },
    "image/*": BINARY,
    "application/octet-stream": BINARY,
}
UPLOAD = {"requestBody": {"required": True, "content": FILES}}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": answers.Refusal, "description": text}
    for status, text in {
        401: "the token is missing or wrong",
        403: "sent by another site's page",
        408: "the upload took too long",
        413: "too many bytes, pixels or images",
        415: "neither a form nor an image",
        421: "the Host header names another server",
        422: "no image, or a damaged one",
        429: "too many requests are waiting; Retry-After says when",
        503: "loading, stopping, or too slow; Retry-After says when",
    }.items()
}
MODEL = Annotated[str | None, Query(description="The model, by the name that /health lists; the first one if left out.")]
TOP_K = Annotated[int | None, Query(ge=1, description="How many of the most probable classes; predict.top_k if left out.")]


async def _check_query(request: Request) -> None:
    """Refuse a parameter of the address that it does not take, or has twice: an answer without it would be another one."""
    names, path = [name for name, _ in request.query_params.multi_items()], request.url.path
    known = [each.alias for each in request.scope["route"].dependant.query_params]
    for name in names:
        if name not in known:
            takes = f"{path} takes {listed(known)}"
            raise Refused(422, "query", f"{printable(name)}: is no parameter of {path}; {nearest(name, known, takes)}")
        if names.count(name) > 1:
            raise Refused(422, "query", f"{name}: is given {names.count(name)} times; give one")


def _check_fields(request: Request, fields: Iterable[str], known: Sequence[str] = ()) -> None:
    """Refuse a field of a form that is not read, for the same reason."""
    for name in fields:
        if name not in known:
            queries = [each.alias for each in request.scope["route"].dependant.query_params]
            path = request.url.path
            advice = (
                f"write it into the address, {path}?{name}="
                if name in queries
                else f"{path} takes files" + (f" and {listed(known)}" if known else "")
            )
            raise Refused(422, "field", f"{printable(name)}: is no field of the form; {advice}")


CHECKED = [Depends(_check_query)]


def make_app(service: Service, start: Callable[[], Any], version: str) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    service
        What answers.
    start
        Called once the server listens: a coroutine that loads the models.
    version
        Of Darkroom.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(start())
        yield
        task.cancel()

    app = FastAPI(title="Darkroom", version=version, docs_url=None, redoc_url=None, lifespan=lifespan)
    _handle_errors(app, service)
    _add_predict(app, service)
    _add_page(app, service)
    _add_status(app, service)
    return app


def _add_predict(app: FastAPI, service: Service) -> None:
    @app.post("/predict", dependencies=CHECKED, responses={200: {"model": answers.Predicted}, **REFUSALS}, openapi_extra=UPLOAD)
    async def predict(request: Request, model: MODEL = None, top_k: TOP_K = None) -> JSONResponse:
        """Predict the classes of one or several images."""
        served = service.model(model)
        count = served.params.predict.top_k if top_k is None else top_k
        if top_k is not None and top_k > len(served.classes):
            most = f"the model has {len(served.classes)} classes"
            raise Refused(422, "top_k", f"top_k: is {top_k}, but {most}; give at most as many")
        async with service.reading(request) as upload:
            _check_fields(request, upload.fields)
            images = await service.decode(served, upload.images)
            found = await service.predict(served, images)
            named = zip(upload.images, found, strict=True)
            told = [{"name": name, **each, "top": each["top"][:count]} for (name, _), each in named]
        return JSONResponse({"model": served.identity, "predictions": told})

    @app.post("/explain", dependencies=CHECKED, responses={200: {"model": answers.Explained}, **REFUSALS}, openapi_extra=UPLOAD)
    async def explain(
        request: Request,
        model: MODEL = None,
        class_: Annotated[str | None, Query(alias="class", description="The class; the most probable one if left out.")] = None,
    ) -> JSONResponse:
        """Show what speaks for a class in an image, and the nearest training images."""
        served = service.model(model)
        if class_ is not None and class_ not in served.classes:
            raise Refused(422, "class", f"class: the model has no class '{class_}'; GET /model lists the classes")
        async with service.reading(request) as upload:
            _check_fields(request, upload.fields)
            (image,) = await service.decode(served, [_single(upload.images)])
            name = class_ or (await service.predict(served, [image]))[0]["top"][0]["class"]
            found = await service.explain(served, image, served.classes.index(name))
        return JSONResponse(found)

    @app.post("/corrections", dependencies=CHECKED, responses={200: {"model": answers.Kept}, **REFUSALS}, include_in_schema=False)
    async def correct(request: Request, model: MODEL = None) -> JSONResponse:
        """Keep a photo with the class that a person gives it: multipart, with one file and the fields `label`."""
        if PAGE_HEADER not in request.headers:
            raise Refused(403, "origin", f"{PAGE_HEADER}: is missing; correct labels on the server's own page")
        served, collected = service.model(model), service.ready().collected
        if collected is None:
            raise Refused(404, "collect", "corrections are not kept; start the server with --collect FOLDER")
        async with service.reading(request) as upload:
            _check_fields(request, upload.fields, ["label"])
            name, data = _single(upload.images)
            labels = upload.fields.get("label", [])
            if len(labels) != 1 and not served.multilabel:
                raise Refused(422, "label", f"label: has {len(labels)} values, but a photo has one class; send one")
            images = await service.decode(served, [(name, data)])
            (answer,) = await service.predict(served, images)
            keep = partial(collected.add, data, labels, answer, served.identity["weights_sha256"])
            kept = await service.collect(keep)
        return JSONResponse(kept)


def _single(images: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    if len(images) != 1:
        raise Refused(413, "max_images", f"the request has {len(images)} images; send one")
    return images[0]


def _add_page(app: FastAPI, service: Service) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(make_page(service.loaded, service.limits))

    @app.get("/page.js", include_in_schema=False)
    async def script() -> Response:
        return Response(SCRIPT.read_bytes(), media_type="text/javascript")


def _add_status(app: FastAPI, service: Service) -> None:
    @app.get("/health", responses={200: {"model": answers.Health}, 503: REFUSALS[503]})
    async def health() -> JSONResponse:
        """Say whether the models are loaded and warm; the one address that needs no token."""
        return JSONResponse({"status": "ready", "models": list(service.ready().models)})

    @app.get("/model", dependencies=CHECKED, responses={200: {"model": answers.About}, 401: REFUSALS[401], 503: REFUSALS[503]})
    async def about(model: MODEL = None) -> JSONResponse:
        """Describe the model that answers."""
        return JSONResponse(service.model(model).about)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Return counters and times for Prometheus."""
        return Response(service.measured.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _handle_errors(app: FastAPI, service: Service) -> None:
    """Let every refusal be one line of JSON."""

    @app.exception_handler(Refused)
    async def refuse(_: Request, refused: Refused) -> JSONResponse:
        service.measured.refusals.labels(refused.limit).inc()
        return JSONResponse(refused.content, refused.status, refused.headers)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        what = "there is no such address" if error.status_code == 404 else f"takes no {request.method}"
        refused = Refused(error.status_code, "path", f"{request.url.path}: {what}; GET /openapi.json lists all")
        return await refuse(request, refused)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return await refuse(request, Refused(422, "query", f"{first['loc'][-1]}: {first['msg']}; GET /openapi.json says more"))

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(RunError)
    async def failed(_: Request, error: RunError) -> JSONResponse:
        print(f"serve: a request failed: {one_line(error)}", flush=True)
        return JSONResponse({"error": one_line(error), "limit": "failed"}, 500)

    @app.exception_handler(Exception)
    async def broken(_: Request, __: Exception) -> JSONResponse:
        return JSONResponse({"error": "the server has a fault, which its log describes; report it", "limit": "failed"}, 500)
