"""A site that answers what a real model server answers, under another identity or later than it."""

import http.server
import threading
import urllib.error
import urllib.request


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        relay = self.server.relay
        relay.requests.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        headers = {"Content-Type": self.headers.get("Content-Type") or "application/json"}
        if relay.away or (relay.unready and self.path.endswith("/ready")):
            return self._answer(503, b"")
        try:
            with urllib.request.urlopen(urllib.request.Request(relay.target + self.path, body, headers)) as answer:
                status, content = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
        for old, new in relay.replace.items():
            content = content.replace(old.encode(), new.encode())
        return self._answer(status, content)

    do_POST = do_GET

    def _answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address) -> None:
        """Say nothing of clients that are killed."""


class SiteRelay:
    """A site in front of a real model server; use it in a ``with`` block.

    Attributes:
        url: Where the site answers.
        target: The model server.
        replace: What to replace in its answers: the site's identity.
        away: Whether the site has no model server now.
        unready: Whether it answers and says that it is not ready.
        requests: Method and path of what it was asked.
    """

    def __init__(self, target: str, replace: dict[str, str] | None = None):
        self.target, self.replace, self.away, self.unready = target, replace or {}, False, False
        self.requests: list[tuple[str, str]] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.relay = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "SiteRelay":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        self._server.shutdown()
        self._server.server_close()
