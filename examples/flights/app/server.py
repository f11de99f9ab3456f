"""The web server: the page, its API, and the way from a flight to a site's prediction."""

import contextlib
import json
import time
from dataclasses import asdict
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
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


_router = APIRouter()
_flights = Flights()


def make_app(settings: Settings) -> FastAPI:
    """Make the web application.

    Args:
        settings: What the environment says.

    Returns:
        The application for an ASGI server.
    """

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
    app.include_router(_router)
    return app


@_router.api_route("/", methods=["GET", "HEAD"])
async def _page() -> FileResponse:
    return FileResponse(_STATIC / "index.html")


@_router.api_route("/healthz", methods=["GET", "HEAD"])
async def _health() -> dict:
    return {"status": "ok"}


@_router.get("/api/choices")
async def _choices() -> dict:
    return _flights.choices()


@_router.get("/api/flights")
async def _find(limit: str = "", carrier: str = "", origin: str = "", dest: str = "") -> list[dict]:
    return _flights.find(limit, carrier=carrier, origin=origin, dest=dest)


@_router.get("/api/sites")
async def _look(request: Request) -> dict:
    return {"sites": await request.app.state.sites.look()}


@_router.post("/api/predict")
async def _predict(request: Request) -> dict:
    wanted = await _read_body(request)
    site, flight = wanted.get("site", NEAREST), _flights.read(wanted.get("flight"))
    if not isinstance(site, str):
        raise InputError("The site is not text: give a site's name, or leave it out for the nearest.")
    start = time.perf_counter()
    answered, prediction, passed = await request.app.state.sites.predict(site, flight)
    ms = round((time.perf_counter() - start) * 1000, 1)
    return {**_as_answer(prediction), "site": answered, "passed_over": passed, "ms": ms}


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


def _as_answer(prediction: Prediction) -> dict:
    answer = asdict(prediction)
    values, parts = answer.pop("values"), answer.pop("contributions")
    answer["contributions"] = [
        {
            "feature": name,
            "value": values[name],
            "contribution": part,
            "text": describe(name, values[name], _flights),
        }
        for name, part in sorted(parts.items(), key=lambda item: -abs(item[1]))
    ]
    return answer


def _say(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"detail": sentence}, status)
