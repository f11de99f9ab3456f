"""Configuration repositories to promote to: bare ones on disk, and the same over HTTP as a Git server offers them."""

import base64
import contextlib
import datetime
import http.server
import itertools
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from http_bodies import read_body

from loopline.components.delivery.git import run_git

_DAY = datetime.timedelta(days=1)

RELEASE = "# what the site serves\nMODEL_NAME=\nMODEL_VERSION=\nMODEL_IMAGE=\nCANARY=no\n"
SITES = ("edge", "cloud", "datacenter")


def make_repository(folder: Path, sites: Sequence[str] = SITES, url: str = "http://127.0.0.1:9") -> Path:
    """Make a bare repository in which nothing is promoted yet; each site answers at ``url``."""
    bare, files = folder / "config.git", {}
    for site in sites:
        files[f"sites/{site}/release.env"] = RELEASE
        files[f"sites/{site}/site.env"] = f"SERVICE_URL={url}\nLOOPLINE_SITE={site}\n"
    run_git(["init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(bare)])
    edit(bare, files, "Begin", first=True)
    return bare


def edit(
    bare: Path,
    files: Mapping[str, str | bytes],
    message: str = "Edit by hand",
    branch: str = "main",
    first: bool = False,
) -> str:
    """Commit files as a person does, on top of the branch unless it is its first commit; returns the commit."""
    text, reference = message.encode(), f"refs/heads/{branch}".encode()
    parts = [b"commit %s\ncommitter A Person <a@person> now\ndata %d\n%s\n" % (reference, len(text), text)]
    if not first:
        parts.append(b"from %s^0\n" % reference)
    for path, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        parts.append(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(data), data))
    command = ["git", "--git-dir", str(bare), "fast-import", "--quiet", "--date-format=now"]
    subprocess.run(command, input=b"".join(parts), check=True)
    return tip(bare, branch)


def git(bare: Path, *arguments: str) -> str:
    """Run git in a bare repository."""
    return run_git(["--git-dir", str(bare), *arguments]).strip()


def tip(bare: Path, branch: str = "main") -> str:
    """Return the last commit of a branch."""
    return git(bare, "rev-parse", f"refs/heads/{branch}")


def show(bare: Path, path: str, commit: str = "main") -> str:
    """Return a file of a commit."""
    return run_git(["--git-dir", str(bare), "show", f"{commit}:{path}"])


def message(bare: Path, commit: str = "main") -> str:
    """Return a commit's message."""
    return git(bare, "log", "-1", "--format=%B", commit)


def named_image(bare: Path, site: str, commit: str = "main") -> str:
    """Return the image that a site names."""
    lines = show(bare, f"sites/{site}/release.env", commit).splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("MODEL_IMAGE="))


def history(bare: Path, branch: str = "main") -> list[str]:
    """Return the commits of a branch, oldest first, after checking that they are one line."""
    lines = git(bare, "log", "--reverse", "--format=%H %P", branch).splitlines()
    commits = [line.split() for line in lines]
    for (before, *_), (_, *parents) in itertools.pairwise(commits):
        assert parents == [before]
    return [commit for commit, *_ in commits]


def make_certificate(file: Path) -> Path:
    """Write a certificate for localhost that is its own authority, with its key, as PEM."""
    key, name = (
        ec.generate_private_key(ec.SECP256R1()),
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]),
    )
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - _DAY, now + _DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(certificate.public_bytes(pem) + private)
    return file


class GitHandler(http.server.BaseHTTPRequestHandler):
    """Hands requests to ``git http-backend``, git's own server side, after basic authentication."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        if fault := self.server.next_fault(self.path):
            return self._answer(fault, {}, b"")
        expected = base64.b64encode(f"{self.server.user}:{self.server.password}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            return self._answer(401, {"WWW-Authenticate": 'Basic realm="git"'}, b"")
        return self._run(read_body(self))

    do_POST = do_GET

    def log_message(self, *arguments) -> None:
        pass

    def _run(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "http.receivepack",
            "GIT_CONFIG_VALUE_0": "true",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": self.server.user,
            "REMOTE_ADDR": "127.0.0.1",
        }
        output = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=True).stdout
        head, _, content = output.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self._answer(int(headers.pop("Status", "200").split()[0]), headers, content)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        if status == 401:
            self.close_connection = True
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class GitServer(http.server.ThreadingHTTPServer):
    """A Git server over HTTP on a free port of this machine.

    Attributes:
        url: Its address; a repository is below it.
        requests: What it was asked.
        faults: Statuses to answer next, by the end of the path, before it works again.
    """

    daemon_threads = True

    def handle_error(self, request, client_address) -> None:
        """Say nothing of clients that do not trust the certificate."""

    def __init__(self, root: Path, user: str, password: str):
        super().__init__(("127.0.0.1", 0), GitHandler)
        self.root, self.user, self.password = root, user, password
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[str] = []
        self.faults: dict[str, list[int]] = {}

    def next_fault(self, path: str) -> int:
        for ending, statuses in self.faults.items():
            if path.endswith(ending) and statuses:
                return statuses.pop(0)
        return 0


@contextlib.contextmanager
def serve_git(
    root: Path, user: str = "bot", password: str = "s3cr3t-t0ken", certificate: Path | None = None
) -> Iterator[GitServer]:
    """Serve the repositories in a folder over HTTP with basic authentication, encrypted when given a certificate."""
    with GitServer(root, user, password) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.url = f"https://localhost:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
