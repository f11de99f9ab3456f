"""What was collected of a window of traffic, and what was not."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from loopline.components.documents import write_document
from loopline.components.monitoring.truth import TruthCounts
from loopline.components.monitoring.window import Window
from loopline.components.report import Report


@dataclass
class Collected:
    """What was collected, and what was not.

    Attributes:
        name: The model's name in the log.
        window: The window.
        model_digest: The digest of the model that watches.
        rows: Rows of the window.
        labeled: Those with truth.
        own: Those that this very model predicted.
        own_labeled: Those of them with truth.
        by_site: Rows by site.
        by_version: Rows by the version that predicted them.
        by_hour: Rows by hour and site.
        first: The first row's instant, None without rows.
        last: The last row's.
        dropped: Rows left out, by reason: ``duplicate`` (a part copied twice), ``clock_ahead`` (dated in the future),
            ``misplaced`` (dated in another hour than their file), ``unidentified`` (no id, row or time),
            ``impossible_prediction`` (own rows without a prediction, or with one that is no probability).
        nulled: Values that did not fit their column's type and are null now, by column.
        incomplete: Rows of files that lack a column, null there, by column.
        absent_columns: Columns that every file with rows lacks; None without such a file.
        unknown_columns: Columns of the log that the model does not know.
        files: Files read.
        broken_files: Files that could not be read, by name, with the reason.
        truth: What became of the truth.
        notes: What the reader should know, in sentences.
    """

    name: str
    window: Window
    model_digest: str
    rows: int = 0
    labeled: int = 0
    own: int = 0
    own_labeled: int = 0
    by_site: Counter = field(default_factory=Counter)
    by_version: Counter = field(default_factory=Counter)
    by_hour: Counter = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None
    dropped: Counter = field(default_factory=Counter)
    nulled: Counter = field(default_factory=Counter)
    incomplete: Counter = field(default_factory=Counter)
    absent_columns: set | None = None
    unknown_columns: set = field(default_factory=set)
    files: int = 0
    broken_files: dict[str, str] = field(default_factory=dict)
    truth: TruthCounts = field(default_factory=TruthCounts)
    notes: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> dict[str, float]:
        """The main counts, flat."""
        return {
            "rows": self.rows,
            "labeled": self.labeled,
            "own": self.own,
            "own_labeled": self.own_labeled,
            "sites": len(self.by_site),
            "files": self.files,
            "broken_files": len(self.broken_files),
            "truth_rows": self.truth.rows,
            "truth_matched": self.truth.matched,
            "dropped": self.dropped.total(),
        }

    def to_dict(self) -> dict:
        """Return everything but the hours as plain JSON values."""
        return {
            "name": self.name,
            "window": self.window.to_dict(),
            "rows": self.rows,
            "labeled": self.labeled,
            "own": self.own,
            "own_labeled": self.own_labeled,
            "by_site": dict(sorted(self.by_site.items())),
            "by_version": dict(sorted(self.by_version.items())),
            "first": self.first and self.first.isoformat(),
            "last": self.last and self.last.isoformat(),
            "dropped": dict(sorted(self.dropped.items())),
            "nulled": dict(sorted(self.nulled.items())),
            "incomplete": dict(sorted(self.incomplete.items())),
            "unknown_columns": sorted(self.unknown_columns),
            "files": self.files,
            "broken_files": sorted(self.broken_files),
            "truth": self.truth.to_dict(),
            "notes": self.notes,
            "model_digest": self.model_digest,
        }

    def save(self, path: str | Path) -> None:
        """Write the counts as JSON."""
        write_document(path, self.to_dict())

    def report(self) -> Report:
        """Return the counts as a page."""
        from loopline.components.monitoring.collect_page import collect_page

        return collect_page(self)
