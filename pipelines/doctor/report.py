"""Show what the doctor found: aligned lines for people, JSON for programs."""

import os
import re
import shutil
import sys
import textwrap
from collections import Counter
from dataclasses import asdict
from typing import TextIO

from loopline.pipelines.doctor.checkup import Area
from loopline.pipelines.doctor.findings import OK, PROBLEM, SKIPPED, WARNING, Finding
from loopline.pipelines.doctor.place import Place

#: The narrowest and the widest a line is made, and how wide where there is no terminal.
_NARROWEST, _WIDEST, _PLAIN = 60, 120, 100
#: Columns of the state and of the title.
_STATE, _TITLE = 9, 21
#: Stands for a blank at which no line ends.
_BLANK = "\N{NO-BREAK SPACE}"
_COLORS = {OK: "32", WARNING: "33", PROBLEM: "1;31", SKIPPED: "2"}


class Report:
    """Writes areas as they come.

    Attributes:
        counts: How many findings there were of each state.
    """

    def __init__(self, stream: TextIO = sys.stdout):
        """Look at the terminal.

        Args:
            stream: Where to write.
        """
        self._stream, self._colored = stream, stream.isatty() and "NO_COLOR" not in os.environ
        self._width = min(_WIDEST, max(_NARROWEST, shutil.get_terminal_size((_PLAIN, 24)).columns))
        self.counts: Counter[str] = Counter()

    def begin(self, place: Place, version: str) -> None:
        """Say where this is."""
        self._write(f"Loopline {version} on {place.sentence}.\n")

    def area(self, area: Area) -> None:
        """Write an area."""
        self._write(f"\n{self._paint(area.name, '1')}\n")
        for finding in area.findings:
            self.counts[finding.state] += 1
            self._write(self._lines(finding))

    def end(self) -> None:
        """Write the last line."""
        self._write(f"\n{summary(self.counts)}\n")

    def _lines(self, finding: Finding) -> str:
        indent = 2 + _STATE + _TITLE
        head = f"  {finding.state:<{_STATE}}{finding.title:<{_TITLE}}"
        if len(finding.title) >= _TITLE:
            head = head.rstrip() + "  "
        lines = self._wrap(finding.seen, " " * len(head), " " * indent) or [head]
        lines[0] = head + lines[0][len(head) :]
        if finding.mend:
            lines += self._wrap(finding.mend, " " * indent + "-> ", " " * (indent + 3))
        painted = self._paint(finding.state, _COLORS[finding.state])
        lines[0] = lines[0].replace(finding.state, painted, 1)
        return "\n".join(lines) + "\n"

    def _wrap(self, text: str, first: str, following: str) -> list[str]:
        """Wrap a text between words; a command stays on one line, so that it can be copied."""
        text = re.sub("`[^`]+`", lambda command: command[0].replace(" ", _BLANK), text)
        lines = textwrap.wrap(
            text, self._width, initial_indent=first, subsequent_indent=following,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        return [line.replace(_BLANK, " ") for line in lines]

    def _paint(self, text: str, color: str) -> str:
        return f"\033[{color}m{text}\033[0m" if self._colored else text

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def summary(counts: Counter[str]) -> str:
    """Return how many findings there were, in words."""
    warnings, problems = counts[WARNING], counts[PROBLEM]
    words = f"{counts[OK]} ok, {warnings} warning{'s' * (warnings != 1)}, {problems} problem{'s' * (problems != 1)}"
    return f"{words} ({counts[SKIPPED]} skipped)" if counts[SKIPPED] else words


def as_json(place: Place, version: str, areas: list[Area]) -> dict:
    """Return the findings as plain values.

    Args:
        place: Where this is.
        version: Loopline's version.
        areas: What was found.

    Returns:
        The place, the findings by area, and their numbers.
    """
    counts = Counter(finding.state for area in areas for finding in area.findings)
    return {
        "loopline": version,
        "place": asdict(place),
        "areas": {area.name: [asdict(finding) for finding in area.findings] for area in areas},
        "counts": {state: counts[state] for state in (OK, WARNING, PROBLEM, SKIPPED)},
    }
