"""Real registries to deliver to: Debian's docker-registry, with a login, TLS or a token server where one is wanted."""

import base64
import contextlib
import datetime
import http.server
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from loopline.components.delivery.child import die_with

PROGRAM = "docker-registry"
#: An address of this machine that is spoken to over TLS: only 127.0.0.1 and localhost are not.
TLS_HOST = "127.0.0.2"
USER, PASSWORD = "robot", "correct horse"


@dataclass
class RunningRegistry:
    """A registry that answers.

    Attributes:
        host: Host and port.
        data: The folder with its blobs.
        pid: Its process.
    """

    host: str
    data: Path
    _configuration: Path
    _ca: Path | None
    _process: subprocess.Popen | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def up(self) -> None:
        """Start it, at first and after ``down``; it ends with the thread that starts it."""
        with open(self._configuration.with_name("log.txt"), "ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "serve", self._configuration],
                stdout=log,
                stderr=log,
                env={name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")},
                preexec_fn=die_with(os.getpid()),
            )
        try:
            _wait(self.host, self._ca, self._process)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """Kill it, whatever it is about."""
        self._process.kill()
        self._process.wait()

    def image(self, name: str) -> str:
        """Return the reference of an image in it."""
        return f"docker://{self.host}/{name}"

    def blob(self, digest: str) -> Path:
        """Return the file with a blob, to change it as an intruder would."""
        hexadecimal = digest.removeprefix("sha256:")
        return self.data / "docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"


@contextlib.contextmanager
def run_registry(
    folder: Path, login: bool = False, tls: bool = False, tokens: str = "", memory: bool = False
) -> Iterator[RunningRegistry]:
    """Run a registry for the length of a ``with`` block; the test is skipped where there is none.

    Args:
        folder: For its data and configuration.
        login: Whether it wants ``USER`` and ``PASSWORD``.
        tls: Whether it speaks TLS, with a certificate of ``folder/ca.pem``.
        tokens: The address of a token server, whose certificate is ``folder/issuer.pem``.
        memory: Whether it keeps its data in memory, which is faster.
    """
    if not shutil.which(PROGRAM):
        pytest.skip(f"there is no {PROGRAM} here: install Debian's package of that name")
    folder.mkdir(parents=True, exist_ok=True)
    address = TLS_HOST if tls else "127.0.0.1"
    with socket.socket() as probe:
        probe.bind((address, 0))
        host = f"{address}:{probe.getsockname()[1]}"
    storage = {"inmemory": {}} if memory else {"filesystem": {"rootdirectory": str(folder / "data")}}
    configuration = _configure(folder, host, storage, login, tls, tokens)
    running = RunningRegistry(host, folder / "data", configuration, folder / "ca.pem" if tls else None)
    running.up()
    try:
        yield running
    finally:
        running.down()


def _configure(folder: Path, host: str, storage: dict, login: bool, tls: bool, tokens: str) -> Path:
    settings = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {**storage, "delete": {"enabled": True}},
        "http": {"addr": host},
    }
    if tls:
        certificate, key = make_certificate(folder / "ca.pem")
        settings["http"]["tls"] = {"certificate": str(certificate), "key": str(key)}
    if login:
        if not shutil.which("htpasswd"):
            pytest.skip("there is no htpasswd here: install Debian's package apache2-utils")
        settings["auth"] = {"htpasswd": {"realm": "models", "path": str(set_password(folder, PASSWORD))}}
    if tokens:
        bundle = str(folder / "issuer.pem")
        token = {"realm": f"{tokens}/token", "service": "models", "issuer": "loopline-test", "rootcertbundle": bundle}
        settings["auth"] = {"token": token}
    path = folder / "registry.yml"
    path.write_text(json.dumps(settings))
    return path


def set_password(folder: Path, password: str) -> Path:
    """Set the password of ``USER``; the registry reads it when it starts and whenever it changes."""
    path = folder / "htpasswd"
    made = subprocess.run(
        ["htpasswd", "-niB", "-C", "4", USER], input=password.encode(), capture_output=True, check=True
    )
    path.write_bytes(made.stdout)
    return path


def _wait(host: str, ca: Path | None, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, "the registry ended at its start"
        try:
            requests.get(f"{'https' if ca else 'http'}://{host}/v2/", timeout=5, verify=str(ca) if ca else None)
            return
        except requests.exceptions.ConnectionError:
            time.sleep(0.02)
    raise AssertionError(f"the registry at {host} does not answer")


def make_certificate(path: Path) -> tuple[Path, Path]:
    """Make a certificate that signs itself, for this machine's addresses; returns its path and its key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopline test")])
    now = datetime.datetime.now(datetime.UTC)
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", TLS_HOST)]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = path.with_suffix(".key")
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path, private


def write_login(path: Path, host: str, user: str = USER, password: str = PASSWORD) -> Path:
    """Write a login as ``docker login`` does."""
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return path


@contextlib.contextmanager
def run_server(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a small HTTP server; yields its host and port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(http.server.BaseHTTPRequestHandler):
    """What the small servers share."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Say nothing."""

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def token_server(folder: Path, passwords: dict[str, str], rights: str = "pull,push") -> type[Handler]:
    """Return the handler of a token server: what Quay and the like run, of which there is none in Debian.

    It issues what https://distribution.github.io/distribution/spec/auth/jwt/ says, to whoever knows a password; the
    real registry verifies it. ``rights`` are all that it grants, whatever is asked for.
    """
    certificate, private = make_certificate(folder / "issuer.pem")
    key = serialization.load_pem_private_key(private.read_bytes(), None)
    der = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(serialization.Encoding.DER)

    def encode(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def issue(user: str, scopes: list[str]) -> str:
        now = int(time.time())
        access = [dict(zip(("type", "name"), scope.split(":")[:2], strict=True)) for scope in scopes]
        for entry, scope in zip(access, scopes, strict=True):
            entry["actions"] = [right for right in scope.split(":")[2].split(",") if right in rights.split(",")]
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        claims = {"iss": "loopline-test", "sub": user, "aud": "models", "access": access, "jti": str(now)}
        claims |= {"exp": now + 60, "nbf": now - 5, "iat": now}
        signed = f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims).encode())}"
        first, second = utils.decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{encode(first.to_bytes(32, 'big') + second.to_bytes(32, 'big'))}"

    class TokenServer(Handler):
        def do_GET(self) -> None:
            given = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
            user, _, password = given.partition(":")
            if not user or passwords.get(user) != password:
                self.send(401, b'{"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}')
                return
            scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
            self.send(200, json.dumps({"token": issue(user, scopes)}).encode())

    return TokenServer


def proxy(host: str, answer: Callable[[Handler], bool]) -> type[Handler]:
    """Return the handler of a proxy before a real registry.

    Args:
        host: The registry.
        answer: Asked for each request first; returns whether it has answered itself.
    """

    class Proxy(Handler):
        def _forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if answer(self):
                return
            headers = {name: value for name, value in self.headers.items() if name != "Host"}
            response = requests.request(
                self.command, f"http://{host}{self.path}", headers=headers, data=body, allow_redirects=False
            )
            passed = {name: value for name, value in response.headers.items() if name != "Content-Length"}
            if "Location" in passed:
                passed["Location"] = passed["Location"].replace(host, self.headers["Host"])
            if self.command == "HEAD":
                passed["Content-Length"] = response.headers.get("Content-Length", "0")
            self.send(response.status_code, response.content, **passed)

        do_GET = do_HEAD = do_PUT = do_POST = _forward

    return Proxy
