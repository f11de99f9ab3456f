"""What this process asks over HTTP, and which functions of Loopline ask: all its clients end in http.client."""

import contextlib
import http.client
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Where the code is that is shipped.
_SHIPPED = [ROOT / folder for folder in ("components", "pipelines", "deploy", "examples")]


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
    """Write down what is asked in a ``with`` block."""
    original, found = http.client.HTTPConnection.putrequest, []

    def putrequest(connection, method, url, *arguments, **keywords):
        found.append(Request(connection.port, method, url.partition("?")[0], tuple(_functions(sys._getframe(1)))))
        return original(connection, method, url, *arguments, **keywords)

    http.client.HTTPConnection.putrequest = putrequest
    try:
        yield found
    finally:
        http.client.HTTPConnection.putrequest = original


def _functions(frame) -> Iterator[str]:
    while frame:
        file = Path(frame.f_code.co_filename)
        if any(file.is_relative_to(folder) for folder in _SHIPPED):
            yield f"{file.relative_to(ROOT)}:{frame.f_code.co_qualname.replace('.<locals>', '')}"
        frame = frame.f_back
