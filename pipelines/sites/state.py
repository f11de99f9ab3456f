"""What the site agent writes down for everyone else: where things lie, and what each site does."""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from loopline.components.environment import home
from loopline.components.errors import InputError

#: States of a site. In the first three there is nothing to mend.
IDLE, READY, UPDATING = "idle", "ready", "updating"
STARTING, RESTARTING, DEGRADED, FAILED = "starting", "restarting", "degraded", "failed"
_Made = TypeVar("_Made")


@dataclass
class SiteState:
    """What a site does.

    Attributes:
        site: Its name; ``app`` for the application.
        state: ``idle`` (nothing promoted), ``starting``, ``ready``, ``updating`` (the old version serves until the new
            one is ready), ``restarting`` (the server died), ``degraded`` (the last good version serves) or ``failed``
            (nothing serves).
        url: Where it answers.
        wanted: Image by digest that the configuration repository names; empty for none.
        wanted_version: Its version.
        running: Image that serves; empty for none.
        running_version: Its version.
        reason: What hinders the wanted image, empty when nothing does.
        since: When it took this state, ISO 8601 in UTC.
        model: The model's name.
        pid: Process of the model server; 0 for none.
        grpc: Where it answers gRPC.
        metrics: Where it shows its metrics.
        commit: The commit that was followed last.
        good: The last image that ran as it should, to return to.
        good_version: Its version.
    """

    site: str
    state: str = STARTING
    url: str = ""
    wanted: str = ""
    wanted_version: str = ""
    running: str = ""
    running_version: str = ""
    reason: str = ""
    since: str = ""
    model: str = ""
    pid: int = 0
    grpc: str = ""
    metrics: str = ""
    commit: str = ""
    good: str = ""
    good_version: str = ""

    @property
    def in_sync(self) -> bool:
        """Whether the site does what the repository says."""
        return self.state == IDLE or (self.state == READY and self.running == self.wanted)


def sites_home() -> Path:
    """Return the folder of the agent: ``sites`` under ``LOOPLINE_HOME``."""
    return home() / "sites"


def make_sites_home() -> Path:
    """Return the agent's folder, made if missing.

    Raises:
        InputError: It cannot be made, or nothing can be written there.
    """
    for what, make in (("made", _make_folder), ("written", _probe)):
        try:
            make(sites_home())
        except OSError as error:
            raise InputError(
                f"{sites_home()} cannot be {what} ({error.strerror}): make room, or set LOOPLINE_HOME to a folder that "
                "can be written."
            ) from None
    return sites_home()


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)


def _probe(folder: Path) -> None:
    """Write something: an agent on a full disk could not even say so in its log."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(b"is there room?")


def read_states() -> list[SiteState]:
    """Read what all sites do, by name, as the agent last wrote it."""
    files = sorted(sites_home().glob("*/state.json"))
    return [state for file in files if (state := read_json(file, lambda found: SiteState(**found)))]


def write_state(state: SiteState) -> None:
    """Write what a site does, for ``status`` and for the agent's next life."""
    write_json(sites_home() / state.site / "state.json", asdict(state))


def read_json(file: Path, make: Callable[[Any], _Made]) -> _Made | None:
    """Read what ``write_json`` wrote.

    Args:
        file: The file.
        make: Makes what is returned of the value in it.

    Returns:
        What ``make`` made; None when there is no file, or what is in it was lost with the power or is of another
        version of Loopline: all of these files are written anew.
    """
    try:
        return make(json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, RecursionError):
        return None


def write_json(file: Path, value: object) -> None:
    """Write JSON so that a reader sees the file before or after, never in between."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(value, stream, indent=2)
        Path(name).replace(file)
    except OSError:
        Path(name).unlink()
        raise


def now() -> str:
    """Return the time as it is written down: ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
