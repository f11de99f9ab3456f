"""What a notebook shows of a result: a card with the verdict and its figures, or a whole page in a frame."""

import html
from dataclasses import dataclass
from pathlib import Path

from loopline.components.report import COLORS, FONT, PARTS_STYLE, Report, frame

#: Nested, so that it holds inside a card alone; the class is named twice to come before the notebook's own rules.
_STYLE = f"""
.loopline.loopline {{ {COLORS} background: var(--tint); color: var(--ink); font: {FONT}; max-width: 1060px;
  border: 1px solid var(--line); border-radius: 8px; padding: 14px 18px 6px; box-sizing: border-box; overflow-x: auto;
  {PARTS_STYLE}
  .head {{ margin: 0 0 10px; max-width: none; font: inherit; color: var(--soft); }}
  h4.head {{ margin: 0; font-weight: 600; color: var(--ink); }}
  .lead {{ font-size: 17px; }}
  .tile {{ padding: 8px 12px; }}
  .tile b {{ font-size: 21px; }}
  table {{ background: none; color: inherit; table-layout: auto; }}
  tr:nth-child(n), td, th {{ background: none; color: inherit; white-space: normal; max-width: none; }}
  th {{ color: var(--soft); }}
  td:first-child {{ white-space: nowrap; }}
  details {{ margin: 0 0 8px; }}
  summary {{ cursor: pointer; color: var(--accent); margin: 0 0 6px; }}
}}
"""


class Card(Report):
    """A small page for the output of a notebook's cell, built as a report is.

    Args:
        title: What the card is about; no headline when empty.
        subtitle: One line under it.
    """

    def __init__(self, title: str = "", subtitle: str = ""):
        super().__init__(title)
        lines = (("h4", title), ("p", subtitle))
        self._parts = [f'<{tag} class="head">{html.escape(line)}</{tag}>' for tag, line in lines if line]

    def link(self, text: str, url: str) -> None:
        """Add a line that leads elsewhere.

        Args:
            text: What to call it.
            url: Where it leads; shown as text where it is no address of a web page.
        """
        shown = html.escape(text)
        if url.startswith(("https://", "http://")):
            shown = f'<a href="{html.escape(url)}" target="_blank" rel="noopener">{shown}</a>'
        self._parts.append(f"<p>{shown}</p>")

    def page(self, title: str, markup: str) -> None:
        """Add a page, folded away until the reader opens it.

        Args:
            title: What to call it.
            markup: The page.
        """
        self._parts.append(f"<details><summary>{html.escape(title)}</summary>{frame(markup)}</details>")

    def markup(self) -> str:
        """Return the card."""
        return f'<div class="loopline"><style>{_STYLE}</style>{"".join(self._parts)}</div>'

    def _repr_html_(self) -> str:
        return self.markup()


@dataclass(frozen=True)
class Page:
    """A page that was written, shown in a frame.

    Attributes:
        path: The HTML file.
    """

    path: Path

    def _repr_html_(self) -> str:
        return frame(self.path.read_text(encoding="utf-8"))
