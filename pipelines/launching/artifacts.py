"""What a run wrote: the artifacts that OpenShift AI's server knows of."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from loopline.components.errors import InputError
from loopline.pipelines.launching.connection import Server

_PATH = "/apis/v2beta1/artifacts"
_PAGE = "100"


@dataclass(frozen=True)
class Artifact:
    """Something that a step wrote.

    Attributes:
        step: The step's name in the pipeline.
        name: The name of its output.
        kind: Its type, e.g. ``system.HTML``.
        uri: Where it is.
    """

    step: str
    name: str
    kind: str
    uri: str


def list_artifacts(server: Server, run_id: str, since: datetime) -> list[Artifact]:
    """List what a run wrote, by step.

    A run's answer does not name its artifacts; OpenShift AI lists those of a namespace, and a run's are kept under its
    id: ``s3://BUCKET/.../PIPELINE/RUN/STEP/EXECUTION/NAME``.

    Args:
        server: The server.
        run_id: The run.
        since: When it was made; older artifacts are not looked at.

    Returns:
        The artifacts, the first written first.

    Raises:
        InputError: The server does not tell.
    """
    if not server.namespace:
        raise InputError("The server's namespace is not known, by which it lists artifacts.")
    found = []
    for entry in _newest(server):
        made = entry.get("created_at")
        if made and datetime.fromisoformat(made) < since:
            break
        _, mark, rest = str(entry.get("uri") or "").partition(f"/{run_id}/")
        if mark:
            step, *_, name = rest.split("/")
            found.append(Artifact(step, name, entry.get("artifact_type") or "", entry["uri"]))
    return found[::-1]


def _newest(server: Server) -> Iterator[dict]:
    token = ""
    while True:
        more = {"next_page_token": token} if token else {}
        text = server.read_text(
            _PATH, namespace=server.namespace, max_result_size=_PAGE, order_by_field="ID", order_by="desc", **more
        )
        try:
            page = json.loads(text)
        except (ValueError, RecursionError):
            raise InputError("The server does not list artifacts.") from None
        yield from page.get("artifacts") or []
        token = page.get("next_page_token") or ""
        if not token:
            return
