"""Run components as their commands do, each in a process of its own that can be killed at any of its calls.

One process imports what components import and forks for each run, so that a run costs little more than its work: it is
this file, started as a program. A run is ``python -m loopline.components NAME ...`` from its words on.
"""

import contextlib
import http.client
import importlib
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

#: What a POST only asks for.
_ASKING = ("/search", "/query_range")
#: Audit events of a file that is about to be changed; that of ``open`` counts when it is for writing.
_CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "shutil.rmtree", "shutil.move")


@dataclass(frozen=True)
class Fault:
    """What befalls one run.

    Attributes:
        death: Die by ``kill -9`` at this call, from 1; 0 to live.
        calls: Which calls count: ``requests`` over HTTP, after the answer's head has come; ``writes``, those of them
            that change something; ``files``, before one is opened for writing, renamed or removed.
        file_bytes: The longest file that may be written: a longer one ends in EFBIG, as on a full disk; 0 for any.
        user: Be this user, who has no capabilities and whose files nobody else's are; 0 for the one that runs tests.
        variables: Environment variables beside those of ``Steps``.
        seconds: How long to wait for a server, instead of what the product waits; 0 to leave it.
    """

    death: int = 0
    calls: str = "writes"
    file_bytes: int = 0
    user: int = 0
    variables: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


NONE = Fault()


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        status: Its exit status; negative for the signal that killed it.
        said: What it printed.
        calls: Its calls, by method and path, or event and path.
        out: The folder of its outputs.
    """

    status: int
    said: str
    calls: list[str]
    out: Path

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return self.status == -signal.SIGKILL

    @property
    def sentence(self) -> str:
        """What a run that failed told: one sentence and no traceback, which is checked here."""
        assert self.status in (1, 2), f"status {self.status}: {self.said}"
        assert "Traceback" not in self.said, self.said
        last = self.said.strip().rpartition("\n")[2]
        assert last.startswith("loopline: ") and last.endswith("."), self.said
        return last.removeprefix("loopline: ")

    def value(self, name: str = "Output") -> str:
        """Return what it gave back."""
        assert self.status == 0, self.said
        return (self.out / name).read_text()


class Steps:
    """Runs components; use it in a ``with`` block.

    Args:
        folder: Where outputs go, a folder a run.
        variables: Environment variables that all runs have.
        own: Those that the process has from its start.
    """

    def __init__(self, folder: Path, variables: Mapping[str, str], own: Mapping[str, str] | None = None):
        self._own = dict(own or {})
        self._folder, self._variables, self._lock, self._number = folder, dict(variables), threading.Lock(), 0

    def run(self, component: str, fault: Fault = NONE, out: Path | None = None, **inputs: object) -> Ended:
        """Run a component.

        Args:
            component: Its name.
            fault: What befalls it.
            out: The folder of its outputs; one of its own when None.
            inputs: Values, paths of artifacts, and lists of those.
        """
        return self.run_together([(component, fault, out, inputs)])[0]

    def run_twice(self, component: str, **inputs: object) -> list[Ended]:
        """Run the same at the same time, with outputs apart."""
        return self.run_together([(component, NONE, None, inputs)] * 2)

    def run_together(self, runs: Sequence[tuple[str, Fault, Path | None, Mapping]]) -> list[Ended]:
        """Run components at the same time; returns how each ended."""
        orders = [self._order(*run) for run in runs]
        with self._lock:
            self._process.stdin.write(json.dumps(orders) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        assert answer, (self._folder / "steps.log").read_text()[-3000:]
        return [Ended(*told, Path(order["out"])) for told, order in zip(json.loads(answer), orders, strict=True)]

    def _order(self, component: str, fault: Fault, out: Path | None, inputs: Mapping) -> dict:
        from loopline.components.interface import describe

        self._number += 1
        out = out or self._folder / f"{self._number}-{component}"
        described = describe(component)
        words = [component]
        for port in described.inputs:
            given = inputs.get(port.name)
            words += [
                w for one in (given if port.many else [given]) if one is not None for w in (port.option, str(one))
            ]
        for port in described.outputs:
            words += [port.option, str(out / port.name)]
        return {**asdict(fault), "words": words, "out": str(out), "variables": {**self._variables, **fault.variables}}

    def __enter__(self) -> "Steps":
        self._folder.mkdir(parents=True, exist_ok=True)
        # For runs of other users, too.
        self._folder.chmod(0o755)
        words = [sys.executable, __file__, str(self._folder)]
        # Nothing of this machine's own settings and credentials.
        own = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG", "OMP_WAIT_POLICY") if name in os.environ
        } | self._own
        with open(self._folder / "steps.log", "w") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=self._folder, env=own
            )
        return self

    def __exit__(self, *_error) -> None:
        self._process.stdin.close()
        self._process.wait(30)


class _Calls:
    """Notes calls, and kills this process at one of them."""

    def __init__(self, kind: str, death: int, log: Path):
        self._kind, self._death, self._made = kind, death, 0
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        self._lock = threading.Lock()

    def install(self) -> None:
        """Note calls from now on."""
        if self._kind == "files":
            sys.addaudithook(self._hear)
            return
        put, get, calls = http.client.HTTPConnection.putrequest, http.client.HTTPConnection.getresponse, self

        def putrequest(connection, method, url, *words, **options):
            connection.asked = method, url.partition("?")[0]
            return put(connection, method, url, *words, **options)

        def getresponse(connection, *words, **options):
            answer = get(connection, *words, **options)
            method, path = connection.asked
            asks = method in ("GET", "HEAD") or path.endswith(_ASKING)
            if calls._kind == "requests" or not asks:
                calls._count(f"{method} {path}")
            return answer

        http.client.HTTPConnection.putrequest, http.client.HTTPConnection.getresponse = putrequest, getresponse

    def _hear(self, event: str, words: tuple) -> None:
        if event == "open":
            path, _, flags = words
            if not (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                return
        elif event in _CHANGES:
            path = words[0]
        else:
            return
        if isinstance(path, str | os.PathLike) and not str(path).startswith(("/dev/", "/proc/")):
            self._count(f"{event} {path}")

    def _count(self, label: str) -> None:
        with self._lock:
            self._made += 1
            os.write(self._log, f"{label}\n".encode())
            if self._made == self._death:
                os.kill(os.getpid(), signal.SIGKILL)


def _main(folder: Path) -> None:
    """Fork for each order that comes, all orders of a line at once."""
    from loopline.components import command  # noqa: F401 - for those that are forked

    for line in sys.stdin:
        orders = json.loads(line)
        places = [folder / f"run-{number}" for number in range(len(orders))]
        for place in places:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            place.chmod(0o777)
        children = [_fork(order, place) for order, place in zip(orders, places, strict=True)]
        told = []
        for (child, said), place in zip(children, places, strict=True):
            with open(said, encoding="utf-8", errors="replace") as stream:
                text = stream.read()
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            told.append([status, text, (place / "calls").read_text().splitlines()])
            with contextlib.suppress(FileNotFoundError):
                _import((place / "modules").read_text().split())
        print(json.dumps(told), flush=True)


def _import(names: Sequence[str]) -> None:
    """Import what a run imported, so that no later one does."""
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)


def _fork(order: dict, place: Path) -> tuple[int, int]:
    """Fork for an order; returns the child and a descriptor of what it says."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading
    known, status = set(sys.modules), 70
    try:
        os.close(reading)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.close(writing)
        calls = _Calls(order["calls"], order["death"], place / "calls")
        status = _step(order, calls)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
            (place / "modules").write_text(" ".join(name for name in sys.modules if name not in known))
        os._exit(status)


def _step(order: dict, calls: _Calls) -> int:
    """Be a run: returns its exit status."""
    from loopline.components import command

    os.environ.update(order["variables"])
    tempfile.tempdir = None  # TMPDIR may be another
    Path(order["out"]).mkdir(parents=True, exist_ok=True)
    if "FAKETIME_TIMESTAMP_FILE" in os.environ:
        # What Python sleeps with takes a time by the clock, which libfaketime gets wrong.
        time.sleep = lambda seconds: select.select([], [], [], seconds) and None
    if order["seconds"]:
        _shorten(order["seconds"])
    if order["file_bytes"]:
        sys.dont_write_bytecode = True  # Python would leave a half of it, and read that from then on
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_bytes"], order["file_bytes"]))
    if order["user"]:
        os.setgroups([])
        os.setgid(order["user"])
        os.setuid(order["user"])
    if not order["file_bytes"]:  # the note of its calls is a file, too
        calls.install()
    return command.main(order["words"])


def _shorten(seconds: float) -> None:
    """Wait for servers no longer than this: what is seen after a minute is seen at once."""
    from loopline.components import pipeline_server
    from loopline.components.data import s3, sources
    from loopline.components.monitoring import web

    s3.TIMEOUT = sources.TIMEOUT = web.TIMEOUT = pipeline_server.TIMEOUT = (seconds, seconds)
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(max(1, round(seconds)))
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
