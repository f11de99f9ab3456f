"""Start the steps of a run on this machine from a process that has imported already what they import.

A step is short, and most of a short step is Python, kfp and libraries being loaded. This process loads them once and
forks for each step: the child writes the step's program to a file and hands it to kfp's executor, word by word what the
shell line in the compiled YAML does. It is started by ``step_process.py``, which says what the two tell each other.
"""

import ast
import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from loopline.components.delivery.child import die_with

#: What the engine says when it takes another server; without a word it has ended.
GOODBYE = b"0"
#: Without orders for so long, the memory is given back; the next step starts another server.
IDLE_SECONDS = 60.0
#: Seconds that steps get to clean up when the engine has ended before them.
GRACE_SECONDS = 5.0


def main() -> None:
    """Serve orders from the socket whose descriptor is on the command line, until its other end is closed."""
    # As the shell line sets it for a step: kfp then loads its executor and leaves out its compiler and client.
    os.environ["_KFP_RUNTIME"] = "true"
    # The terminal interrupts all processes of a run at once: the steps stop, and this one ends with the engine.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Nothing that is imported becomes garbage, and looking for some would copy the memory the steps share.
    gc.disable()
    importlib.import_module("kfp.dsl.executor_main")
    control = socket.socket(fileno=int(sys.argv[1]))
    order = _serve(control)
    if order is None:
        # Nothing is left to write, and taking down all that was imported takes a while.
        os._exit(0)
    _run_step(order)


def _serve(control: socket.socket) -> dict | None:
    """Fork a child for each order; returns the order in the child, and None in the server when it is to end."""
    running: dict[int, tuple[int, socket.socket]] = {}
    listening, orphaned = [control], False
    while listening or running:
        ready, _, _ = select.select([*listening, *running], [], [], GRACE_SECONDS if orphaned else IDLE_SECONDS)
        if not ready and orphaned:
            _signal(running, signal.SIGKILL)
        if not ready and not running:
            return None
        for descriptor in ready:
            if descriptor in running:
                _report(*running.pop(descriptor))
                os.close(descriptor)
                continue
            message, descriptors, _, _ = socket.recv_fds(control, 1, 2)
            if message == GOODBYE:
                # The engine has another server; the steps that run here go on.
                listening = []
                continue
            if not message:
                # The engine has ended, or was killed: nobody waits for steps that are left; a next run does them anew.
                listening, orphaned = [], True
                _signal(running, signal.SIGINT)
                continue
            output, reply = descriptors[0], socket.socket(fileno=descriptors[1])
            order = json.loads(reply.makefile("rb").read())
            _import_for(order["program"])
            gc.freeze()
            die_with_server = die_with(os.getpid())
            pid = os.fork()
            if not pid:
                die_with_server()
                _keep_only(output, [control, reply, *(waiting for _, waiting in running.values())], running)
                return order
            os.close(output)
            running[os.pidfd_open(pid)] = (pid, reply)
            _say(reply, pid)
    return None


def _signal(running: dict[int, tuple[int, socket.socket]], number: int) -> None:
    for descriptor in running:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, number)


def _keep_only(output: int, sockets: Iterable[socket.socket], descriptors: Iterable[int]) -> None:
    """Write to the step's output from now on, and close what is the server's: a step that lives would hold it open."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    for descriptor in (output, *descriptors):
        os.close(descriptor)
    for one in sockets:
        one.close()


def _report(pid: int, reply: socket.socket) -> None:
    """Tell how a step ended, as subprocess does: its exit code, or the signal that ended it, negative."""
    _, status = os.waitpid(pid, 0)
    _say(reply, os.waitstatus_to_exitcode(status))
    reply.close()


def _say(reply: socket.socket, number: int) -> None:
    # An engine that was killed meanwhile does not listen.
    with contextlib.suppress(OSError):
        reply.sendall(b"%d\n" % number)


def _import_for(program: str) -> None:
    """Import the logic that a step's program imports, and MLflow where that logic uses the model store."""
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("loopline.components."):
            # What cannot be imported is the step's to tell.
            with contextlib.suppress(Exception):
                importlib.import_module(node.module)
    if store := sys.modules.get("loopline.components.registry.store"):
        with contextlib.suppress(Exception):
            store.import_mlflow()


def _run_step(order: dict) -> None:
    """Be the step's process: what the shell line of the compiled YAML sets up, then kfp's executor."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.enable()
    os.environ.clear()
    os.environ.update(order["environment"], _KFP_RUNTIME="true")
    os.chdir(order["folder"])
    sys.path[0] = order["folder"]
    if "numpy" in sys.modules:
        # Python's own random numbers start anew after a fork; numpy's would be the same in each step.
        sys.modules["numpy"].random.seed()
    program = Path(tempfile.mkdtemp()) / "ephemeral_component.py"
    program.write_text(order["program"], encoding="utf-8")
    executor = importlib.import_module("kfp.dsl.executor_main")
    sys.argv = [str(executor.__file__), "--component_module_path", str(program), *order["words"]]
    try:
        executor.executor_main()
    except Exception as error:
        # Without this frame, as if the executor had been started by itself.
        sys.excepthook(type(error), error.with_traceback(error.__traceback__.tb_next), error.__traceback__)
        sys.exit(1)


if __name__ == "__main__":
    main()
