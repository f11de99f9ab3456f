"""A real Prometheus that watches servers of a test, and a real Pushgateway."""

import contextlib
import http.server
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import requests

from loopline.pipelines.sites.ports import free_port

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus here: install Debian's package prometheus"
)
needs_pushgateway = pytest.mark.skipif(
    shutil.which("prometheus-pushgateway") is None,
    reason="no Pushgateway here: install Debian's package prometheus-pushgateway",
)


@contextlib.contextmanager
def running(command: list[str], url: str, log: Path) -> Iterator[str]:
    """Run a server until the block ends; yields its address once it is ready."""
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
    try:
        deadline = time.monotonic() + 20
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{url}/-/ready", timeout=2).ok:
                    break
            time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def prometheus(folder: Path, targets: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Run Prometheus, which looks four times a second; yields its address.

    Args:
        folder: Where it keeps everything.
        targets: Labels by ``host:port`` of what it watches.
    """
    lines = ["global: {scrape_interval: 250ms, scrape_timeout: 250ms}", "scrape_configs:", "- job_name: models"]
    lines.append("  static_configs:")
    for target, labels in targets.items():
        lines.append(f"  - targets: ['{target}']")
        if labels:
            lines.append(f"    labels: {{{', '.join(f'{name}: {value}' for name, value in labels.items())}}}")
    (folder / "prometheus.yaml").write_text("\n".join(lines) + "\n")
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with running([*command, f"--web.listen-address={address}"], f"http://{address}", folder / "prometheus.log") as url:
        deadline = time.monotonic() + 30  # it looks for what to watch every five seconds
        while True:
            active = requests.get(f"{url}/api/v1/targets", timeout=5).json()["data"]["activeTargets"]
            if len(active) == len(targets) and all(target["health"] == "up" for target in active):
                break
            assert time.monotonic() < deadline, active
            time.sleep(0.1)
        yield url


@contextlib.contextmanager
def pushgateway(folder: Path) -> Iterator[str]:
    """Run a Pushgateway; yields its address."""
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus-pushgateway", f"--web.listen-address={address}"]
    with running(command, f"http://{address}", folder / "pushgateway.log") as url:
        yield url


@contextlib.contextmanager
def answering(
    answer: Callable[[http.server.BaseHTTPRequestHandler], tuple[int, str]], certificate: Path | None = None
) -> Iterator[str]:
    """Run an HTTP server that answers every request with what a function says; yields its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self):
            self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, text = answer(self)
            content = text.encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", text)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = respond

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    host = "127.0.0.1"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket, host = context.wrap_socket(server.socket, server_side=True), "localhost"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http{'s' if certificate else ''}://{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Counters:
    """Counters that a test turns, shown as a model server shows its own; a real server fails when nobody wants it to.

    Attributes:
        counts: Requests answered, refused and failed.
        within: Answers within 10 ms, 250 ms and at all.
        started: When the process started, in seconds since 1970.
    """

    def __init__(self, site: str, started: float, model: str = "m"):
        self.site, self.started, self.model = site, started, model
        self.counts, self.within = [0, 0, 0], [0, 0, 0]

    def grow(self, answered: int = 0, refused: int = 0, failed: int = 0, slow: int = 0) -> None:
        """Count requests; those that are slow are among the answered."""
        for place, more in enumerate((answered, refused, failed)):
            self.counts[place] += more
        for place, more in enumerate((answered - slow, answered - slow, answered)):
            self.within[place] += more

    def restart(self, started: float) -> None:
        """Begin anew."""
        self.__init__(self.site, started, self.model)

    def show(self, handler: http.server.BaseHTTPRequestHandler) -> tuple[int, str]:
        """Answer a request for the metrics."""
        labels = f'model="{self.model}",site="{self.site}",protocol="rest"'
        lines = [f"process_start_time_seconds {self.started}", 'rest_server_requests_in_progress{method="POST"} 2']
        for outcome, count in zip(("answered", "refused", "failed"), self.counts, strict=True):
            lines.append(f'loopline_requests_total{{{labels},outcome="{outcome}"}} {count}')
        for bound, count in zip(("0.01", "0.25", "+Inf"), self.within, strict=True):
            lines.append(f'loopline_request_seconds_bucket{{{labels},le="{bound}"}} {count}')
        return 200, "\n".join(lines) + "\n"
