"""Kill a step with SIGKILL at each of its calls to git and to a site, and run it again: a program.

It imports once and forks for each death, so that a death costs little more than the step. Its input is JSON: the module
and function of the step, its keyword arguments, the bare repository to begin with and where to copy it for each death.
Its output is JSON as well: for each death what was seen after it and after the step was run again.
"""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import requests

from loopline.components.errors import InputError

#: Commands of git that a death in the middle of is tried for as well: they write.
_LONG = ("fast-import", "push")


class Calls:
    """Counts calls, writes down their names, and kills this process at one of them."""

    def __init__(self, log: Path, number: int = 0, moment: str = ""):
        self._log, self._number, self._moment, self._made = log, number, moment, 0
        self._lock = threading.Lock()  # sites are asked side by side

    def count(self, name: str) -> None:
        """Count a call that is about to be made."""
        with self._lock:
            self._made += 1
            with open(self._log, "a") as log:
                log.write(f"{name}\n")
            self.die_if("before")

    def die_if(self, moment: str) -> None:
        """Kill this process if this is the call and the moment."""
        if (self._made, self._moment) == (self._number, moment):
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Count what git and sites are asked from now on."""
        popen, send, calls = subprocess.Popen, requests.adapters.HTTPAdapter.send, self

        class Watched(popen):
            def __init__(self, command, **keywords):
                calls.count(next(word for word in command[1:] if not word.startswith(("-", "/"))))
                super().__init__(command, **keywords)

            def communicate(self, data=None, timeout=None):
                # Input first: a command that got none has not begun. It goes on when this process dies.
                self.stdin.write(data or b"")
                self.stdin.close()
                self.stdin = None
                calls.die_if("during")
                return super().communicate(timeout=timeout)

        def watched_send(adapter, request, **keywords):
            calls.count(request.method)
            return send(adapter, request, **keywords)

        subprocess.Popen, requests.adapters.HTTPAdapter.send = Watched, watched_send


def main() -> None:
    """Try all deaths."""
    order = json.load(sys.stdin)
    step = getattr(importlib.import_module(order["module"]), order["function"])
    start, bare = Path(order["start"]), Path(order["bare"])

    def run(number: int = 0, moment: str = "") -> tuple[int, str, list[str]]:
        return _fork(
            lambda: step(str(bare), **order["arguments"]), bare.parent, Calls(bare.parent / "calls", number, moment)
        )

    def reset() -> None:
        shutil.rmtree(bare, ignore_errors=True)
        shutil.copytree(start, bare)

    reset()
    _, said, names = run()
    for module in (bare.parent / "modules").read_text().split():
        importlib.import_module(module)  # what the step imports late, so that no child imports it again
    results = [{"death": "none", "killed": True, "seen": _read(bare), "said": said, "end": _read(bare)}]
    for number, name in enumerate(names, start=1):
        for moment in ("before", "during") if name in _LONG else ("before",):
            reset()
            killed, _, _ = run(number, moment)
            seen = _read(bare)
            _, said, _ = run()
            results.append({"death": f"{moment} {number} {name}", "killed": killed == signal.SIGKILL, "seen": seen,
                            "said": said, "end": _read(bare, whole=True)})  # fmt: skip
    json.dump(results, sys.stdout)


def _fork(step: Callable[[], str], folder: Path, calls: Calls) -> tuple[int, str, list[str]]:
    """Run a step in a child; returns the signal that ended it, what it said and its calls."""
    for name in ("calls", "said"):
        (folder / name).unlink(missing_ok=True)
    imported = set(sys.modules)
    child = os.fork()
    if child == 0:
        calls.install()
        try:
            said = f"returned {step()}"
        except InputError as error:
            said = f"refused {error}"
        (folder / "said").write_text(said)
        (folder / "modules").write_text(" ".join(name for name in sys.modules if name not in imported))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    said = (folder / "said").read_text() if (folder / "said").exists() else ""
    return os.WTERMSIG(status), said, (folder / "calls").read_text().split()


def _read(bare: Path, whole: bool = False) -> dict:
    """Return what everybody sees of the repository, and when asked for whether it is whole."""

    def git(*arguments: str) -> str:
        command = ["git", "--git-dir", str(bare), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    if whole:
        git("fsck", "--strict", "--no-dangling")
    files = [f"main:sites/{site}/release.env" for site in ("edge", "cloud")]
    return {
        "commits": git("log", "--format=%s", "main").splitlines(),
        "releases": [git("show", file) for file in files],
    }


if __name__ == "__main__":
    main()
