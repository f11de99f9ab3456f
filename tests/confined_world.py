"""Run every node of the palette in a process that was confined (see confine.py): a program.

It imports once and forks for each node, from a process that has imported and done nothing else. Arguments: a folder
and a table to train on. Prints a line of JSON for each component: what went wrong, what its node printed, and where it
tried to write without having to, since what cannot be written is often left out in silence.
"""

import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import elyra_nodes
from elyra_world import World
from import_budget import ALLOWED

from loopline.components import STAGES

#: What changes the file system, of https://docs.python.org/3/library/audit_events.html; the path is the first argument.
_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "os.symlink", "os.link")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Nursery:
    """A process that has imported what nodes import, and forks for each that is to run."""

    def __init__(self):
        for name in sorted({word for words in ALLOWED.values() for word in words.split()}):
            __import__(name)
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        if not os.fork():
            os.close(self._orders)
            with open(orders) as lines:
                _serve(lines, answers)
            os._exit(0)
        os.close(orders)
        os.close(answers)
        self.printed, self.written = [], []

    def start(self, words: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess:
        """Run a node, as ``elyra_nodes.start`` does."""
        with tempfile.TemporaryDirectory() as folder:
            order = {"words": words, "variables": variables, "folder": folder}
            os.write(self._orders, json.dumps(order).encode() + b"\n")
            code = int(os.read(self._answers, 20))
            output, errors, writes = ((Path(folder) / name).read_text() for name in ("out", "err", "writes"))
        self.printed.append(output + errors)
        self.written += [path for path in writes.splitlines() if not _is_allowed(path)]
        return subprocess.CompletedProcess(words, code, output, errors)


def _serve(orders, answers: int) -> None:
    for line in orders:
        pid = os.fork()
        if not pid:
            _run(**json.loads(line))
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(answers, str(status).encode())


def _run(words: list[str], variables: dict[str, str], folder: str) -> None:
    """Be a node's process; never returns."""
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), number)
    writes = open(f"{folder}/writes", "w", buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(variables)
    code = 1
    try:
        from loopline.components.command import main

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


def _is_allowed(path: str) -> bool:
    return path.startswith(("/tmp/", "/dev/null")) or path == "/tmp"


def main() -> None:
    """Run each component's node."""
    folder, table = Path(sys.argv[1]), Path(sys.argv[2])
    nursery = Nursery()
    elyra_nodes.start = nursery.start
    world = World(folder, table, {})
    for component in STAGES:
        nursery.printed, nursery.written = [], []
        try:
            getattr(world, component)
            error = ""
        except BaseException:
            error = traceback.format_exc()
        found = {"component": component, "error": error, "printed": nursery.printed, "written": nursery.written}
        print(json.dumps(found), flush=True)
    world.close()
    left = sorted(str(path) for path in Path("/tmp").iterdir() if path not in folder.parents)
    print(json.dumps({"component": "", "left": left}))


if __name__ == "__main__":
    main()
