"""An environment in which every secret that a step can have is a canary, and a watch on the process list."""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from canaries import Search, password, token
from cryptography.hazmat.primitives import serialization
from delivery_registry import write_login
from promoted_images import make_key

USER = "robot"


@dataclass(frozen=True)
class Planted:
    """What was planted.

    Attributes:
        variables: The environment.
        folder: Where the files with secrets are.
        parts: What the private key is made of.
    """

    variables: dict[str, str]
    folder: Path
    parts: tuple[bytes, ...]


def plant(folder: Path, host: str, pipelines: str, home: Path, key: str = "") -> Planted:
    """Plant a canary for each secret.

    Args:
        folder: Where files with secrets go; it has to be empty.
        host: Host and port of MLflow, the object store, the registry, Git, the sites, Prometheus and the Pushgateway.
        pipelines: Host and port of the pipeline server.
        home: Loopline's folder.
        key: The private key, PEM; a new one when empty.
    """
    folder.mkdir()
    pem = key or make_key()
    (folder / "token").write_text(token("pipelines"))
    login = write_login(folder / "auth.json", host, USER, password("registry"))
    variables = {
        "PATH": os.environ["PATH"],
        "LOOPLINE_HOME": str(home),
        "MLFLOW_TRACKING_URI": f"http://{host}",
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": password("mlflow"),
        "AWS_S3_ENDPOINT": f"http://{host}",
        "AWS_ACCESS_KEY_ID": token("key").replace("/", ""),
        "AWS_SECRET_ACCESS_KEY": token("secret"),
        "AWS_SESSION_TOKEN": token("session"),
        "REGISTRY_AUTH_FILE": str(login),
        "COSIGN_PRIVATE_KEY": pem,
        "COSIGN_PASSWORD": password("cosign"),
        "GIT_USERNAME": USER,
        "GIT_PASSWORD": password("git"),
        "GIT_API_URL": f"http://{host}/api/v3",
        "GIT_PROVIDER": "github",
        "LOOPLINE_SITE_TOKEN": token("site"),
        "PROMETHEUS_URL": f"http://{USER}:{quote(password('prometheus'), safe='')}@{host}",
        "PROMETHEUS_TOKEN": token("prometheus"),
        "PROMETHEUS_PUSHGATEWAY_URL": f"http://{USER}:{quote(password('pushgateway'), safe='')}@{host}",
        "KF_PIPELINES_ENDPOINT": f"https://{pipelines}",
        "KF_PIPELINES_SA_TOKEN_PATH": str(folder / "token"),
        **{
            name: f"http://{USER}:{quote(password('proxy'), safe='')}@127.0.0.1:9"
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
        },
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    return Planted(variables, folder, _parts(pem))


def presigned(host: str) -> str:
    """Return an address that is signed with canaries."""
    signed = "&".join(f"X-Amz-{name}={quote(token(name), safe='')}" for name in ("Credential", "Signature"))
    return f"http://{host}/data.csv?{signed}"


def with_password(host: str) -> str:
    """Return an address with a canary for a password."""
    return f"http://{USER}:{quote(password('address'), safe='')}@{host}/data.csv"


def _parts(pem: str) -> tuple[bytes, ...]:
    """Return what would give the key away: a line of its text, and its number as bytes and as digits."""
    key = serialization.load_pem_private_key(pem.encode(), None)
    number = key.private_numbers().private_value.to_bytes(32, "big")
    return (pem.splitlines()[2].encode(), number, number.hex().encode())


@dataclass
class Watch:
    """What was seen of the process list.

    Attributes:
        lines: The command lines, once each.
        looks: How often it was looked.
    """

    lines: set[bytes] = field(default_factory=set)
    looks: int = 0

    def search(self, found: Search) -> None:
        """Look through the command lines."""
        for line in self.lines:
            found.data(f"process list: {line[:60]!r}", line)


@contextlib.contextmanager
def watching() -> Iterator[Watch]:
    """Look at the process list, as any other user of the machine can, for the length of a ``with`` block."""
    watch, stop = Watch(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            for entry in os.listdir("/proc"):  # noqa: PTH208
                if entry.isdigit():
                    with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as file:
                        watch.lines.add(file.read())
            watch.looks += 1
            time.sleep(0.02)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()
