"""The API of a pipeline server over https; the real one needs a cluster.

Every request and every answer is held against the OpenAPI description in KFP's own client (``contract``): an unknown
path, parameter, field or type is answered with 400 and fails the test. Pipelines are parsed as strictly as the real
server does, with KFP's protocol buffer. Answers come page by page, times in whole seconds, a run's steps as the nodes
of an Argo workflow (``argo``), and recurring runs fire as the controller lets them (``controller``). Two paths are not
in the description: logs, which every version serves under ``v1alpha1``, and artifacts, which OpenShift AI's build adds.
"""

import contextlib
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from .argo import Scenario
from .certificate import make_certificate
from .handler import TOKEN, Handler
from .state import Fault, PipelineServer

__all__ = ["TOKEN", "Fault", "PipelineServer", "Scenario", "pipeline_server"]


@contextlib.contextmanager
def pipeline_server(
    folder: Path, address: tuple[str, int] = ("127.0.0.1", 0), name: str = "localhost"
) -> Iterator[tuple[PipelineServer, dict[str, str]]]:
    """Run a server; yields it and the environment with which an account's client finds it.

    Args:
        folder: Where its certificate and the token are written.
        address: Where it listens; port 0 for any.
        name: A name that its certificate is for, besides the address.
    """
    key, certificate = make_certificate(folder, address[0], name)
    (folder / "token").write_text(TOKEN)
    server = PipelineServer(Handler, address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield (
            server,
            {
                "KF_PIPELINES_ENDPOINT": f"https://{address[0]}:{server.server_address[1]}",
                "KF_PIPELINES_SA_TOKEN_PATH": str(folder / "token"),
                "KF_PIPELINES_SSL_SA_CERTS": str(certificate),
            },
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert server.violations == [], "the API does not know what it was asked"
