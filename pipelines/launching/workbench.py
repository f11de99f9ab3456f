"""What a workbench of OpenShift AI knows about its pipeline server: the runtime that it sets up for Elyra."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

#: Where the platform mounts the runtime; the workbench's start copies it to Jupyter's data.
_MOUNTED = Path("/opt/app-root/runtimes")


def dashboard_address() -> str:
    """Return the address of the dashboard; empty when it is not known."""
    for runtime in _runtimes():
        # https://HOST/experiments/NAMESPACE/; of the path nothing is used, since it has moved since.
        _, _, address = str(runtime.get("public_api_endpoint") or "").rpartition("https://")
        host = urlsplit(f"https://{address}").netloc if address else ""
        if host:
            return f"https://{host}"
    return ""


def pipeline_server() -> str:
    """Return the URL of the pipeline server; empty when no runtime, or more than one, names it."""
    found = {runtime["api_endpoint"] for runtime in _runtimes() if runtime.get("api_endpoint")}
    return found.pop() if len(found) == 1 else ""


def _runtimes() -> Iterator[dict]:
    # The files hold the password of a bucket, too: only what is asked for leaves this module.
    data = Path(os.environ.get("JUPYTER_DATA_DIR") or Path.home() / ".local/share/jupyter")
    for folder in (_MOUNTED, data / "metadata" / "runtimes"):
        for file in sorted(folder.glob("*.json")):
            try:
                document = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError):
                continue
            if isinstance(document, dict) and document.get("schema_name") == "kfp":
                yield document.get("metadata") or {}
