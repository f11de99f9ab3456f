"""MLServer over one model directory: loads the model, then listens; drains, then ends."""

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from mlserver import MLServer, ModelSettings, Settings
from mlserver.errors import MLServerError, ModelNotFound
from mlserver.handlers import ModelRepositoryHandlers
from mlserver.metrics import MetricsServer
from mlserver.repository import ModelRepository

from loopline.components.errors import InputError
from loopline.components.model.directory import SETTINGS, verify_model
from loopline.components.serving.rest import MAX_BYTES, Listener, RestServer
from loopline.components.serving.rpc import RpcServer, quiet_refusals
from loopline.components.serving.runtime import LooplineModel
from loopline.components.serving.served import model_version

logger = logging.getLogger("loopline")
#: Seconds of the drain: until an idle connection is closed, and until everything is.
IDLE_S, DRAIN_S = 1.0, 10.0
#: Seconds that a thread beside the one that answers may keep it waiting; Python's own 0.005 is longer than an answer.
_SWITCH_S = 0.0005
_FIXED = "The model is not loaded or unloaded by request: serve another model directory."
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


@dataclass(frozen=True)
class Options:
    """How to serve.

    Attributes:
        folder: The model directory.
        host: The address to listen on.
        http_port: For REST; 0 for any free one.
        grpc_port: For gRPC; two servers may share it.
        metrics_port: For Prometheus.
        http_fd: A listening socket to take REST requests from instead of ``http_port``; None for none.
        ready_file: Written once requests are answered; None for none.
    """

    folder: Path
    host: str = "127.0.0.1"
    http_port: int = 8080
    grpc_port: int = 8081
    metrics_port: int = 8082
    http_fd: int | None = None
    ready_file: Path | None = None


class OneModel(ModelRepository):
    """MLServer's view of one model directory, served by ``LooplineModel`` whatever its settings name.

    Args:
        root: The model directory.
    """

    def __init__(self, root: str):
        self._root = Path(root)

    async def list(self) -> "list[ModelSettings]":
        """Return the settings of the model."""
        values = json.loads((self._root / SETTINGS).read_text(encoding="utf-8"))
        values["implementation"] = f"{LooplineModel.__module__}.{LooplineModel.__qualname__}"
        values["parameters"]["uri"] = str(self._root / values["parameters"]["uri"])
        settings = ModelSettings.model_validate(values)
        settings.parameters.version = model_version(self._root)
        return [settings]

    async def find(self, name: str) -> "list[ModelSettings]":
        """Return the settings of the model when it has this name."""
        found = [settings for settings in await self.list() if settings.name == name]
        if not found:
            raise ModelNotFound(name)
        return found


class FixedModel(ModelRepositoryHandlers):
    """Refuses to load and unload: whoever may ask for predictions could take the model away with it."""

    async def load(self, name: str) -> bool:
        """Refuse."""
        raise MLServerError(_FIXED, 422)

    async def unload(self, name: str) -> bool:
        """Refuse."""
        raise MLServerError(_FIXED, 422)


class Metrics(MetricsServer):
    """MLServer's metrics server on a socket that is already bound."""

    def __init__(self, settings: Settings, listener: socket.socket):
        super().__init__(settings)
        self._server = Listener(self._app, listener)

    async def start(self) -> None:
        """Serve until told to stop."""
        await self._server.serve()


class Server(MLServer):
    """MLServer over one model directory.

    Args:
        options: How to serve.

    Raises:
        InputError: A port is taken.
    """

    def __init__(self, options: Options):
        self._options = options
        self._stop = asyncio.Event()
        self._rest_listener = _listener(options)
        self._metrics_listener = _bind(options.host, options.metrics_port, "--metrics-port")
        settings = Settings(
            debug=False,
            parallel_workers=0,
            host=options.host,
            http_port=self._rest_listener.getsockname()[1],
            grpc_port=options.grpc_port,
            metrics_port=options.metrics_port,
            grpc_max_message_length=MAX_BYTES,
            model_repository_root=str(options.folder),
            model_repository_implementation=OneModel,
            load_models_at_startup=False,
            gzip_enabled=False,
        )
        super().__init__(settings)
        self._metrics_server = Metrics(settings, self._metrics_listener)

    def _add_signal_handlers(self) -> None:
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

    def _create_servers(self) -> None:
        repository = FixedModel(self._model_repository, self._model_registry)
        parts = (self._settings, self._data_plane, repository)
        self._rest_server = RestServer(*parts, self._rest_listener)
        self._grpc_server = RpcServer(*parts)
        self._kafka_server = None

    async def run(self) -> None:
        """Load the model, serve it until a signal comes, drain.

        Raises:
            InputError: The model cannot be served, or the gRPC port is taken.
        """
        [settings] = await self._model_repository.list()
        model = await self._model_registry.load(settings)
        self._grpc_server.counted = model.count_requests("grpc")
        # What is loaded stays: without it the collector has next to nothing to look at, and answers do not wait for it.
        gc.collect()
        gc.freeze()
        tasks = [
            asyncio.ensure_future(server.start())
            for server in (self._grpc_server, self._metrics_server, self._rest_server)
        ]
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await self._announce(tasks)
            logger.info("serving %s version %s, REST on port %d", model.name, model.version, self._settings.http_port)
            await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            logger.info("draining")
            await self._drain()
            await asyncio.gather(*tasks)
        finally:
            stop.cancel()
            for task in tasks:
                task.cancel()
            await model.unload()

    async def _announce(self, tasks: list[asyncio.Future]) -> None:
        while not self._rest_server.server.started:
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.01)
        if self._options.ready_file:
            hidden = self._options.ready_file.with_name(f".{self._options.ready_file.name}.{os.getpid()}")
            hidden.touch()
            hidden.rename(self._options.ready_file)

    async def _drain(self) -> None:
        await asyncio.gather(self._rest_server.server.drain(IDLE_S, DRAIN_S), self._grpc_server.drain(DRAIN_S))
        # Until the last answer is counted.
        self._metrics_server._server.should_exit = True


def serve(options: Options) -> None:
    """Serve a model directory until SIGTERM or SIGINT.

    Args:
        options: How to serve.

    Raises:
        InputError: The directory is no model as it was sealed, or a port is taken.
    """
    verify_model(options.folder)
    model_version(options.folder)  # says when the release beside it is another model's
    quiet_refusals()
    sys.setswitchinterval(_SWITCH_S)

    async def run() -> None:
        await Server(options).run()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(run())


def _loop_factory():
    """Return how to make the faster event loop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _listener(options: Options) -> socket.socket:
    if options.http_fd is None:
        return _bind(options.host, options.http_port, "--http-port")
    try:
        listener = socket.socket(fileno=options.http_fd)
    except OSError as error:
        raise InputError(f"--http-fd {options.http_fd} is not a socket ({error.strerror}): hand one down.") from None
    listener.setblocking(False)
    return listener


def _bind(host: str, port: int, option: str) -> socket.socket:
    if not 0 <= port <= 65535:
        raise InputError(f"Port {port} does not exist: choose one from 0 to 65535 with {option}.")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"Cannot listen on {host}:{port} ({error.strerror}): choose a free port with {option}."
        ) from None
    return listener
