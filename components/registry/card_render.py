"""A model card as a page and as Markdown. Names come from data: in both, every one of them is text and nothing else."""

import re
from collections.abc import Sequence

from loopline.components.registry.card_facts import CardFacts
from loopline.components.registry.card_sections import Section, Table, main_figures
from loopline.components.report import Report, show

#: Ends the description of a version whose card was written here.
CARD_HINT = "Model card: `model-card/card.html` of the run."
#: What means something to Markdown within a line, and to HTML.
_SPECIAL = re.compile(r"[\\`*_{}\[\]()#|~!]")


def card_page(facts: CardFacts, sections: Sequence[Section]) -> Report:
    """Lay out a card as a page.

    Args:
        facts: What it is made of.
        sections: What it says.

    Returns:
        The page, not yet written.
    """
    page = Report(_title(facts), _subtitle(facts))
    page.tiles(main_figures(facts))
    for section in sections:
        page.section(section.title)
        for part in section.parts:
            if isinstance(part, Table):
                page.table(part.headers, part.rows)
            else:
                page.text(part)
    return page


def card_markdown(facts: CardFacts, sections: Sequence[Section]) -> str:
    """Write a card as Markdown.

    Args:
        facts: What it is made of.
        sections: What it says.
    """
    lines = [f"# {_plain(_title(facts))}", "", _plain(_subtitle(facts)), ""]
    for section in sections:
        lines += [f"## {_plain(section.title)}", ""]
        for part in section.parts:
            if isinstance(part, Table):
                rows = [list(map(show, row)) for row in part.rows]
                lines += [_row(part.headers), f"|{'---|' * len(part.headers)}", *map(_row, rows), ""]
            else:
                lines += [_plain(part), ""]
    return "\n".join(lines)


def card_summary(facts: CardFacts, most: int) -> str:
    """Write what a version's description in the registry says: the figures and where the card is.

    Args:
        facts: What the card is made of.
        most: The most characters.
    """
    figures = ", ".join(f"{label} {value} ({detail})" for label, value, detail in main_figures(facts))
    use = facts.stated.get("intended_use", "")
    text = f"{_plain(_subtitle(facts))}\n\n{_plain(figures)}\n\n{CARD_HINT}"
    if use and len(text) < most - 200:
        text = f"{_plain(use[: (most - len(text)) // 2])}\n\n{text}"
    return text[:most]


def _title(facts: CardFacts) -> str:
    return f"Model card: {facts.name} version {facts.version}"


def _subtitle(facts: CardFacts) -> str:
    manifest = facts.manifest
    return f"{manifest.task.capitalize()} model of {manifest.target}, {manifest.training.get('estimator') or 'trained'}"


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(_plain(str(cell)) for cell in cells)} |"


def _plain(text: str) -> str:
    """Write text in one line so that Markdown shows it as it is: no markup, no link, no element of HTML."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"(?i)\b(\w+):(?=//)", r"\1&#58;", _SPECIAL.sub(r"\\\g<0>", text))
