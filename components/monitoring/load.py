"""Load a server at a fixed rate, whatever it answers: an open loop.

Requests are due at random times that do not depend on the answers, as those of many users do not (Schroeder, Wierman,
Harchol-Balter, "Open Versus Closed: A Cautionary Tale", NSDI 2006). Latency counts from the moment a request was due,
so that a server that stalls is charged for all the requests that were due meanwhile.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np

from loopline.components.addresses import check_address
from loopline.components.environment import ca_bundle
from loopline.components.errors import InputError

#: The longest answer that is read, in bytes.
_MAX_ANSWER = 64 * 2**20


@dataclass
class Tally:
    """What came of one load.

    Attributes:
        rate: Requests due in a second, on average.
        seconds: How long requests were due.
        due: How many were due before the load ended.
        latencies: Seconds from when a request was due to its whole answer, in the order of the answers.
        late: Seconds from when a request was due to when this program was there to send it.
        open: The most requests open at once.
        failure: What went wrong first, empty for nothing; the load ended there.
        overrun: Whether the load ended because a request stayed open for too long.
    """

    rate: float
    seconds: float
    due: int = 0
    latencies: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    open: int = 0
    failure: str = ""
    overrun: bool = False

    @property
    def unanswered(self) -> int:
        """Requests that were due and not answered."""
        return self.due - len(self.latencies)


class Target:
    """One address that is loaded, and no other.

    Args:
        url: The address to post to.
        bodies: What to post, in turn.
        headers: Headers to send.
        most_open: The most connections.
    """

    def __init__(self, url: str, bodies: Sequence[bytes], headers: dict[str, str], most_open: int):
        parts = urlsplit(url)
        self.host, self.is_tls = parts.hostname, parts.scheme == "https"
        self.port = parts.port or (443 if self.is_tls else 80)
        self.most_open = most_open
        lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines)
        self.messages = [f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]

    def tls(self) -> ssl.SSLContext | None:
        """Return how to check the server's certificate; None without encryption.

        Raises:
            InputError: The certificate authorities cannot be read.
        """
        if not self.is_tls:
            return None
        from requests.certs import where

        file = ca_bundle() or where()
        try:
            return ssl.create_default_context(cafile=file)
        except OSError:
            raise InputError(f"The certificate authorities in {file} cannot be read: name a PEM file.") from None


class Connection(asyncio.Protocol):
    """A connection that is kept open, with at most one request on it.

    Args:
        load: What it works for.
    """

    def __init__(self, load: "Load"):
        self._load = load
        self._due: float | None = None
        self._buffer = b""

    def connection_made(self, transport) -> None:
        """Take the first request."""
        self._transport = transport
        if self._load.may_ask(transport.get_extra_info("peername")[0]):
            self._load.give(self)
        else:
            transport.abort()

    def send(self, due: float, message: bytes) -> None:
        """Send a request that was due at some time."""
        self._due, self._buffer = due, b""
        self._transport.write(message)

    def data_received(self, data: bytes) -> None:
        """Read until the answer is whole."""
        if self._due is None:  # a router may tell an idle connection that it ends, as HAProxy does with 408
            self._load.lost(self)
            self.close()
            return
        self._buffer += data
        if len(self._buffer) > _MAX_ANSWER:
            self._load.fail("the server answered more than a model can")
            return
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        status, _, headers = head.lower().partition(b"\r\n")
        if not status.startswith(b"http/1.1 200"):
            self._load.fail(_explain_status(head))
            return
        if not _is_whole(headers, rest):
            return
        due, self._due = self._due, None
        self._load.answered(due)
        if b"connection: close" in headers:
            self._transport.close()
        else:
            self._load.give(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Say so, if a request was open."""
        self._load.lost(self)
        if self._due is not None:
            self._load.fail("the server closed a connection before it had answered")

    def close(self) -> None:
        """Give the connection up; what is open on it stays unanswered."""
        self._due = None
        self._transport.abort()


class Load:
    """Sends requests to one address, and keeps its connections between loads.

    Args:
        target: The address.
    """

    def __init__(self, target: Target):
        self._target, self._context = target, target.tls()
        self._free: list[Connection] = []
        self._connections: set[Connection] = set()
        self._opening: set[asyncio.Task] = set()
        self._waiting: deque[float] = deque()
        self._tally = Tally(0, 0)
        self._sent = 0
        self._clock = asyncio.get_running_loop().time

    async def run(self, rate: float, seconds: float, patience_s: float, random: np.random.Generator) -> Tally:
        """Send requests at a rate, and wait for their answers.

        Args:
            rate: Requests a second.
            seconds: How long they are due.
            patience_s: The load ends when a request stays open for longer.
            random: Says when they are due.

        Returns:
            What came of it.
        """
        self._tally = tally = Tally(rate, seconds)
        # A Poisson process given how many came: by chance alone a short trial would be of quite another rate.
        moments = np.sort(random.uniform(0, seconds, max(1, round(rate * seconds))))
        due = deque((moments + self._clock()).tolist())
        last = due[-1]
        while not tally.failure:
            now = self._clock()
            while due and due[0] <= now:
                tally.due += 1
                tally.late.append(now - due[0])
                self._waiting.append(due.popleft())
            self._serve()
            open_now = tally.unanswered
            tally.open = max(tally.open, open_now)
            if not due and not open_now:
                break
            # Answers come in about the order of the requests: what is open is about the last of what was due.
            if (self._waiting and now - self._waiting[0] > patience_s) or (not due and now - last > patience_s):
                tally.overrun = True
                break
            await asyncio.sleep(max(0.0, min(due[0] - now, 0.05)) if due else 0.002)
        if tally.failure or tally.overrun:
            self.close()
        return tally

    def close(self) -> None:
        """Give up all connections and what waits for one."""
        self._waiting.clear()
        for task in self._opening:
            task.cancel()
        for connection in list(self._connections):
            connection.close()
        self._free.clear()

    def may_ask(self, address: str) -> bool:
        """Return whether a step may ask the server at an address; the load ends where it may not."""
        try:
            check_address(self._target.host, address)
        except InputError as error:
            self.fail(str(error))
        return not self._tally.failure

    def give(self, connection: Connection) -> None:
        """Take a connection that has nothing to do."""
        self._connections.add(connection)
        self._free.append(connection)
        self._serve()

    def answered(self, due: float) -> None:
        """Count an answer."""
        self._tally.latencies.append(self._clock() - due)

    def fail(self, reason: str) -> None:
        """End the load."""
        self._tally.failure = self._tally.failure or reason

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        if connection in self._free:
            self._free.remove(connection)

    def _serve(self) -> None:
        """Send what waits on the connections that are free, and open more for the rest."""
        messages = self._target.messages
        while self._waiting and self._free and not self._tally.failure:
            self._free.pop().send(self._waiting.popleft(), messages[self._sent % len(messages)])
            self._sent += 1
        missing = len(self._waiting) - len(self._opening)
        room = self._target.most_open - len(self._connections) - len(self._opening)
        for _ in range(min(missing, room)):
            task = asyncio.ensure_future(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        target = self._target
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: Connection(self), target.host, target.port, ssl=self._context
            )
        except OSError as error:
            self.fail(f"no connection could be opened ({error.strerror or type(error).__name__})")


def _is_whole(headers: bytes, body: bytes) -> bool:
    if b"transfer-encoding: chunked" in headers:
        return body.endswith(b"0\r\n\r\n")
    length = headers.partition(b"content-length:")[2].partition(b"\r\n")[0].strip()
    return len(body) >= (int(length) if length.isdigit() else 0)


def _explain_status(head: bytes) -> str:
    status = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")[2][:60]
    if status.startswith("3"):
        return f"the server pointed elsewhere (HTTP {status}), and only the address that was given is asked"
    return f"the server answered HTTP {status}"
