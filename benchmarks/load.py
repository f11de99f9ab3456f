"""Load an HTTP server with one request again and again, and measure its answers.

``python -m benchmarks.load URL BODY_FILE --clients 16 --seconds 4`` prints one line of JSON. The clients keep their
connections, send the next request as soon as the last is answered, and run on one event loop over bare sockets, which
costs about as little as a load generator in Python can.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

#: Seconds of load before the answers count.
WARM_UP_S = 1.0


@dataclass(frozen=True)
class Load:
    """What came of a load.

    Attributes:
        requests: Requests answered with 200 in the time that counts.
        seconds: How long that was.
        failures: Other answers and lost connections, in all the time.
        p50_ms: The latency that half of the requests did not exceed.
        p99_ms: The latency that 99 of 100 did not exceed.
    """

    requests: int
    seconds: float
    failures: int
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Requests answered in a second."""
        return self.requests / self.seconds


def run_load(url: str, body: bytes, clients: int, seconds: float) -> Load:
    """Load a server from a process of its own.

    Args:
        url: Where to post.
        body: The JSON to post.
        clients: How many ask at once.
        seconds: How long the answers count, after ``WARM_UP_S``.
    """
    command = [sys.executable, "-m", "benchmarks.load", url, "-", "--clients", str(clients), "--seconds", str(seconds)]
    done = subprocess.run(command, input=body, stdout=subprocess.PIPE, check=True, cwd=Path(__file__).parents[1])
    return Load(**json.loads(done.stdout))


@dataclass
class _Tally:
    start: float
    end: float
    seconds: list[float] = field(default_factory=list)
    failures: int = 0


class _Client(asyncio.Protocol):
    """One connection that asks until the time is over."""

    def __init__(self, request: bytes, tally: _Tally, done: asyncio.Future):
        self._request, self._tally, self._done = request, tally, done
        self._sent = 0.0
        self._buffer = b""
        self._length = -1

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._length < 0:
            head, found, _ = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            lower = head.lower()
            self._right = head.startswith(b"HTTP/1.1 200")
            self._closing = b"connection: close" in lower
            self._length = len(head) + 4 + int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(self._buffer) >= self._length:
            self._answered()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)

    def _send(self) -> None:
        self._buffer, self._length = b"", -1
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def _answered(self) -> None:
        now = time.perf_counter()
        if not self._right:
            self._tally.failures += 1
        elif self._sent >= self._tally.start and now <= self._tally.end:
            self._tally.seconds.append(now - self._sent)
        if now > self._tally.end or self._closing:
            self._transport.close()
        else:
            self._send()


async def _load(url: str, body: bytes, clients: int, seconds: float) -> Load:
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    loop = asyncio.get_running_loop()
    start = time.perf_counter() + WARM_UP_S
    tally = _Tally(start, start + seconds)

    async def keep_asking() -> None:
        while time.perf_counter() < tally.end:
            done = loop.create_future()
            try:
                await loop.create_connection(
                    lambda done=done: _Client(request, tally, done), parts.hostname, parts.port
                )
                await done
            except OSError:
                tally.failures += 1
                await asyncio.sleep(0.05)

    await asyncio.gather(*(keep_asking() for _ in range(clients)))
    if not tally.seconds:
        raise SystemExit(f"{url} answered no request with 200; {tally.failures} failed.")
    p50, p99 = np.percentile(tally.seconds, [50, 99]) * 1e3
    return Load(len(tally.seconds), seconds, tally.failures, float(p50), float(p99))


def main() -> None:
    """Run a load as the command line says and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("body", help="file with the JSON to post; - for standard input")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    body = sys.stdin.buffer.read() if options.body == "-" else Path(options.body).read_bytes()
    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    with runner:
        print(json.dumps(asdict(runner.run(_load(options.url, body, options.clients, options.seconds)))))


if __name__ == "__main__":
    main()
