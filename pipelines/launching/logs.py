"""What the steps of a run print, as the server reads it from their pods."""

import contextlib
from urllib.parse import quote

from loopline.components.errors import InputError
from loopline.pipelines.launching.connection import Server
from loopline.pipelines.launching.steps import Step


class StepLogs:
    """The logs of a run's steps.

    Args:
        server: The server.
        run_id: The run.
    """

    def __init__(self, server: Server, run_id: str):
        self._server = server
        self._run = run_id
        self._pods: dict[str, str] = {}
        self._seen: dict[str, int] = {}

    def news(self, step: Step) -> list[str]:
        """Return the lines that a step has printed since it was last asked about; none where its log cannot be read."""
        pod = self._pods.get(step.id)
        lines = self._read(pod) if pod else self._find(step, step.pods)
        if lines is None:
            return []
        # A step that is tried again begins a shorter log.
        seen = self._seen.get(step.id, 0) if len(lines) >= self._seen.get(step.id, 0) else 0
        self._seen[step.id] = len(lines)
        return lines[seen:]

    def whole(self, step: Step) -> list[str]:
        """Return all that a step's last attempt printed; nothing where its log cannot be read."""
        return self._find(step, step.pods[::-1]) or []

    def _find(self, step: Step, pods: tuple[str, ...]) -> list[str] | None:
        for pod in pods:
            lines = self._read(pod)
            if lines is not None:
                self._pods[step.id] = pod
                return lines
        return None

    def _read(self, pod: str) -> list[str] | None:
        # The one path for logs, on every version of the server; it takes the name of a pod as that of a node.
        path = f"/apis/v1alpha1/runs/{quote(self._run)}/nodes/{quote(pod)}/log"
        with contextlib.suppress(InputError):
            return self._server.read_text(path).splitlines(keepends=True)
        return None
