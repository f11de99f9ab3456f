"""The Kubernetes API as far as reading secrets goes, over https, and what a pod knows of its account.

The real API server needs a cluster. This one asks for the token, holds secrets as the API gives them, in base64, and
answers as it does where there is none or the account may not read it.
"""

import base64
import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipeline_server.certificate import make_certificate

TOKEN = "token-of-the-pod"
NAMESPACE = "loopline"


class SecretsServer(ThreadingHTTPServer):
    """Holds secrets.

    Attributes:
        secrets: What each holds, as text by key.
        asked: The paths that were asked for.
        statuses: Statuses to answer next, before it works again.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.secrets: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []
        self.statuses: list[int] = []


@contextlib.contextmanager
def kubernetes_api(folder: Path) -> Iterator[tuple[SecretsServer, Path, dict[str, str]]]:
    """Run a server; yields it, the folder with a pod's account, and the variables that every pod has."""
    account = folder / "serviceaccount"
    account.mkdir()
    key, certificate = make_certificate(folder, "127.0.0.1", "localhost")
    for name, text in (("token", TOKEN), ("namespace", NAMESPACE), ("ca.crt", certificate.read_text())):
        (account / name).write_text(text)
    server = SecretsServer()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    variables = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(server.server_address[1])}
    try:
        yield server, account, variables
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: SecretsServer

    def do_GET(self):
        self.server.asked.append(self.path)
        name = self.path.removeprefix(f"/api/v1/namespaces/{NAMESPACE}/secrets/")
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            status = 401
        elif self.server.statuses:
            status = self.server.statuses.pop(0)
        else:
            status = 200 if name in self.server.secrets else 404
        body = {"kind": "Status", "code": status}
        if status == 200:
            data = {key: base64.b64encode(text.encode()).decode() for key, text in self.server.secrets[name].items()}
            body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
        answer = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass
