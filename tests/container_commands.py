"""Run a container's command on this machine, to be ended with all that it started."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from loopline.components.delivery.child import die_with


@contextlib.contextmanager
def running(
    words: Sequence[str | Path], environment: dict[str, str], log: Path, folder: Path | None = None
) -> Iterator[subprocess.Popen]:
    """Run a command with this environment and no other, in a folder, until the ``with`` block ends."""
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            words,
            env=environment,
            cwd=folder,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            preexec_fn=die_with(os.getpid()),
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
