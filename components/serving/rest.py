"""The REST server: a short way for the usual inference request, MLServer's own application for everything else."""

import asyncio
import contextlib
import time
import zlib

import orjson
import uvicorn
from fastapi.exceptions import RequestValidationError
from mlserver.cloudevents import CloudEventsMiddleware, CloudEventsTypes
from mlserver.handlers import DataPlane
from mlserver.metrics.prometheus import PrometheusEndpoint
from mlserver.rest import RESTServer
from mlserver.rest.responses import Response
from starlette.exceptions import HTTPException
from starlette_exporter import PrometheusMiddleware

from loopline.components.errors import InputError
from loopline.components.serving.inputs import MAX_ROWS, MAX_TENSORS
from loopline.components.serving.metrics import RequestCounts
from loopline.components.serving.runtime import LooplineModel

#: The largest body of a request, unpacked.
MAX_BYTES = 16 * 2**20
#: The most sizes in the shape of a tensor: MLServer makes an error of a kilobyte for each that is no number.
MAX_SIZES = 8
_TOO_LARGE = f"The request is larger than {MAX_BYTES // 2**20} MiB: send fewer rows at once."
_BINARY = "Binary tensors are not read over REST: send the values as JSON, or use gRPC."
#: MLServer answers these with 200 before it has looked at the request.
_STREAMS = ("/infer_stream", "/generate_stream")
_INFER = "/infer"
_NO_STREAM = "Predictions are not streamed: post to /v2/models/NAME/infer."
_APP = "mlserver"


class Refusal(Exception):
    """A request that is refused before it reaches MLServer.

    Args:
        status: The HTTP status.
        reason: One sentence.
    """

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


class ShortRoute:
    """Answers one path of inference requests, and keeps the same counts for it as MLServer.

    Args:
        model: The model.
        template: The path as MLServer's metrics name it.
        version: The version in the path; None when the path has none.
        data_plane: MLServer's data plane, whose metrics these are.
        headers: What MLServer adds to every answer of the model.
        counted: Loopline's own counts of the model's requests.
    """

    def __init__(
        self,
        model: LooplineModel,
        template: str,
        version: str | None,
        data_plane: DataPlane,
        headers: list,
        counted: RequestCounts,
    ):
        self._model = model
        self._headers = headers
        self._counted = counted
        names = {"model": model.name, "version": version}
        self._succeeded = data_plane._ModelInferRequestSuccess.labels(**names)
        self._duration = data_plane._ModelInferRequestDuration.labels(**names)
        counts = PrometheusMiddleware(None, app_name=_APP, prefix="rest_server")
        self._requests = counts.request_count.labels("POST", template, 200, _APP)
        self._seconds = counts.request_time.labels("POST", template, 200, _APP)
        self._open = counts.requests_in_progress.labels("POST", _APP)

    async def answer(self, request: dict, start: float, send) -> bool:
        """Answer a request.

        Args:
            request: What ``_is_usual`` found to be one.
            start: When it was there, by ``time.perf_counter``.
            send: What ASGI gave to answer with.

        Returns:
            Whether it was answered; MLServer is to answer what is unusual, and to say what is wrong.
        """
        if not self._model.ready:
            return False
        try:
            with self._open.track_inprogress():
                answer = await self._model.served.infer(request)
        except InputError:
            return False
        except Exception:
            self._counted.failed()
            raise
        inferred = time.perf_counter()
        content = orjson.dumps(answer)
        request_id = answer["id"].encode()
        headers = [
            (b"content-length", b"%d" % len(content)),
            *self._headers,
            (b"ce-id", request_id),
            (b"ce-requestid", request_id),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})
        self._succeeded.inc()
        self._duration.observe(inferred - start)
        self._requests.inc()
        seconds = time.perf_counter() - start
        self._seconds.observe(seconds)
        self._counted.answered(seconds)
        return True


def _parse(body: bytes):
    """Return the JSON of a body; None where it is none, which is for MLServer to say.

    Raises:
        Refusal: It has more of something than any model takes.
    """
    try:
        request = orjson.loads(body)
    except ValueError:
        return None
    if type(request) is not dict:
        return request
    for name in ("inputs", "outputs"):
        tensors = request.get(name)
        if type(tensors) is not list:
            continue
        if len(tensors) > MAX_TENSORS:
            raise Refusal(400, f"The request has {len(tensors)} {name}: send at most {MAX_TENSORS}.")
        for tensor in tensors:
            if type(tensor) is dict:
                _check_lengths(tensor)
    return request


def _check_lengths(tensor: dict) -> None:
    shape, values = tensor.get("shape"), tensor.get("data")
    if type(shape) is list and len(shape) > MAX_SIZES:
        raise Refusal(400, f"A shape in the request has {len(shape)} sizes: write [rows] or [rows, 1].")
    if type(values) is list and len(values) > MAX_ROWS:
        raise Refusal(400, f"An input has {len(values)} values: send at most {MAX_ROWS} rows in one request.")


def _is_usual(request) -> bool:
    """Return whether a request needs none of what MLServer does for the others."""
    if type(request) is not dict or request.get("parameters") or request.get("outputs"):
        return False
    inputs = request.get("inputs")
    if type(inputs) is not list or not inputs:
        return False
    return all(type(tensor) is dict and "parameters" not in tensor for tensor in inputs)


class Front:
    """The ASGI application in front of MLServer's own.

    Args:
        app: MLServer's application.
    """

    def __init__(self, app):
        self._app = app
        self.routes: dict[str, ShortRoute] = {}
        self.counted: RequestCounts | None = None

    async def __call__(self, scope, receive, send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            if scope["path"].endswith(_STREAMS):
                raise Refusal(404, _NO_STREAM)
            body, scope = await _read_body(scope, receive)
            start = time.perf_counter()
            request = _parse(body)
        except Refusal as refusal:
            if self.counted and scope["path"].endswith((_INFER, *_STREAMS)):
                self.counted.refused()
            await _refuse(send, refusal)
            return
        route = self.routes.get(scope["path"])
        if route and _is_json(scope) and _is_usual(request) and await route.answer(request, start, send):
            return
        del request  # MLServer reads the body again: not both at once
        receive = _replay(body, receive)
        if self.counted and scope["path"].endswith(_INFER):
            await self._count(scope, receive, send, start)
        else:
            await self._app(scope, receive, send)

    async def _count(self, scope, receive, send, start: float) -> None:
        """Let MLServer answer an inference request, and count what becomes of it."""
        status = 500  # where it raises before it has answered

        async def note(message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            self.counted.ended(status, time.perf_counter() - start)


class RestServer(RESTServer):
    """MLServer's REST server on a socket that is already bound, with the short way in front.

    Args:
        settings: MLServer's settings.
        data_plane: Its data plane.
        model_repository_handlers: Its repository handlers.
        listener: The socket.
    """

    def __init__(self, settings, data_plane, model_repository_handlers, listener):
        super().__init__(settings, data_plane, model_repository_handlers)
        # Whoever may ask a site for predictions may see how it does: not all can reach the port of the metrics.
        self._app.add_route(settings.metrics_endpoint, PrometheusEndpoint(settings).handle_metrics)
        self._app.add_exception_handler(RequestValidationError, _explain_invalid)
        self._app.add_exception_handler(HTTPException, _explain_http)
        self.front = Front(self._app)
        self.server = Listener(self.front, listener)

    async def start(self) -> None:
        """Serve until told to stop."""
        await self.server.serve()

    async def add_custom_handlers(self, model):
        """Open the short way to a model that is being loaded."""
        if isinstance(model, LooplineModel):
            headers = _event_headers(self._settings, model)
            self.front.counted = model.count_requests("rest")
            paths = [
                (f"/v2/models/{model.name}/infer", "/v2/models/{model_name}/infer", None),
                (
                    f"/v2/models/{model.name}/versions/{model.version}/infer",
                    "/v2/models/{model_name}/versions/{model_version}/infer",
                    model.version,
                ),
            ]
            for path, template, version in paths:
                self.front.routes[path] = ShortRoute(
                    model, template, version, self._data_plane, headers, self.front.counted
                )
        return await super().add_custom_handlers(model)


class Listener(uvicorn.Server):
    """A uvicorn server on a bound socket that leaves the signals alone and lets clients go one by one.

    Args:
        app: The ASGI application.
        listener: The socket.
        keep_alive_s: Seconds that a connection may be idle.
    """

    def __init__(self, app, listener, keep_alive_s: int = 75):
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            log_level="warning",
            lifespan="off",
            timeout_keep_alive=keep_alive_s,
            timeout_graceful_shutdown=1,  # for what the drain has left open
        )
        super().__init__(config)
        self._listener = listener

    def capture_signals(self):
        """Leave the signals to the launcher."""
        return contextlib.nullcontext()

    async def serve(self) -> None:
        """Serve until told to stop."""
        await super().serve([self._listener])

    async def drain(self, idle_s: float, limit_s: float) -> None:
        """Accept no more connections, and end the open ones after their next answer.

        A connection that is closed while its client is about to send a request loses that request. So each is told
        with its next answer that it ends; only those that stay idle are closed as they are.

        Args:
            idle_s: Seconds after which an idle connection is closed.
            limit_s: Seconds after which the drain ends, whatever is open.
        """
        self.config.encoded_headers.append((b"connection", b"close"))
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        for server in self.servers:
            server.close()
        self._listener.close()
        idle_since: dict = {}
        start = now = time.monotonic()
        while self.server_state.connections and now - start < limit_s:
            for connection in list(self.server_state.connections):
                cycle = getattr(connection, "cycle", None)
                if cycle is not None and not cycle.response_complete:
                    idle_since.pop(connection, None)
                elif now - idle_since.setdefault(connection, now) > idle_s:
                    connection.shutdown()
            await asyncio.sleep(0.05)
            now = time.monotonic()
        self.should_exit = True


def _event_headers(settings, model: LooplineModel) -> list[tuple[bytes, bytes]]:
    """Return the headers that MLServer adds to the answers of a model, but for the id."""
    headers = CloudEventsMiddleware(settings)._get_headers(CloudEventsTypes.Response, model.settings, None)
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return [(b"content-type", b"application/json"), *pairs]


def _header(scope, wanted: bytes) -> bytes:
    return next((value for name, value in scope["headers"] if name == wanted), b"")


def _is_json(scope) -> bool:
    content = _header(scope, b"content-type")
    return not content or content.partition(b";")[0].strip().lower() == b"application/json"


async def _read_body(scope, receive) -> tuple[bytes, dict]:
    """Read and unpack a body; returns it with the scope that MLServer is to see.

    Raises:
        Refusal: It is too large, or not what its headers say.
    """
    encoding, length = _header(scope, b"content-encoding"), _header(scope, b"content-length")
    if length.isdigit() and int(length) > MAX_BYTES:
        raise Refusal(413, _TOO_LARGE)
    message = await receive()
    body = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > MAX_BYTES:
                raise Refusal(413, _TOO_LARGE)
        body = b"".join(parts)
    if _header(scope, b"inference-header-content-length"):
        raise Refusal(400, _BINARY)
    if encoding and encoding != b"identity":
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-encoding"]
        return _unpack(body, encoding), {**scope, "headers": headers}
    return body, scope


def _unpack(body: bytes, encoding: bytes) -> bytes:
    if encoding.lower() != b"gzip":
        raise Refusal(415, f"The content encoding {encoding.decode('latin-1')[:40]!r} is unknown: use gzip or none.")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(body, MAX_BYTES + 1)
    except zlib.error:
        unpacked = b""
    if len(unpacked) > MAX_BYTES:
        raise Refusal(413, _TOO_LARGE)
    if not unpacker.eof:
        raise Refusal(400, "The request says that it is gzip and is not, or not all of it: pack it anew.")
    return unpacked


def _replay(body: bytes, receive):
    """Return a ``receive`` that gives a body that was read already."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def again():
        return messages.pop() if messages else await receive()

    return again


async def _refuse(send, refusal: Refusal) -> None:
    content = orjson.dumps({"error": str(refusal)})
    # The rest of the body is not read, so the connection cannot be used again.
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(content)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _explain_invalid(request, error: RequestValidationError) -> Response:
    """Say in one sentence what FastAPI found wrong with a request."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        reason = f"The request is not JSON: {first.get('ctx', {}).get('error', 'it cannot be read')}."
    else:
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        reason = f"The request is not one of the protocol at {place or 'its top'}: {first['msg'].lower()}."
    return Response(status_code=400, content={"error": reason[:500]})


async def _explain_http(request, error: HTTPException) -> Response:
    """Say in MLServer's form and in one sentence what FastAPI says in its own."""
    if error.status_code == 404:
        reason = "There is nothing at this path: ask a model at /v2/models/NAME and /v2/models/NAME/infer."
    else:
        reason = f"{request.method} cannot be answered here: {error.detail}."
    return Response(status_code=error.status_code, content={"error": reason}, headers=error.headers)
