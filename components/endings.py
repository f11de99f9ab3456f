"""How the process of a step ends when it fails: with one sentence where that says it all.

KFP's executor lets an exception through, and Python then prints a traceback. In the log of a pod nobody needs one of a
sentence that was written to be read.
"""

import sys
from types import TracebackType

from loopline.components.errors import explain


def install() -> None:
    """Let this process end so."""
    sys.excepthook = _show


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    said = explain(error)
    if said is None:
        sys.__excepthook__(kind, error, trace)
    else:
        # With its name, as the last line of a traceback: who runs steps here reads that.
        print(f"{type(said).__module__}.{type(said).__qualname__}: {said}", file=sys.stderr)
