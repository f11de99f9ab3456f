"""The flights app as a process, sites whose model can be replaced, and a way to them that breaks when told to."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import requests
from serving_models import IMAGE, launched, listening, release

from loopline.components.data.schema import Column, Schema, kind_of
from loopline.components.data.tables import write_table
from loopline.components.training.train import train_boosted_trees
from loopline.examples.flights.prepare import flights_with_weather
from loopline.pipelines.sites.ports import free_port


def train_flights(folder: Path) -> dict[int, Path]:
    """Train two small models on real flights.

    Version 4 has other columns than version 3: no pressure, a number and a text that the app has never heard of, and
    the rest in another order.
    """
    frame = flights_with_weather()
    frame = frame[frame["month"] < 6].sample(4000, random_state=1).drop(columns="time_hour")
    other = frame.drop(columns="pressure").iloc[:, ::-1]
    other = other.assign(
        moon=range(len(other)), season=pd.Series("winter", other.index).where(other["month"] < 4, "spring")
    )
    models = {}
    for version, rows in ((3, frame), (4, other)):
        table = pa.Table.from_pandas(rows.drop(columns="month"), preserve_index=False)
        data, schema, model = (folder / f"{name}-{version}" for name in ("data.parquet", "schema.json", "model"))
        write_table(data, table)
        Schema(tuple(_describe_column(table, name) for name in table.column_names)).save(schema)
        train_boosted_trees(data, None, schema, model, target="late", rounds=8, name="flights")
        models[version] = release(model, folder / f"released-{version}", version)
    return models


def _describe_column(table: pa.Table, name: str) -> Column:
    kind = kind_of(table.schema.field(name).type)
    categories = tuple(sorted(table[name].unique().to_pylist())) if kind == "category" else None
    return Column(name, kind, categories=categories)


class ChangingSite:
    """A site with a listening socket of its own, on which one model server takes over from another."""

    def __init__(self, models: dict[int, Path], folder: Path):
        self._models, self._folder = models, folder
        self._listener, self._grpc_port = listening(), free_port()
        self._stack = contextlib.ExitStack()
        self._process, self._count, self.version = None, 0, 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def replace(self, version: int) -> None:
        """Start another version, and stop the one before when it is ready."""
        self._count += 1
        ready = self._folder / f"ready-{self._count}"
        model, before = self._models[version], self._process
        variables = {"LOOPLINE_SITE": "edge", "LOOPLINE_IMAGE_DIGEST": IMAGE}
        running = launched(model, self._listener, self._grpc_port, ready, **variables)
        self._process, self.version = self._stack.enter_context(running), version
        if before:
            before.send_signal(signal.SIGTERM)
            assert before.wait(20) == 0

    @property
    def other(self) -> int:
        """The version that is not there."""
        return next(version for version in self._models if version != self.version)

    def close(self) -> None:
        self._stack.close()
        self._listener.close()


@contextlib.contextmanager
def running_app(services: dict[str, str], log: Path, port: int = 0):
    """Run the app; yields its address and its process."""
    port = port or free_port()
    variables = {"LOOPLINE_SERVICES": json.dumps(services), "PORT": str(port)}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "loopline.examples.flights.app"],
            stdout=stream,
            stderr=stream,
            env={**os.environ, **variables},
        )
    try:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 30
        while not _answers(url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "not ready in time"
            time.sleep(0.05)
        yield url, process
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=2).ok
    except requests.exceptions.ConnectionError:
        return False


def closed_address() -> str:
    """Return an address where nothing listens."""
    return f"http://127.0.0.1:{free_port()}"


class Relay:
    """A way to a real server. It drops the next ``drop`` requests unanswered, and while ``hang`` forwards nothing.

    Attributes:
        url: Where it listens.
        connections: How many were made.
    """

    def __init__(self, target: str):
        self._target = ("127.0.0.1", int(target.rpartition(":")[2]))
        self._listener = listening()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.drop, self.hang, self.connections = 0, False, 0
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self.connections += 1
                self._open += [client, server]
                threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answers, args=(server, client), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                if self.drop:
                    self.drop -= 1
                    client.shutdown(socket.SHUT_RDWR)
                    break
                if not self.hang:
                    server.sendall(data)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                client.sendall(data)
