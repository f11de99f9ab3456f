"""What a run on this machine left: its outputs, the artifacts of every step, its reports."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from loopline.components.display import Card, Page
from loopline.components.errors import InputError
from loopline.components.report import show
from loopline.pipelines.progress import shown_path

if TYPE_CHECKING:
    from kfp.dsl import Artifact


@dataclass
class Run:
    """A finished run.

    Attributes:
        folder: Where its artifacts, reports and log are.
        outputs: The pipeline's outputs by name: parameters as values, artifacts as KFP artifacts with ``path``.
        reports: The HTML reports, in the order they were written.
        artifacts: By step and name what every step wrote, as KFP artifacts with ``path`` and ``metadata``.
        seconds: Wall time by step name; a step that ran several times is numbered.
        total_seconds: Wall time of the whole run.
    """

    folder: Path
    outputs: dict = field(default_factory=dict)
    reports: list[Path] = field(default_factory=list)
    artifacts: dict[str, dict[str, "Artifact"]] = field(default_factory=dict, repr=False)
    seconds: dict[str, float] = field(default_factory=dict)
    total_seconds: float = 0.0

    def artifact(self, step: str, name: str) -> "Artifact":
        """Return what a step wrote.

        Args:
            step: The step's name, such as ``evaluate-model``.
            name: The name of its output, such as ``classification``.

        Returns:
            The KFP artifact, with ``path`` and ``metadata``.

        Raises:
            InputError: There was no such step, or it has no such output.
        """
        artifacts = _look_up(step, self.artifacts, f"This run had no step {step!r}")
        return _look_up(name, artifacts, f"Step {step} wrote no {name!r}")

    def report(self, name: str) -> Page:
        """Return a report; a notebook shows it.

        Args:
            name: The name of its step, such as ``evaluate-model``; with that of the output where it is not ``report``:
                ``select-model-trials``.

        Raises:
            InputError: There is no such report.
        """
        return Page(_look_up(name, {page.stem: page for page in self.reports}, f"This run has no report of {name!r}"))

    def _repr_html_(self) -> str:
        title = f"{len(self.seconds)} steps in {self.total_seconds:.0f} s"
        card = Card(f"Run {self.folder.name}", f"{title}; what they wrote is in {shown_path(self.folder)}")
        card.tiles((name, show(value)) for name, value in self.outputs.items() if not hasattr(value, "path"))
        rows = [(step, round(took, 1), ", ".join(self.artifacts.get(step, ()))) for step, took in self.seconds.items()]
        card.table(["Step", "Seconds", "Artifacts"], rows)
        for page in self.reports:
            card.page(f"Report of {page.stem}", page.read_text(encoding="utf-8"))
        return card.markup()


def _look_up(name: str, known: dict, problem: str):
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(sorted(known)) or 'nothing'}."
    raise InputError(f"{problem}: {hint}")
