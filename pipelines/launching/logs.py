"""What the steps of a run print, as the server reads it from their pods."""

import contextlib
from urllib.parse import quote

from loopline.components.errors import InputError
from loopline.pipelines.launching.connection import Server
from loopline.pipelines.launching.steps import OVER, Step


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
        if step.state in OVER:
            return self._news(*self._find(step.pods[::-1]))
        if step.id in self._pods:
            return self._news(self._pods[step.id], self._read(self._pods[step.id]))
        pod, lines = self._find(step.pods)
        if pod:
            self._pods[step.id] = pod
        return self._news(pod, lines)

    def whole(self, step: Step) -> list[str]:
        """Return all that a step's last attempt printed; nothing where its log cannot be read."""
        return self._find(step.pods[::-1])[1] or []

    def _news(self, pod: str, lines: list[str] | None) -> list[str]:
        seen = self._seen.get(pod, 0)
        self._seen[pod] = max(seen, len(lines or []))
        return (lines or [])[seen:]

    def _find(self, pods: tuple[str, ...]) -> tuple[str, list[str] | None]:
        for pod in pods:
            lines = self._read(pod)
            if lines is not None:
                return pod, lines
        return "", None

    def _read(self, pod: str) -> list[str] | None:
        # The one path for logs, on every version of the server; it takes the name of a pod as that of a node.
        path = f"/apis/v1alpha1/runs/{quote(self._run)}/nodes/{quote(pod)}/log"
        with contextlib.suppress(InputError):
            return self._server.read_text(path).splitlines(keepends=True)
        return None
