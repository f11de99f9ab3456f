"""Loopline's model server against ``mlflow models serve`` and MLServer's stock runtime: one row a request.

The model predicts late flights: 16 features, some of them text, trees of depth 6. The others serve it in two forms:
``pyfunc`` is the registered model itself, so it reads the same text and numbers; ``xgboost`` is as large a booster on
features that are numbers already, which spares those servers the encoding. mlserver-xgboost is installed beside the
environment without its dependencies, because they would bring XGBoost's wheel for CUDA. All run with OMP_NUM_THREADS=1.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.load import Load, run_load
from benchmarks.peers import PeerMissing, peer_python
from benchmarks.result import Side, Table, Text

ROUNDS, DEPTH = 100, 6
SECONDS = 2.0


@dataclass
class Contender:
    """A server with its model.

    Attributes:
        name: What it is called in the table.
        command: From the ports for REST, gRPC and metrics to the command that starts it.
        path: Where it takes requests.
        ready: Where it says that it is ready.
        body: The request.
        variables: What is added to its environment.
        loads: By number of clients what came of each round.
        cpu_ms: By number of clients the CPU time of a request in each round.
        memory_mb: Its resident memory after each round.
    """

    name: str
    command: Callable[[int, int, int], list[str]]
    path: str
    ready: str
    body: bytes
    variables: dict[str, str] = field(default_factory=dict)
    loads: dict[int, list[Load]] = field(default_factory=dict)
    cpu_ms: dict[int, list[float]] = field(default_factory=dict)
    memory_mb: list[float] = field(default_factory=list)


def run(repeats: int = 5, clients: tuple[int, ...] = (1, 16), seconds: float = SECONDS) -> list[Table | Text]:
    """Load each server in turn.

    Args:
        repeats: Rounds.
        clients: How many ask at once.
        seconds: Of each round, for each number of clients.
    """
    missing: list[Side] = []
    with tempfile.TemporaryDirectory() as folder:
        contenders = prepare(Path(folder), missing)
        for _ in range(repeats):
            for contender in list(contenders):
                try:
                    _measure(contender, Path(folder), clients, seconds)
                except RuntimeError as error:
                    if contender.name == "Loopline":
                        raise
                    contenders.remove(contender)
                    missing.append(Side(contender.name, {}, "peer", str(error).strip().splitlines()[-1][:160]))
    tables = []
    for count in clients:
        sides = [_side(contender, count) for contender in contenders] + missing
        title = f"{count} client{'s' * (count > 1)}, one row a request, {seconds:g} s a round"
        tables.append(Table(title, ("requests/s", "p50 ms", "p99 ms", "CPU ms", "peak MB"), sides))
    note = (
        f"{ROUNDS} trees of depth {DEPTH}, all with one OpenMP thread; the load generator runs on the same cores. The "
        "servers named `xgboost` take a booster as large on features that are numbers already, so they are spared the "
        "encoding of text; `pyfunc` is the registered model itself and reads what Loopline reads. Loopline also checks "
        "every input against the schema. MB is the resident memory of the server's processes after the load."
    )
    return [*tables, Text(note)]


def _side(contender: Contender, clients: int) -> Side:
    loads = contender.loads[clients]
    samples = {
        "requests/s": [load.per_second for load in loads],
        "p50 ms": [load.p50_ms for load in loads],
        "p99 ms": [load.p99_ms for load in loads],
        "CPU ms": contender.cpu_ms[clients],
        "peak MB": contender.memory_mb,
    }
    return Side(contender.name, samples, "ours" if contender.name == "Loopline" else "peer")


def prepare(folder: Path, missing: list[Side] | None = None) -> list[Contender]:
    """Train the model in its forms and name the servers.

    Args:
        folder: Where everything is written.
        missing: Takes the servers that cannot be installed.
    """
    from loopline.components.delivery.golden import read_golden
    from loopline.components.delivery.inference import build_request

    model, encoded = _train(folder)
    golden = read_golden(model).slice(0, 1)
    request = json.dumps(build_request(golden.rows, golden.features)).encode()
    frame = golden.rows.to_pylist()[0]
    split = json.dumps({"dataframe_split": {"columns": list(frame), "data": [list(frame.values())]}}).encode()
    numbers = json.dumps({"inputs": [encoded]}).encode()
    tensor = {"name": "x", "shape": [1, len(encoded)], "datatype": "FP32", "data": encoded}
    tensors = json.dumps({"inputs": [tensor]}).encode()
    stock = {"PYTHONPATH": str(folder / "packages"), "MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_DEBUG": "false"}
    return [
        Contender("mlflow models serve, pyfunc", _mlflow(folder / "pyfunc"), "/invocations", "/ping", split),
        Contender("mlflow models serve, xgboost", _mlflow(folder / "xgboost"), "/invocations", "/ping", numbers),
        Contender(
            "MLServer, mlserver-xgboost", _mlserver(folder / "stock"), "/v2/models/stock/infer", _READY, tensors, stock
        ),
        Contender("Loopline", _loopline(model), "/v2/models/flights/infer", _READY, request),
        *_kserve(folder / "stock" / "model.ubj", tensors, missing),
    ]


_READY = "/v2/health/ready"


def _kserve(booster: Path, body: bytes, missing: list[Side] | None) -> list[Contender]:
    """KServe's own server around the same booster; its ready-made XGBoost server is not on the package index."""
    name = "KServe, its Python server, xgboost"
    try:
        python = peer_python("kserve")
    except PeerMissing as error:
        if missing is not None:
            missing.append(Side(name, {}, "peer", str(error)))
        return []
    program = Path(__file__).with_name("serving_kserve.py")
    command = lambda rest, grpc, metrics: [str(python), str(program), str(booster), str(rest), str(grpc)]  # noqa: E731
    return [Contender(name, command, "/v2/models/stock/infer", "/v2/models/stock/ready", body)]


def _loopline(model: Path):
    command = [sys.executable, "-m", "loopline.components.serving", str(model)]
    return lambda rest, grpc, metrics: [
        *command, "--http-port", str(rest), "--grpc-port", str(grpc), "--metrics-port", str(metrics),
    ]  # fmt: skip


def _mlserver(folder: Path):
    program = (
        "import os, sys; p = sys.argv[2:]\n"
        "os.environ.update(MLSERVER_HTTP_PORT=p[0], MLSERVER_GRPC_PORT=p[1], MLSERVER_METRICS_PORT=p[2])\n"
        "sys.argv = ['mlserver', 'start', sys.argv[1]]\n"
        "from mlserver.cli import main; main()"
    )
    return lambda *ports: [sys.executable, "-c", program, str(folder), *map(str, ports)]


def _mlflow(folder: Path):
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local", "-p"]
    return lambda rest, grpc, metrics: [*command, str(rest)]


def _train(folder: Path) -> tuple[Path, list[float]]:
    """Train the flights in every form; returns the model directory and a row as the bare booster takes it."""
    import mlflow
    import numpy as np
    import pyarrow as pa
    import xgboost

    from loopline.components.data.schema import Column, Schema, kind_of
    from loopline.components.data.tables import write_table
    from loopline.components.model.predictor import encode_columns, feature_columns
    from loopline.components.registry.flavor import save_flavor
    from loopline.components.training.train import train_boosted_trees
    from loopline.examples.flights.prepare import flights_with_weather

    frame = flights_with_weather().drop(columns=["time_hour", "month"]).sample(60_000, random_state=0)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    columns = []
    for name in table.column_names:
        kind = kind_of(table.schema.field(name).type)
        categories = tuple(sorted(set(frame[name]))) if kind == "category" else None
        columns.append(Column(name, kind, categories=categories))
    write_table(folder / "train.parquet", table)
    Schema(tuple(columns), "late").save(folder / "schema.json")
    model = folder / "model"
    options = {"target": "late", "params": json.dumps({"max_depth": DEPTH}), "rounds": ROUNDS, "name": "flights"}
    train_boosted_trees(folder / "train.parquet", None, folder / "schema.json", model, **options)
    save_flavor(model, folder / "pyfunc", mlflow.models.Model())
    features = Schema(tuple(column for column in columns if column.name != "late"))
    matrix = encode_columns(feature_columns(table, features), features)
    settings = {"objective": "binary:logistic", "tree_method": "hist", "max_depth": DEPTH}
    booster = xgboost.train(settings, xgboost.QuantileDMatrix(matrix, frame["late"]), ROUNDS)
    mlflow.xgboost.save_model(booster, str(folder / "xgboost"), pip_requirements=["xgboost"])
    stock = folder / "stock"
    stock.mkdir()
    booster.save_model(stock / "model.ubj")
    named = {"name": "stock", "implementation": "mlserver_xgboost.XGBoostModel", "parameters": {"uri": "./model.ubj"}}
    (stock / "model-settings.json").write_text(json.dumps(named))
    import mlserver

    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder / "packages")]
    subprocess.run([*pip, f"mlserver-xgboost=={mlserver.__version__}"], check=True)
    whole = np.flatnonzero(~np.isnan(matrix).any(axis=1))[0]  # JSON has no NaN
    return model, matrix[whole].tolist()


def _measure(contender: Contender, folder: Path, clients: tuple[int, ...], seconds: float) -> None:
    with _running(contender, folder) as (url, pid):
        for count in clients:
            before = _cpu_seconds(pid)
            load = run_load(url + contender.path, contender.body, count, seconds)
            if load.failures:
                raise RuntimeError(f"{contender.name}: {load.failures} requests failed")
            contender.loads.setdefault(count, []).append(load)
            # The warm-up counts in both, so the ratio holds.
            answered = load.requests * (1 + 1.0 / seconds)
            contender.cpu_ms.setdefault(count, []).append((_cpu_seconds(pid) - before) / answered * 1e3)
        contender.memory_mb.append(sum(_resident_mb(one) for one in _family(pid)))


@contextlib.contextmanager
def _running(contender: Contender, folder: Path) -> Iterator[tuple[str, int]]:
    ports = []
    for _ in range(3):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    # mlflow calls uvicorn by its name.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # More threads for one row only wait for each other, above all where the cores are shared.
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", **contender.variables}
    log = folder / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            contender.command(*ports), stdout=stream, stderr=stream, env=environment, cwd=folder, start_new_session=True
        )
    url = f"http://127.0.0.1:{ports[0]}"
    try:
        deadline = time.monotonic() + 120
        while not _is_ready(url + contender.ready):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{contender.name} did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.1)
        yield url, process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def _family(pid: int) -> list[int]:
    """Return a process and all that came from it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _cpu_seconds(pid: int) -> float:
    total = 0
    for one in _family(pid):
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024
