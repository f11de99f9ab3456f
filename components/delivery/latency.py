"""How fast a model server answers, and how much memory it takes."""

import contextlib
import http.client
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import pyarrow as pa

from loopline.components.delivery.golden import Golden
from loopline.components.delivery.inference import RefusedError, UnreachableError, build_request

#: Requests before those that count, and the most that count.
WARM_UP, REQUESTS = 50, 1000
#: Seconds after which no further request is sent, and the fewest requests that count all the same.
SECONDS, FEWEST = 3.0, 20


@dataclass(frozen=True)
class Latency:
    """How long a server took to answer one client that asks again and again.

    Attributes:
        rows: Rows of one request.
        seconds: Time from sending a request to its whole answer, one a request.
    """

    rows: int
    seconds: np.ndarray

    def percentile_ms(self, percent: float) -> float:
        """Return the latency that a share of the requests did not exceed, in milliseconds."""
        return float(np.percentile(self.seconds, percent, method="higher")) * 1e3

    @property
    def rows_per_s(self) -> float:
        """Rows predicted in a second."""
        return self.rows * len(self.seconds) / float(self.seconds.sum())


def measure_latency(url: str, golden: Golden, rows: int = 1, requests: int = REQUESTS) -> Latency:
    """Ask for golden rows over one REST connection that is kept open.

    Args:
        url: Where the server answers.
        golden: The model's golden rows, asked for in turn.
        rows: Rows of one request.
        requests: The most requests that count; fewer when the server takes longer than ``SECONDS`` for them.

    Returns:
        How long each took.

    Raises:
        UnreachableError: The server went away.
        RefusedError: It answered with an error.
    """
    bodies = _bodies(golden, rows)
    path = f"/v2/models/{quote(golden.model, safe='')}/infer"
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)

    def ask(number: int) -> float:
        start = time.perf_counter()
        connection.request("POST", path, bodies[number % len(bodies)], {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        taken = time.perf_counter() - start
        if response.status != 200:
            reason = text.decode("utf-8", "replace")
            raise RefusedError(f"{url} answered HTTP {response.status}: {reason}", response.status, reason)
        return taken

    try:
        _ask_for(ask, WARM_UP, 1, SECONDS / 3)
        return Latency(rows, np.array(_ask_for(ask, requests, FEWEST, SECONDS)))
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(f"{url} stopped answering ({type(error).__name__}).") from None
    finally:
        connection.close()


def peak_memory_mb(pid: int) -> float | None:
    """Return the peak resident memory of a process and those it started, in MB (2**20 bytes).

    Args:
        pid: The process.

    Returns:
        The sum of their peaks; None where the system does not tell (it is Linux that does).
    """
    total, waiting = 0.0, [pid]
    while waiting:
        process = Path("/proc") / str(waiting.pop())
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, KeyError):  # it ended meanwhile
            fields = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
            total += int(fields["VmHWM"].split()[0]) / 1024
            for task in (process / "task").iterdir():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    waiting += map(int, (task / "children").read_text().split())
    return total or None


def _ask_for(ask, most: int, fewest: int, seconds: float) -> list[float]:
    taken: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(taken) < most and (len(taken) < fewest or time.perf_counter() < deadline):
        taken.append(ask(len(taken)))
    return taken


def _bodies(golden: Golden, rows: int) -> list[bytes]:
    """Return requests of some rows, going around in the golden rows."""
    total = golden.rows.num_rows
    around = pa.concat_tables([golden.rows] * (1 + math.ceil(rows / total))).combine_chunks()
    starts = range(total) if rows < total else [0]
    return [json.dumps(build_request(around.slice(start, rows), golden.features)).encode() for start in starts]
