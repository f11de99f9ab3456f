"""The web server: the page, its API, and the way from a flight to a site's prediction."""

import contextlib
import json
import time
from dataclasses import asdict
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from loopline.components.errors import InputError
from loopline.examples.flights.app.flight import Flights
from loopline.examples.flights.app.service import Prediction, SiteError
from loopline.examples.flights.app.settings import Settings
from loopline.examples.flights.app.sites import NEAREST, Sites
from loopline.examples.flights.app.words import describe

_STATIC = Path(__file__).with_name("static")
#: The largest request body, in bytes: a flight needs some hundred.
_LARGEST_BODY = 16_384
_HEADERS = {
    # Nothing from elsewhere, no inline script: a value that slipped through as markup would do nothing.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def make_app(settings: Settings) -> FastAPI:
    """Make the web application.

    Args:
        settings: What the environment says.

    Returns:
        The application for an ASGI server.
    """
    flights = Flights()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI):
        app.state.sites = Sites(settings.services, settings.model)
        yield
        await app.state.sites.close()

    # The pages that document an API load scripts from elsewhere.
    app = FastAPI(title="Flights", lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    app.middleware("http")(_add_headers)
    app.add_exception_handler(InputError, lambda request, error: _say(422, str(error)))
    app.add_exception_handler(SiteError, lambda request, error: _say(503, str(error)))
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")

    @app.api_route("/", methods=["GET", "HEAD"])
    async def page() -> FileResponse:
        return FileResponse(_STATIC / "index.html")

    @app.api_route("/healthz", methods=["GET", "HEAD"])
    async def health() -> dict:
        return {"status": "ok"}

    @app.get("/api/choices")
    async def choices() -> dict:
        return flights.choices()

    @app.get("/api/flights")
    async def find(limit: str = "", carrier: str = "", origin: str = "", dest: str = "") -> list[dict]:
        return flights.find(limit, carrier=carrier, origin=origin, dest=dest)

    @app.get("/api/sites")
    async def look(request: Request) -> dict:
        return {"model": settings.model, "sites": await request.app.state.sites.look()}

    @app.post("/api/predict")
    async def predict(request: Request) -> dict:
        wanted = await _read_body(request)
        site, flight = wanted.get("site", NEAREST), flights.read(wanted.get("flight"))
        if not isinstance(site, str):
            raise InputError("The site is not text: give a site's name, or leave it out for the nearest.")
        start = time.perf_counter()
        answered, prediction, passed = await request.app.state.sites.predict(site, flight)
        answer = _as_answer(prediction, flights)
        return {**answer, "site": answered, "passed_over": passed, "ms": round((time.perf_counter() - start) * 1000, 1)}

    return app


async def _add_headers(request: Request, call_next):
    response = await call_next(request)
    response.headers.update(_HEADERS)
    if request.url.path.startswith("/api/"):
        response.headers["Cache-Control"] = "no-store"
    return response


async def _read_body(request: Request) -> dict:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LARGEST_BODY:
            raise InputError(f"The request is larger than {_LARGEST_BODY:,} bytes: send one flight.")
    try:
        wanted = json.loads(body)
    except (ValueError, RecursionError):
        raise InputError('The request is not JSON: send {"site": ..., "flight": {...}}.') from None
    if not isinstance(wanted, dict):
        raise InputError('The request is not a JSON object: send {"site": ..., "flight": {...}}.')
    return wanted


def _as_answer(prediction: Prediction, flights: Flights) -> dict:
    answer = asdict(prediction)
    values, parts = answer.pop("values"), answer.pop("contributions")
    answer["contributions"] = [
        {
            "feature": name,
            "value": values[name],
            "contribution": part,
            "text": describe(name, values[name], flights),
        }
        for name, part in sorted(parts.items(), key=lambda item: -abs(item[1]))
    ]
    return answer


def _say(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"detail": sentence}, status)
