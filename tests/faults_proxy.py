"""Faults between a step and a real service: a proxy for any connection, and one that knows HTTP.

Both pass everything on until they are told otherwise, and can be told so while clients are connected::

    with TcpProxy(service.url) as proxy:
        proxy.cut(down=1000)     # the connection is reset after 1000 bytes of answers
        run(proxy.url)
        proxy.heal()

    with HttpProxy(service.url) as proxy:
        proxy.answer(503, times=2)               # the first two requests; the service does not see them
        proxy.lose(times=1, method="POST")       # the service does what it is asked, and its answer is lost
        run(proxy.url)
        assert proxy.met == 3
"""

import contextlib
import http.client
import http.server
import re
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from http_bodies import read_body

#: Bytes that are passed on at once.
_PIECE = 65_536


@dataclass(frozen=True)
class _Way:
    """What happens to connections made from now on: limits in bytes, and bytes a second."""

    up: int | None = None
    down: int | None = None
    stall: bool = False
    rate: float = 0.0


class TcpProxy:
    """Passes bytes to a service and back; use it in a ``with`` block.

    Args:
        service: The service's address, with its scheme where it has one; TLS passes through as it is.

    Attributes:
        url: The proxy's address, of the same scheme, host name and path.
        connections: How many clients have connected since the last order.
    """

    def __init__(self, service: str):
        parts = urlsplit(service if "://" in service else f"tcp://{service}")
        self._service = (parts.hostname, parts.port)
        # An address of this machine that is not 127.0.0.1 is spoken to over TLS.
        self._host = parts.hostname if parts.hostname.startswith("127.") else "127.0.0.1"
        self._listener = _listen(self._host, 0)
        self._port = self._listener.getsockname()[1]
        self.url = parts._replace(netloc=f"{parts.hostname}:{self._port}").geturl()
        self._way, self._times, self.connections = _Way(), 0, 0
        self._lock, self._pairs, self._closed = threading.Lock(), [], False
        self._healed = threading.Event()

    def cut(self, up: int | None = None, down: int | None = None, times: int = 0) -> None:
        """Reset each connection after so many bytes in one direction.

        Args:
            up: Bytes from the client.
            down: Bytes from the service.
            times: Only the first so many connections; 0 for all.
        """
        self._order(_Way(up, down), times)

    def stall(self, up: int | None = None, down: int | None = None, times: int = 0) -> None:
        """Pass nothing on after so many bytes and keep the connection open; see ``cut``."""
        self._order(_Way(up, down, stall=True), times)

    def slow(self, rate: float) -> None:
        """Pass on no more than so many bytes a second, in each direction."""
        self._order(_Way(rate=rate), 0)

    def refuse(self) -> None:
        """Reset the connections there are and take no new ones: the service is down."""
        self._order(_Way(), 0)
        if self._listener is not None:
            # Closing alone does not wake who waits in accept.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _reset(*pair)

    def heal(self) -> None:
        """Pass everything on again: the service is back."""
        self._order(_Way(), 0)
        if self._listener is None:
            self._listener = _listen(self._host, self._port)
            self._start()

    def _order(self, way: _Way, times: int) -> None:
        self._healed.set()
        self._healed = threading.Event()
        self._way, self._times, self.connections = way, times, 0

    def _start(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = listener.accept()
                self.connections += 1
                way = _Way() if self._times and self.connections > self._times else self._way
                try:
                    server = socket.create_connection(self._service, 10)
                except OSError:
                    _reset(client)
                    continue
                server.settimeout(None)
                with self._lock:
                    self._pairs.append((client, server))
                for source, sink, limit in ((client, server, way.up), (server, client, way.down)):
                    threading.Thread(target=self._pump, args=(source, sink, limit, way), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, limit: int | None, way: _Way) -> None:
        piece = max(1, min(_PIECE, int(way.rate / 20))) if way.rate else _PIECE
        healed, passed = self._healed, 0
        with contextlib.suppress(OSError):
            while data := source.recv(piece):
                if limit is not None and passed + len(data) >= limit:
                    sink.sendall(data[: limit - passed])
                    if way.stall:
                        healed.wait()
                    _reset(source, sink)
                    return
                sink.sendall(data)
                passed += len(data)
                if way.rate:
                    time.sleep(len(data) / way.rate)
            sink.shutdown(socket.SHUT_WR)

    def __enter__(self) -> "TcpProxy":
        self._start()
        return self

    def __exit__(self, *_error) -> None:
        self.refuse()


@dataclass(frozen=True)
class _Rule:
    """What to do with the next requests that fit: an own answer, or what happens to the service's."""

    action: str
    times: int
    method: str
    path: str
    status: int = 0
    retry_after: str = ""
    skip: int = 0
    body: bytes = b""

    def fits(self, method: str, path: str) -> bool:
        return method in (self.method or method).split("|") and bool(re.search(self.path, path))


class HttpProxy:
    """Passes requests to an HTTP service, or answers itself; use it in a ``with`` block.

    Args:
        service: The service's URL, plain HTTP.
        certificate: A PEM file with key and certificate for 127.0.0.1, to serve HTTPS; None for HTTP.

    Attributes:
        url: The proxy's URL, with the path of the service's.
        met: How many requests have met with a fault since the last order.
        requests: Method and path of every request, those that met with a fault among them.
    """

    def __init__(self, service: str, certificate: Path | None = None):
        self.service = urlsplit(service)
        self._rule: _Rule | None = None
        self._lock, self.met, self._fitted, self.requests = threading.Lock(), 0, 0, []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self._server.server_port}{self.service.path}"

    def answer(
        self, status: int, times: int = 0, method: str = "", path: str = "", retry_after: str = "", body: bytes = b""
    ) -> None:
        """Answer requests with an error; the service does not see them.

        Args:
            status: The status, such as 503.
            times: How many requests; 0 for all.
            method: Only of these methods, with ``|`` between; empty for all.
            path: Only where this regular expression is found in path and query.
            retry_after: The header of that name; empty for none.
            body: What it says.
        """
        self._order(_Rule("answer", times, method, path, status, retry_after, body=body))

    def lose(self, times: int = 0, method: str = "", path: str = "", skip: int = 0) -> None:
        """Let the service do what it is asked, and close the connection instead of passing its answer on.

        Args:
            times: How many requests; 0 for all.
            method: See ``answer``.
            path: See ``answer``.
            skip: How many requests that fit are passed on before.
        """
        self._order(_Rule("lose", times, method, path, skip=skip))

    def halve(self, times: int = 0, method: str = "", path: str = "") -> None:
        """Pass on the head of the service's answer and half of its body, then close the connection."""
        self._order(_Rule("halve", times, method, path))

    def heal(self) -> None:
        """Pass everything on again."""
        self._order(None)

    def _order(self, rule: _Rule | None) -> None:
        with self._lock:
            self._rule, self.met, self._fitted = rule, 0, 0

    def choose(self, method: str, path: str) -> _Rule | None:
        """Note a request and return the fault that it meets with."""
        with self._lock:
            self.requests.append((method, path))
            if not self._rule or not self._rule.fits(method, path):
                return None
            self._fitted += 1
            if self._fitted <= self._rule.skip or (self._rule.times and self.met >= self._rule.times):
                return None
            self.met += 1
            return self._rule

    def __enter__(self) -> "HttpProxy":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_error) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address) -> None:
        """Say nothing of clients that are killed."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        proxy = self.server.proxy
        body = read_body(self)
        rule = proxy.choose(self.command, self.path)
        if rule and rule.action == "answer":
            return self._answer_itself(rule)
        status, headers, content = self._ask(proxy.service, body)
        if rule and rule.action == "lose":
            return self._hang_up()
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        length = {name.lower(): value for name, value in headers}.get("content-length", "0")
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        if rule and rule.action == "halve":
            self.wfile.write(content[: len(content) // 2])
            return self._hang_up()
        self.wfile.write(content)
        return None

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

    def _ask(self, service, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """Ask the service, with the client's own headers: what it has signed stays as it is."""
        connection = http.client.HTTPConnection(service.hostname, service.port, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "expect"):
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer_itself(self, rule: _Rule) -> None:
        self.send_response_only(rule.status)
        if rule.retry_after:
            self.send_header("Retry-After", rule.retry_after)
        self.send_header("Content-Length", str(len(rule.body)))
        self.end_headers()
        self.wfile.write(rule.body)

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *arguments) -> None:
        pass


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(64)
    return listener


def _reset(*connections: socket.socket) -> None:
    """Close connections so that the other side is told of an error and not of an end."""
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.shutdown(socket.SHUT_RD)
        with contextlib.suppress(OSError):
            connection.close()
