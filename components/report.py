"""Self-contained HTML reports: one file, no script, no request to anywhere, every value escaped."""

import html
import io
import math
import numbers
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

#: The look of what pages and cards are made of.
PARTS_STYLE = """
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 12px; margin: 0 0 18px; }
.tile { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.tile b { display: block; font-size: 24px; font-weight: 700; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13px; }
.tile .label { color: var(--ink); font-weight: 600; }
p { margin: 0 0 10px; max-width: 75ch; }
table { border-collapse: collapse; width: 100%; font-size: 14px; margin: 0 0 12px; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: break-word; }
th { color: var(--soft); font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
.lead { font-size: 19px; line-height: 1.4; font-weight: 600; max-width: 60ch; }
.note { border-left: 4px solid var(--accent); padding-left: 12px; }
"""
COLORS = (
    "--ink: #1b1f24; --soft: #5b6470; --line: #d9dee4; --paper: #fff; --tint: #f5f7f9; --good: #14743f; "
    "--bad: #b3261e; --warn: #8a5a00; --accent: #0b5cad;"
)
FONT = '15px/1.5 "Red Hat Text", system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'
_STYLE = f"""
:root {{ {COLORS} }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: var(--tint); color: var(--ink); font: {FONT}; }}
{PARTS_STYLE}
main {{ max-width: 1060px; margin: 0 auto; padding: 32px 24px 64px; }}
header {{ border-bottom: 3px solid var(--accent); padding-bottom: 12px; margin-bottom: 24px; }}
h1 {{ font-size: 28px; line-height: 1.2; margin: 0 0 4px; }}
h2 {{ font-size: 19px; margin: 0 0 8px; }}
header p {{ color: var(--soft); margin: 0; }}
section {{ background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 20px 22px;
  margin: 0 0 18px; overflow-x: auto; }}
figure {{ margin: 0 0 8px; }}
figure svg {{ width: 100%; height: auto; max-width: 980px; }}
figcaption {{ color: var(--soft); font-size: 13px; }}
footer {{ color: var(--soft); font-size: 13px; }}
.narrow {{ display: none; }}
@media (max-width: 700px) {{ .wide {{ display: none; }} .narrow {{ display: block; }}
  main {{ padding: 20px 12px 48px; }} section {{ padding: 16px 14px; }} h1 {{ font-size: 23px; }} }}
@media print {{ body {{ background: #fff; }} section, .tile {{ break-inside: avoid; }}
  .wide {{ display: block; }} .narrow {{ display: none; }} }}
"""


class Report:
    """A page built from top to bottom and written once.

    Args:
        title: The headline.
        subtitle: One line under it: what was looked at, and when.
    """

    def __init__(self, title: str, subtitle: str = ""):
        self.title = title
        self._parts = [f"<header><h1>{html.escape(title)}</h1><p>{html.escape(subtitle)}</p></header>"]
        self._open = False

    def tiles(self, tiles: Iterable[Sequence[str]]) -> None:
        """Add a row of headline figures.

        Args:
            tiles: For each its label, its value and, where wanted, a line of detail and a tone (good, bad, warn).
        """
        self._close()
        cells = []
        for label, value, *rest in tiles:
            detail = rest[0] if rest else ""
            tone = html.escape(rest[1]) if len(rest) > 1 else ""
            cells.append(
                f'<div class="tile"><span class="label">{html.escape(label)}</span>'
                f'<b class="{tone}">{html.escape(value)}</b><span>{html.escape(detail)}</span></div>'
            )
        self._parts.append(f'<div class="tiles">{"".join(cells)}</div>')

    def section(self, heading: str) -> None:
        """Start a section; what is added next stands in it."""
        self._close()
        self._parts.append(f"<section><h2>{html.escape(heading)}</h2>")
        self._open = True

    def text(self, text: str, tone: str = "") -> None:
        """Add a paragraph.

        Args:
            text: Plain text.
            tone: ``good``, ``bad``, ``warn`` or ``note``; empty for none.
        """
        self._parts.append(f'<p class="{html.escape(tone)}">{html.escape(text)}</p>')

    def lead(self, text: str, tone: str = "note") -> None:
        """Add the sentence that a reader should take away.

        Args:
            text: Plain text.
            tone: ``good``, ``bad``, ``warn`` or ``note``.
        """
        self._parts.append(f'<p class="lead {html.escape(tone)}">{html.escape(text)}</p>')

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table; numbers are set right-aligned and rounded to four significant digits, percentages
        given as text (``12.5%``) are right-aligned too.

        Args:
            headers: The columns' names.
            rows: The cells, row by row; None is shown as a dash.
        """
        rows = [list(row) for row in rows]
        numeric = [
            bool(rows) and all(row[i] is None or _is_figure(row[i]) for row in rows) for i in range(len(headers))
        ]
        marks = [' class="number"' if flag else "" for flag in numeric]
        head = "".join(f"<th{mark}>{html.escape(name)}</th>" for mark, name in zip(marks, headers, strict=True))
        body = "".join(
            "<tr>"
            + "".join(f"<td{mark}>{html.escape(show(cell))}</td>" for mark, cell in zip(marks, row, strict=True))
            + "</tr>"
            for row in rows
        )
        self._parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def figure(self, figure, caption: str = "") -> None:
        """Add a matplotlib figure as inline SVG.

        Args:
            figure: A ``matplotlib.figure.Figure``.
            caption: What the reader should see in it.
        """
        import matplotlib
        from matplotlib.text import Text

        # Names in figures come from data: a dollar sign in one is a dollar sign and not the start of a formula.
        for text in figure.findobj(Text):
            text.set_parse_math(False)
        number = sum(part.startswith("<figure") for part in self._parts)
        buffer = io.StringIO()
        # A fixed salt makes the identifiers, and so the report, the same on every run.
        settings = {"svg.hashsalt": f"loopline-{number}", "svg.fonttype": "none", "text.parse_math": False}
        with matplotlib.rc_context(settings), warnings.catch_warnings():
            # The reader's browser sets the text, in fonts that have the letters that matplotlib's own lacks.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
        svg = buffer.getvalue()
        svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
        self._parts.append(f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>")

    def drawing(self, wide: str, narrow: str, caption: str = "") -> None:
        """Add a drawing as inline SVG, made once for a wide page and once for a narrow one.

        Args:
            wide: An ``svg`` element whose texts are escaped, drawn for about 980 pixels.
            narrow: The same for about 520 pixels.
            caption: What the reader should see in it.
        """
        self._parts.append(
            f'<figure><div class="wide">{wide}</div><div class="narrow">{narrow}</div>'
            f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        )

    def markup(self) -> str:
        """Return the page."""
        self._close()
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{html.escape(self.title)}</title><style>{_STYLE}</style></head>"
            f"<body><main>{''.join(self._parts)}</main></body></html>\n"
        )

    def write(self, path: str | Path) -> None:
        """Write the page.

        Args:
            path: The file; its folder is made when missing.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(self.markup(), encoding="utf-8")

    def _repr_html_(self) -> str:
        return frame(self.markup())

    def _close(self) -> None:
        if self._open:
            self._parts.append("</section>")
            self._open = False


def frame(markup: str, height: int = 560) -> str:
    """Return a page as an element of another page, where neither touches the looks of the other.

    Args:
        markup: The page; no script in it will run.
        height: How much of it is seen at once, in pixels; the reader can pull it larger.
    """
    style = "width: 100%; height: 100%; box-sizing: border-box; border: 1px solid #d9dee4; border-radius: 8px"
    return (
        f'<div style="height: {height}px; resize: vertical; overflow: hidden">'
        f'<iframe sandbox srcdoc="{html.escape(markup)}" style="{style}"></iframe></div>'
    )


def show(value: object) -> str:
    """Return a value as a reader wants to see it: thousands grouped, four significant digits, a dash for nothing."""
    if value is None:
        return "\u2013"
    if isinstance(value, bool) or not _is_number(value):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def show_interval(entry: dict) -> str:
    """Return both ends of an interval with the same number of decimals; nothing when there is none.

    Args:
        entry: ``low`` and ``high``, None where unknown.
    """
    low, high = entry["low"], entry["high"]
    if low is None or high is None:
        return ""
    size = max(abs(low), abs(high))
    decimals = max(0, 3 - math.floor(math.log10(size))) if size > 0 else 0
    return f"{low:,.{min(decimals, 12)}f} to {high:,.{min(decimals, 12)}f}"


def _is_figure(value: object) -> bool:
    return _is_number(value) or (isinstance(value, str) and re.fullmatch(r"-?[\d.,]+%", value) is not None)


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
