"""The API of Kubernetes over https, as far as it gives single resources to an account with a token; a real one needs a
cluster.
"""

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml
from pipeline_server.certificate import make_certificate

LOGIN = "sha256~token-of-oc-login"
ROUTE = "/apis/route.openshift.io/v1/namespaces/{}/routes/ds-pipeline-dspa"
APPLICATION = (
    "/apis/datasciencepipelinesapplications.opendatahub.io/v1/namespaces/{}/datasciencepipelinesapplications/dspa"
)


class KubernetesServer(ThreadingHTTPServer):
    """A server with some resources.

    Attributes:
        resources: What it has by path; a number for a status that it refuses with.
        token: The token that it takes.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.resources: dict[str, dict | int] = {}
        self.token = LOGIN

    def write_kubeconfig(self, folder: Path, namespace: str, certificate: Path, token: str = LOGIN) -> Path:
        """Write what ``oc login`` and ``oc project`` leave behind."""
        cluster = {
            "server": f"https://127.0.0.1:{self.server_address[1]}",
            "certificate-authority": str(certificate),
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": token} if token else {}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": namespace}}],
            "current-context": "x",
        }
        (folder / "kubeconfig").write_text(yaml.safe_dump(document))
        return folder / "kubeconfig"


@contextlib.contextmanager
def kubernetes_server(folder: Path) -> Iterator[tuple[KubernetesServer, Path]]:
    """Run a server; yields it and the file of its certificate."""
    key, certificate = make_certificate(folder, "127.0.0.1", "kubernetes")
    server = KubernetesServer()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server, certificate
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: KubernetesServer

    def do_GET(self):
        found = self.server.resources.get(self.path, 404)
        if self.headers["Authorization"] != f"Bearer {self.server.token}":
            found = 401
        status = found if isinstance(found, int) else 200
        body = json.dumps(found if status == 200 else {"kind": "Status", "code": status}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
