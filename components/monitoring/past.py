"""What the windows before say about this one: how long something holds, and what is new since the last retraining."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from loopline.components.monitoring.evidence import read_span
from loopline.components.monitoring.window import Window

RETRAIN = "retrain"
#: What decide_retraining may return.
VERDICTS = (RETRAIN, "wait", "alert")
#: Windows that share at most this much of the shorter one's time are different evidence: schedules are not exact.
_SHARED = 0.1


@dataclass(frozen=True)
class Earlier:
    """A window that was decided before.

    Attributes:
        window: The window.
        decision: What decision.json holds.
    """

    window: Window
    decision: Mapping

    @property
    def rows(self) -> int:
        """Its rows."""
        return self.decision.get("rows") or 0

    def signal(self, name: str) -> str:
        """What ``data``, ``drift``, ``performance`` or ``service`` said."""
        return (self.decision.get("signals") or {}).get(name, "")


class Past:
    """The windows before one.

    Args:
        history: The decisions of earlier windows, in any order.
        window: The window that is decided now; what ended at its end or later does not count.
        digest: The champion's digest.
    """

    def __init__(self, history: Sequence[Mapping], window: Window, digest: str):
        found = [
            Earlier(read_span(decision.get("window"), "A decision in the history"), decision) for decision in history
        ]
        found = [earlier for earlier in found if earlier.window.end < window.end]
        self.windows = sorted(found, key=lambda earlier: (earlier.window.end, earlier.window.start))
        self._window, self._digest = window, digest

    @property
    def last_retraining(self) -> datetime | None:
        """The end of the last window that called for a retraining."""
        ends = [earlier.window.end for earlier in self.windows if earlier.decision.get("verdict") == RETRAIN]
        return ends[-1] if ends else None

    @property
    def in_vain(self) -> int:
        """How many retrainings in a row left the champion in its place."""
        called = [earlier for earlier in self.windows if earlier.decision.get("verdict") == RETRAIN]
        count = 0
        for earlier in reversed(called):
            if earlier.decision.get("model_digest") != self._digest:
                break
            count += 1
        return count

    @property
    def champion_seen(self) -> bool:
        """Whether the champion was the champion in a window before."""
        return any(earlier.decision.get("model_digest") == self._digest for earlier in self.windows)

    @property
    def last_with_rows(self) -> Earlier | None:
        """The last window that had traffic."""
        return next((earlier for earlier in reversed(self.windows) if earlier.rows), None)

    def streak(self, signal: str, wanted: str, unclear: Sequence[str]) -> int:
        """Count for how many windows in a row, this one included, a signal says the same of the same model.

        It begins anew after a retraining. Windows that overlap show the same rows and count once.

        Args:
            signal: ``performance`` or ``drift``; this window's is what is wanted.
            wanted: What it must say.
            unclear: What neither counts nor ends the streak; broken or no data do not, either.
        """
        count, last = 1, self._window
        for earlier in reversed(self.windows):
            if earlier.decision.get("model_digest") != self._digest or earlier.decision.get("verdict") == RETRAIN:
                break
            said = earlier.signal(signal)
            if said in unclear or earlier.signal("data") != "ok":
                continue
            if said != wanted:
                break
            if not _overlap(earlier.window, last):
                count, last = count + 1, earlier.window
        return count

    def new_labels(self, labeled: int) -> int:
        """Return about how many labeled rows there are since the last retraining, those of overlapping windows once.

        Args:
            labeled: The labeled rows of this window.
        """
        since = self.last_retraining
        total, covered = 0.0, self._window.end
        spans = [(self._window, labeled), *((w.window, w.decision.get("labeled") or 0) for w in reversed(self.windows))]
        for window, rows in spans:
            start = max(window.start, since) if since else window.start
            # As if the window's rows were spread evenly over it.
            total += rows * max((min(window.end, covered) - start) / (window.end - window.start), 0.0)
            covered = min(covered, window.start)
        return int(total)


def _overlap(one: Window, two: Window) -> bool:
    shared = min(one.end, two.end) - max(one.start, two.start)
    shorter = min(one.end - one.start, two.end - two.start)
    return shared > timedelta(0) and shared / shorter > _SHARED
