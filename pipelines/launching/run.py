"""A run on the server, to look at, follow and wait for."""

import contextlib
from datetime import datetime

from loopline.components.display import Card
from loopline.components.errors import InputError
from loopline.pipelines.launching.artifacts import Artifact, list_artifacts
from loopline.pipelines.launching.connection import Server, connect
from loopline.pipelines.launching.following import Outcome, find_spec, follow
from loopline.pipelines.launching.links import run_link
from loopline.pipelines.launching.steps import OVER, read_steps
from loopline.pipelines.notebook import NotebookProgress, in_notebook
from loopline.pipelines.progress import Progress

#: How the state of a run looks.
_TONES = {"SUCCEEDED": "good", "FAILED": "bad", "CANCELED": "warn"}


class ServerRun:
    """A run on the server. In a notebook it shows itself.

    Args:
        server: The server.
        run_id: Its id.
        title: Its name.
        created_at: When it was made.
        version: The version of the pipeline that it runs, and whether it was uploaded for it; empty when not known.

    Attributes:
        run_id: Its id.
        title: Its name.
        link: Where a browser shows it.
    """

    def __init__(self, server: Server, run_id: str, title: str, created_at: datetime, version: str = ""):
        self.run_id = run_id
        self.title = title
        self.version = version
        self.link = run_link(server, run_id)
        self._server = server
        self._created_at = created_at

    @classmethod
    def find(cls, run_id: str, *, host: str = "", token: str = "", token_path: str = "") -> "ServerRun":
        """Attach to a run that somebody started.

        Args:
            run_id: Its id.
            host: The server's URL; see ``connection.connect`` for this and the others.
            token: A token for it.
            token_path: A file with one.

        Returns:
            The run.

        Raises:
            InputError: There is none, or the server cannot be used.
        """
        server = connect(host, token, token_path)
        run = server.look(server.runs.run_service_get_run, run_id)
        return cls(server, run_id, run.display_name, run.created_at)

    @property
    def state(self) -> str:
        """Its state now: PENDING, RUNNING, SUCCEEDED, FAILED, CANCELING, CANCELED or SKIPPED.

        Raises:
            InputError: The server refuses or is away.
        """
        return self._look().state

    def follow(self, progress: Progress | None = None) -> Outcome:
        """Show its steps as they happen, until it is over.

        Args:
            progress: Where to show them; below the cell in a notebook and on standard output elsewhere when None.

        Returns:
            How it ended.

        Raises:
            InputError: The server stays away; the run goes on.
        """
        if progress is not None:
            return follow(self._server, self.run_id, progress)
        with contextlib.closing(NotebookProgress() if in_notebook() else Progress.terminal()) as own:
            outcome = follow(self._server, self.run_id, own)
        if outcome.failure:
            print(f"{outcome.failure.traceback}\n{outcome.failure}".strip())
        return outcome

    def wait(self) -> str:
        """Wait until it is over, and show nothing.

        Returns:
            Its state: SUCCEEDED, FAILED, CANCELED or SKIPPED.

        Raises:
            InputError: The server stays away; the run goes on.
        """
        return follow(self._server, self.run_id, Progress.silent()).state

    def artifacts(self) -> list[Artifact]:
        """List what it wrote.

        Raises:
            InputError: The server does not tell.
        """
        return list_artifacts(self._server, self.run_id, self._created_at)

    def _look(self):
        return self._server.look(self._server.runs.run_service_get_run, self.run_id)

    def _repr_html_(self) -> str:
        try:
            run = self._look()
            steps = read_steps(run, find_spec(self._server, run))
            state = run.state
        except InputError as error:
            steps, state = [], str(error)
        card = Card(f"Run {self.title}", self.version)
        card.lead(state or "PENDING", _TONES.get(state, "note"))
        card.table(
            ["Step", "State", "Seconds"],
            [
                (step.title, step.state.lower(), round(step.seconds) if step.seconds and step.state in OVER else None)
                for step in steps
            ],
        )
        card.link("The run on its server", self.link)
        return card.markup()
