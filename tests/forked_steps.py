"""Components as processes of their own, quickly: a program that imports once what they import and forks for each.

A child does what ``python -m loopline.components`` does with its words and its environment. It writes down where it
tried to write, by https://docs.python.org/3/library/audit_events.html: what cannot be is often left out in silence.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

#: What changes the file system; the path is the first argument.
_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.symlink", "os.link")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Done:
    """How a step ended.

    Attributes:
        returncode: Its exit status, or the signal that ended it, negative.
        stdout: What it printed.
        stderr: What it told of errors.
        writes: The paths that it changed, or tried to.
    """

    returncode: int
    stdout: str
    stderr: str
    writes: tuple[str, ...]


class Steps:
    """The process that forks, seen from the one that asks."""

    def __init__(self, process: subprocess.Popen):
        self._process = process

    def start(self, words: Sequence[str], variables: Mapping[str, str]) -> Done:
        """Run a component.

        Args:
            words: What follows ``python``: ``-m loopline.components NAME ...``.
            variables: The whole environment.
        """
        with tempfile.TemporaryDirectory() as folder:
            order = {"words": list(words), "variables": dict(variables), "folder": folder}
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            output, errors, writes = (Path(folder, name).read_text() for name in ("out", "err", "writes"))
        return Done(code, output, errors, tuple(writes.splitlines()))


@contextlib.contextmanager
def forked_steps(modules: Sequence[str], options: Sequence[str] = ()) -> Iterator[Steps]:
    """Run the program for the length of a ``with`` block.

    Args:
        modules: What it imports.
        options: Options for Python.
    """
    command = [sys.executable, *options, __file__, *modules]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Steps(process)
        finally:
            process.stdin.close()


def main() -> None:
    """Import, then fork for each order that comes in."""
    for name in ("loopline.components", *sys.argv[1:]):
        __import__(name)
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            _run(**json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _run(words: list[str], variables: dict[str, str], folder: str) -> None:
    """Be a step's process; never returns."""
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), number)
    writes = open(f"{folder}/writes", "w", buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(variables)
    code = 1
    try:
        from loopline.components.command import main
        from loopline.components.environment import settle

        settle()  # what importing the package does
        assert words[:2] == ["-m", "loopline.components"]
        sys.addaudithook(lambda event, values: _note(event, values, writes))
        code = main(words[2:])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _note(event: str, values: tuple, writes) -> None:
    path = values[0] if values else None
    changes = event in _CHANGES or (event == "open" and isinstance(values[2], int) and values[2] & _WRITES)
    if changes and isinstance(path, str | bytes | os.PathLike):
        writes.write(f"{Path(os.fsdecode(path)).absolute()}\n")


if __name__ == "__main__":
    main()
