"""Elyra, the visual pipeline editor: its runtime configuration and the palette with Loopline's nodes."""

import json
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from loopline.pipelines.doctor.findings import Finding, ok, skipped, warning
from loopline.pipelines.doctor.settings import Settings
from loopline.pipelines.spec import compiled_folder

#: The runtime configuration that OpenShift AI puts into a workbench when the namespace has a pipeline server.
RUNTIME = "odh_dsp"


def check(settings: Settings) -> Iterator[Finding]:
    """Check the runtime configuration and the palette, where Elyra is installed."""
    try:
        found = version("odh-elyra")
    except PackageNotFoundError:
        yield skipped("Elyra", "not installed: needed only for the visual pipeline editor")
        return
    yield ok("Elyra", f"odh-elyra {found}")
    metadata = _data_folder() / "metadata"
    yield _runtime(metadata / "runtimes", settings.place.kind == "workbench")
    yield _palette(metadata / "component-catalogs", settings.place.kind == "workbench")


def _data_folder() -> Path:
    """Return Jupyter's data folder of this user, as ``jupyter --data-dir`` tells it on Linux."""
    named = os.environ.get("JUPYTER_DATA_DIR")
    share = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(named).expanduser() if named else Path(share).expanduser() / "jupyter"


def _runtime(folder: Path, in_workbench: bool) -> Finding:
    names = sorted(file.stem for file in folder.glob("*.json"))
    if RUNTIME in names or (names and not in_workbench):
        return ok("runtime", ", ".join(names))
    if in_workbench:
        return warning(
            "runtime", f"no runtime configuration {RUNTIME} in {folder}",
            "Restart the workbench after the pipeline server of its namespace is ready.",
        )  # fmt: skip
    return skipped("runtime", "no runtime configuration: needed only to submit from the editor")


def _palette(folder: Path, in_workbench: bool) -> Finding:
    nodes = compiled_folder() / "elyra"
    names = [file.stem for file in sorted(folder.glob("*.json")) if _shows(file, nodes)]
    if names:
        return ok("palette", f"Loopline's nodes are in the catalog {', '.join(names)}")
    if not in_workbench:
        return skipped("palette", "no catalog has Loopline's nodes: needed only for the visual pipeline editor")
    return warning("palette", "no catalog has Loopline's nodes", "Run `loopline elyra install`.")


def _shows(file: Path, nodes: Path) -> bool:
    try:
        paths = json.loads(file.read_text(encoding="utf-8"))["metadata"]["paths"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False
    return isinstance(paths, list) and any("loopline" in str(p).lower() or Path(str(p)) == nodes for p in paths)
