"""What probe_capacity finds against servers whose capacity is known: a fixed time for each request, one at a time.

A request of S seconds on one worker makes 1/S requests a second the most that anyone can hold. With requests due at
random times the 99th percentile of an M/D/1 queue passes the budget a little below that; the larger the budget is
beside S, the nearer.
"""

import asyncio
import contextlib
import json
import multiprocessing
import socket
import tempfile
import time
from pathlib import Path

from benchmarks.measure import markdown

#: Milliseconds of a request and of the budget.
SERVERS = ((20.0, 250.0), (10.0, 250.0), (5.0, 100.0), (2.0, 50.0))


def run(seconds: float = 2.0) -> str:
    """Probe each server; returns a Markdown table."""
    with tempfile.TemporaryDirectory() as folder:
        model = _train(Path(folder))
        rows = [_probe(model, service_ms, budget_ms, seconds) for service_ms, budget_ms in SERVERS]
    headers = [
        "ms a request",
        "budget of p99, ms",
        "most possible/s",
        "found/s",
        "share",
        "stopped by",
        "s",
        "requests",
    ]
    return markdown(headers, rows) + f"\n\nEach rate for {seconds:g} s; the server in a process of its own."


def _probe(model: Path, service_ms: float, budget_ms: float, seconds: float) -> list[str]:
    from loopline.components.monitoring.probe import probe

    most = 1e3 / service_ms
    with _serving(model, service_ms / 1e3) as url:
        start = time.perf_counter()
        found = probe(url, model, budget_ms, 4 * most, seconds, 90.0)
        taken = time.perf_counter() - start
    requests = sum(trial.requests for trial in found.trials)
    return [
        f"{service_ms:g}",
        f"{budget_ms:g}",
        f"{most:g}",
        f"{found.rate:.1f}",
        f"{found.rate / most:.0%}",
        found.limit,
        f"{taken:.0f}",
        f"{requests:,}",
    ]


def _train(folder: Path) -> Path:
    import numpy as np
    import pyarrow as pa

    from loopline.components.data.schema import Column, Schema, kind_of
    from loopline.components.data.tables import write_table
    from loopline.components.training.train import train_boosted_trees

    values = np.random.default_rng(0).random((500, 3)).astype(np.float32)
    table = pa.table({**{f"x{place}": values[:, place] for place in range(3)}, "late": values[:, 0] > 0.5})
    columns = tuple(Column(field.name, kind_of(field.type)) for field in table.schema)
    write_table(folder / "train.parquet", table)
    Schema(columns, "late").save(folder / "schema.json")
    train_boosted_trees(
        folder / "train.parquet", None, folder / "schema.json", folder / "model", target="late", rounds=5, name="known"
    )
    return folder / "model"


@contextlib.contextmanager
def _serving(model: Path, service_s: float):
    from loopline.components.delivery.golden import read_golden

    golden = read_golden(model).slice(0, 1)
    output = {"name": "probabilities", "datatype": "FP32", "shape": [1, 2], "data": golden.scores[0].tolist()}
    body = json.dumps({"model_name": golden.model, "outputs": [output]}).encode()
    listener = socket.create_server(("127.0.0.1", 0))
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(listener, body, service_s), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        process.kill()
        process.join()
        listener.close()


def _serve(listener: socket.socket, body: bytes, service_s: float) -> None:
    """Answer every request with the same, one after the other."""
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    free = 0.0

    async def handle(reader, writer):
        nonlocal free
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0]))
                now = asyncio.get_running_loop().time()
                free = max(now, free) + service_s
                await asyncio.sleep(free - now)
                writer.write(answer)

    async def serve():
        server = await asyncio.start_server(handle, sock=listener)
        await server.serve_forever()

    asyncio.run(serve())
