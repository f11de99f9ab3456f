"""What the tests of the data stage share."""

import datetime
import functools
import http.server
import ipaddress
import ssl
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from loopline.components.data.ingest import ingest


@pytest.fixture
def load(tmp_path):
    """Ingest a file, or bytes written to one, and return the table that came out."""

    def run(content: bytes | str | Path, name: str = "in.csv", **options) -> pa.Table:
        path = content
        if not isinstance(content, Path):
            path = tmp_path / name
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        ingest(str(path), tmp_path / "out.parquet", **options)
        return pq.read_table(tmp_path / "out.parquet")

    return run


@pytest.fixture
def web(tmp_path):
    """A folder and the address of a server of its files; names that start with a status code answer with it."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            name = self.path.strip("/").split("?")[0]
            if name[:3].isdigit():
                self.send_error(int(name[:3]))
            elif name.startswith("cut"):
                body = (tmp_path / "site" / name).read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2])
            else:
                super().do_GET()

        def log_message(self, *_):
            pass

    folder = tmp_path / "site"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def web_tls(tmp_path, monkeypatch):
    """The https address of a server whose paths are steps: moved (within https), down (to http), up (to https)."""
    servers = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            step, _, rest = self.path.strip("/").partition("/")
            if step in ("moved", "down", "up"):
                scheme = "http" if step == "down" else "https"
                self.send_response(302)
                self.send_header("Location", f"{scheme}://127.0.0.1:{servers[scheme].server_port}/{rest}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Length", "12")
            self.end_headers()
            self.wfile.write(b"a,b\n1,2\n3,4\n")

        def log_message(self, *_):
            pass

    for scheme in ("http", "https"):
        servers[scheme] = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    certificate = _certificate(tmp_path / "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    servers["https"].socket = context.wrap_socket(servers["https"].socket, server_side=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    for server in servers.values():
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{servers['https'].server_port}"
    for server in servers.values():
        server.shutdown()
        server.server_close()


def _certificate(path: Path) -> Path:
    """Write a key and a certificate of 127.0.0.1 that vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + certificate.public_bytes(serialization.Encoding.PEM))
    return path
