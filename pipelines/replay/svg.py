"""Draw SVG by hand: lines, boxes and text at positions in pixels, every text escaped."""

import html
from collections.abc import Sequence

from loopline.components.plotting import INK, LINE

PAPER = "#ffffff"


class Drawing:
    """A drawing of a fixed size, filled from back to front.

    Args:
        width: In pixels.
        height: In pixels.
        title: What a screen reader says it is.
        description: What a screen reader says of what is in it.
    """

    def __init__(self, width: float, height: float, title: str, description: str):
        self.width, self.height = width, height
        self._head = f"<title>{html.escape(title)}</title><desc>{html.escape(description)}</desc>"
        self._parts: list[str] = []

    def markup(self) -> str:
        """Return the ``svg`` element."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {_number(self.width)} '
            f'{_number(self.height)}" font-family="inherit" font-size="12" fill="{INK}">'
            f"{self._head}{''.join(self._parts)}</svg>"
        )

    def text(
        self, x: float, y: float, text: str, *, anchor: str = "start", size: float = 12, color: str = INK, bold=False
    ) -> None:
        """Write text; ``y`` is its base line, ``anchor`` start, middle or end."""
        weight = ' font-weight="600"' if bold else ""
        self._parts.append(
            f'<text x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}" font-size="{_number(size)}" '
            f'fill="{color}"{weight}>{html.escape(text)}</text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, color: str = LINE, width: float = 1, dash="") -> None:
        """Draw a straight line."""
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        ends = f'x1="{_number(x1)}" y1="{_number(y1)}" x2="{_number(x2)}" y2="{_number(y2)}"'
        self._parts.append(f'<line {ends} stroke="{color}" stroke-width="{_number(width)}"{dashes}/>')

    def path(self, points: Sequence[tuple[float, float]], color: str, width: float = 2, dash: str = "") -> None:
        """Draw a line through points."""
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        joined = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        self._parts.append(
            f'<polyline points="{joined}" fill="none" stroke="{color}" stroke-width="{_number(width)}" '
            f'stroke-linejoin="round"{dashes}/>'
        )

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, *, edge: str = "none", round_=2.0, note=""
    ) -> None:
        """Draw a rectangle; ``note`` shows when the pointer rests on it."""
        inside = f"<title>{html.escape(note)}</title>" if note else ""
        place = f'x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(max(height, 0))}"'
        self._parts.append(f'<rect {place} rx="{_number(round_)}" fill="{fill}" stroke="{edge}">{inside}</rect>')

    def dot(self, x: float, y: float, radius: float, fill: str, edge: str = PAPER, note: str = "") -> None:
        """Draw a circle."""
        inside = f"<title>{html.escape(note)}</title>" if note else ""
        place = f'cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}"'
        self._parts.append(f'<circle {place} fill="{fill}" stroke="{edge}" stroke-width="1.5">{inside}</circle>')

    def diamond(self, x: float, y: float, radius: float, fill: str, edge: str = PAPER, note: str = "") -> None:
        """Draw a square on its corner."""
        inside = f"<title>{html.escape(note)}</title>" if note else ""
        points = [(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)]
        joined = " ".join(f"{_number(a)},{_number(b)}" for a, b in points)
        self._parts.append(
            f'<polygon points="{joined}" fill="{fill}" stroke="{edge}" stroke-width="1.5">{inside}</polygon>'
        )


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
