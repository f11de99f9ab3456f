"""What this process asks over HTTP, and which functions of Loopline ask: all its clients end in http.client."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection
from multiprocessing.pool import Pool
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Where the code is that is shipped.
_SHIPPED = [ROOT / folder for folder in ("components", "pipelines", "deploy", "examples")]
#: What only passes requests on.
_TRANSPORTS = ("GuardedAdapter.send", "connect.Patient.request")


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        port: Where it went; all servers of the tests are on this machine.
        method: Its method.
        path: The path, without what follows a question mark.
        functions: The functions that asked, as ``components/x.py:function``, the innermost first.
    """

    port: int
    method: str
    path: str
    functions: tuple[str, ...]


@contextlib.contextmanager
def recording() -> Iterator[list[Request]]:
    """Write down what is asked in a ``with`` block, also in threads of a pool: who asks is then who gave the work."""
    ask, submit, apply = HTTPConnection.putrequest, ThreadPoolExecutor.submit, Pool.apply_async
    found, asker = [], threading.local()

    def putrequest(connection, method, url, *arguments, **keywords):
        functions = (*_functions(sys._getframe(1)), *getattr(asker, "functions", ()))
        found.append(Request(connection.port, method, url.partition("?")[0], functions))
        return ask(connection, method, url, *arguments, **keywords)

    def for_asker(work: Callable) -> Callable:
        functions = tuple(_functions(sys._getframe(2)))

        def run(*arguments, **keywords):
            asker.functions = functions
            return work(*arguments, **keywords)

        return run

    HTTPConnection.putrequest = putrequest
    ThreadPoolExecutor.submit = lambda pool, work, *rest, **more: submit(pool, for_asker(work), *rest, **more)
    Pool.apply_async = lambda pool, work, *rest, **more: apply(pool, for_asker(work), *rest, **more)
    try:
        yield found
    finally:
        HTTPConnection.putrequest, ThreadPoolExecutor.submit, Pool.apply_async = ask, submit, apply


def _functions(frame) -> Iterator[str]:
    while frame:
        file = Path(frame.f_code.co_filename)
        name = frame.f_code.co_qualname.replace(".<locals>", "")
        if name not in _TRANSPORTS and any(file.is_relative_to(folder) for folder in _SHIPPED):
            yield f"{file.relative_to(ROOT)}:{name}"
        frame = frame.f_back
