"""A steady load on several sites, in a process of its own: ``python -m benchmarks.soak.load ORDER.json``.

Requests leave on a fixed schedule, whatever the answers do, so that a stall delays all that come after it: latencies
are counted from the scheduled time. Half of them go over a few kept connections in turn, half over new ones. Nothing is
sent twice. Each request becomes a line of the file that the order names; SIGTERM ends the load.
"""

import asyncio
import csv
import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

#: Connections to a site that are kept, and seconds that a request may take.
KEPT, TIMEOUT_S = 4, 30.0


@dataclass(frozen=True)
class Order:
    """What to send.

    Attributes:
        urls: Where each site answers.
        path: The path to post to.
        bodies: The requests, JSON without their id, one after the other.
        per_second: Requests a second to each site.
        out: The file to write.
    """

    urls: dict[str, str]
    path: str
    bodies: list[dict]
    per_second: float
    out: str


@dataclass(frozen=True)
class Sample:
    """One request.

    Attributes:
        number: Its number; its id is ``soak-<site>-<number>``, and its body the one of that number.
        site: Whom it was sent to.
        due: When it was to be sent, of ``time.monotonic``, which all processes share.
        seconds: From then until it was answered, or failed.
        version: The model's version in the answer; empty when it failed.
        problem: How it failed; empty when it was answered.
    """

    number: int
    site: str
    due: float
    seconds: float
    version: str
    problem: str


class Load:
    """The load's process; it runs for the length of a ``with`` block.

    Args:
        order: What to send.
        folder: For its files.
    """

    def __init__(self, order: Order, folder: Path):
        self._order, self._file = order, folder / "order.json"

    def __enter__(self) -> "Load":
        self._file.write_text(json.dumps(asdict(self._order)), encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.soak.load", str(self._file)]
        self._process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        return self

    def __exit__(self, *_) -> None:
        self._process.terminate()
        self._process.wait()

    @property
    def exit_code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def samples(self) -> list[Sample]:
        """Read what was sent so far and is over."""
        file = Path(self._order.out)
        if not file.is_file():
            return []
        with file.open(newline="", encoding="utf-8") as lines:
            rows = [row for row in csv.reader(lines) if len(row) == 6]
        return [Sample(int(row[0]), row[1], float(row[2]), float(row[3]), row[4], row[5]) for row in rows]


class _Sender:
    def __init__(self, order: Order, write):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        self._order, self._write = order, write
        self._new = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0), timeout=timeout)
        self._kept = {
            site: [aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1), timeout=timeout) for _ in range(KEPT)]
            for site in order.urls
        }

    async def run(self, ending: asyncio.Event) -> None:
        """Send until told to end, then wait for the last answers."""
        tasks: set[asyncio.Task] = set()
        due, number = time.monotonic(), 0
        while not ending.is_set():
            for site in self._order.urls:
                task = asyncio.create_task(self._ask(site, number, due))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            number, due = number + 1, due + 1 / self._order.per_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.gather(*tasks)
        for session in (self._new, *(one for some in self._kept.values() for one in some)):
            await session.close()

    async def _ask(self, site: str, number: int, due: float) -> None:
        import aiohttp

        session = self._new if number % 2 else self._kept[site][number // 2 % KEPT]
        body = {"id": f"soak-{site}-{number}", **self._order.bodies[number % len(self._order.bodies)]}
        version = problem = ""
        try:
            async with session.post(self._order.urls[site] + self._order.path, json=body) as answer:
                content = await answer.read()
                if answer.status == 200:
                    version = json.loads(content)["model_version"]
                else:
                    problem = f"HTTP {answer.status} {content[:200]!r}"
        except (aiohttp.ClientError, TimeoutError, ValueError, LookupError) as error:
            problem = f"{type(error).__name__} {error}"
        self._write([number, site, f"{due:.4f}", f"{time.monotonic() - due:.4f}", version, problem])


async def _run(order: Order) -> None:
    ending = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, ending.set)
    with open(order.out, "w", newline="", buffering=1, encoding="utf-8") as lines:
        await _Sender(order, csv.writer(lines).writerow).run(ending)


if __name__ == "__main__":
    asyncio.run(_run(Order(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
