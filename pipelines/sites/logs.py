"""Show what the sites' servers, the application and the agent print."""

import sys
import time
from pathlib import Path

from loopline.components.errors import InputError
from loopline.pipelines.sites.server import server_logs
from loopline.pipelines.sites.state import sites_home


def show_logs(name: str, lines: int = 50, follow: bool = False) -> None:
    """Print a log.

    Args:
        name: A site, ``app`` or ``agent``.
        lines: How many of the last lines.
        follow: Go on with what is added, through every replacement, until interrupted.

    Raises:
        InputError: There is no such log.
    """
    files = _files(name)
    if not files:
        known = sorted({file.parent.name for file in sites_home().glob("*/server-*.log")})
        raise InputError(f"There is no log of {name!r}: choose from {', '.join([*known, 'agent'])}.")
    text = "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)
    sys.stdout.write("".join(text.splitlines(keepends=True)[-lines:] if lines > 0 else []))
    sys.stdout.flush()
    read = {file: file.stat().st_size for file in files}
    while follow:
        time.sleep(0.3)
        for file in _files(name):
            read[file] = _show_rest(file, read.get(file, 0))


def _show_rest(file: Path, start: int) -> int:
    with file.open("rb") as stream:
        stream.seek(start)
        added = stream.read()
    sys.stdout.write(added.decode(errors="replace"))
    sys.stdout.flush()
    return start + len(added)


def _files(name: str) -> list[Path]:
    if name == "agent":
        return [file for file in [sites_home() / "agent.log"] if file.is_file()]
    return server_logs(sites_home() / name)
