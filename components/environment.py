"""The process environment: where things live on this machine, and how to set it for a while."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path


def home() -> Path:
    """Return Loopline's folder on this machine: ``LOOPLINE_HOME``, else ``.loopline`` in the working directory."""
    return Path(os.environ.get("LOOPLINE_HOME") or ".loopline").expanduser().absolute()


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the length of a ``with`` block.

    Args:
        values: The variables by name.
    """
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
