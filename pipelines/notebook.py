"""Show a run below the cell of a notebook that started it."""

import sys
import threading
import time
from dataclasses import dataclass, field

from loopline.components.display import Card
from loopline.pipelines.progress import Progress, StepFailed, own_words

#: Seconds between two looks at the clock.
_TICK_S = 1.0


def in_notebook() -> bool:
    """Return whether this process is a notebook's kernel."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None


@dataclass
class _Line:
    """A line of the table: a step, or a note.

    Attributes:
        name: The step; empty for a note.
        says: The last thing it said.
        state: What became of it.
        started: When it began, on the clock that only goes forward.
        ended: When it ended; None while it runs.
    """

    name: str = ""
    says: str = ""
    state: str = "running"
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    def end(self, state: str, seconds: float | None = None) -> None:
        self.state = state
        self.ended = time.monotonic() if seconds is None else self.started + seconds

    @property
    def cells(self) -> tuple:
        seconds = (time.monotonic() if self.ended is None else self.ended) - self.started
        return (self.name, self.state, round(seconds, 1), self.says) if self.name else ("", "", None, self.says)


class NotebookProgress(Progress):
    """A live table of a run's steps, drawn anew in its place whenever something happens."""

    def __init__(self):
        super().__init__(None)
        self._lines: list[_Line] = []
        self._steps: dict[str, _Line] = {}
        self._handle = None
        self._drawing = threading.Lock()
        threading.Thread(target=self._keep_drawing, daemon=True).start()

    def note(self, text: str) -> None:
        """Show a line of its own."""
        self._lines.append(_Line(says=text, ended=time.monotonic()))
        self._draw()

    def start(self, step: str) -> str:
        """Note that a step starts; see ``Progress``."""
        name = super().start(step)
        self._steps[name] = _Line(name)
        self._lines.append(self._steps[name])
        self._draw()
        return name

    def line(self, step: str, line: str) -> None:
        """Show a line a step printed, if it is one of Loopline's own."""
        if words := own_words(line):
            self._steps[step].says = words
            self._draw()

    def done(self, step: str, seconds: float | None = None) -> None:
        """Note that a step succeeded; see ``Progress``."""
        super().done(step, seconds)
        self._steps[step].end("done", seconds)
        self._draw()

    def fail(self, step: str, failure: StepFailed, seconds: float | None = None) -> None:
        """Note that a step failed; what went wrong is kept in ``failure``."""
        super().fail(step, failure, seconds)
        self._steps[step].says = failure.message
        self._steps[step].end("failed", seconds)
        self._draw()

    def close(self) -> None:
        """Stop the clock; a step that still runs was interrupted."""
        super().close()
        for line in self._running_lines():
            line.end("interrupted")
            self._draw()

    def _running_lines(self) -> list[_Line]:
        return [line for line in list(self._lines) if line.ended is None]

    def _keep_drawing(self) -> None:
        while not self._stop.wait(_TICK_S):
            if self._running_lines():
                self._draw()

    def _draw(self) -> None:
        from IPython.display import display

        with self._drawing:
            card = Card()
            card.table(["Step", "State", "Seconds", "Says"], [line.cells for line in list(self._lines)])
            if self._handle is None:
                self._handle = display(card, display_id=True)
            else:
                self._handle.update(card)
