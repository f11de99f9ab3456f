"""The page about the traffic that was collected: how much, from where, and what was left out and why."""

from collections import Counter
from datetime import timedelta

from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from loopline.components.monitoring.collected import Collected
from loopline.components.plotting import SERIES, panels, short_name, styled
from loopline.components.report import Report

#: Why rows were left out, as the page says it.
_DROPPED = {
    "duplicate": "rows that were there twice: a file was copied, or written again",
    "clock_ahead": "rows dated in the future: the clock of a site is ahead",
    "misplaced": "rows dated in another hour than their file: it was moved or copied",
    "unidentified": "rows without an id, a row number or a time",
    "impossible_prediction": "rows of this model without a prediction, or with one that is no probability",
}
_TRUTH = {
    "rows": "rows of truth",
    "matched": "joined with predictions of the window",
    "without_prediction": "of no prediction in the window",
    "duplicate": "said again what another row says",
    "contradictory": "said otherwise by a later row, which counts",
    "ambiguous": "of an id that different requests share, so joined with none",
    "unlabeled": "without a value",
    "unknown": "with a value that the model does not predict",
}


def collect_page(found: Collected) -> Report:
    """Return the page.

    Args:
        found: What was collected.
    """
    start, end = (f"{instant:%Y-%m-%d %H:%M}" for instant in (found.window.start, found.window.end))
    page = Report(f"Traffic of {found.name}", f"What the sites predicted from {start} to {end} UTC")
    dropped = found.dropped.total()
    page.tiles(
        [
            ("Rows", f"{found.rows:,}", f"from {len(found.by_site)} sites, {found.files:,} files"),
            ("With truth", _share(found.labeled, found.rows), f"{found.labeled:,} rows"),
            ("Of this model", _share(found.own, found.rows), f"{found.own:,} rows, {found.own_labeled:,} with truth"),
            ("Left out", f"{dropped:,}", _share(dropped, found.rows + dropped), "warn" if dropped else ""),
        ]
    )
    _add_notes(page, found)
    if found.by_hour:
        page.section("When and where")
        page.figure(
            _draw_hours(found),
            "When the sites answered. A gap is an hour without traffic, or one whose log has not arrived.",
        )
        page.table(["site", "rows", "share"], _shares(found.by_site))
        page.table(["version", "rows", "share"], _shares(found.by_version))
    _add_losses(page, found)
    if found.truth.rows:
        page.section("Truth")
        counts = found.truth.to_dict()
        page.table(
            ["rows", "what became of them"], [[counts[key], text] for key, text in _TRUTH.items() if counts[key]]
        )
    return page


def _add_notes(page: Report, found: Collected) -> None:
    if found.rows and not found.notes:
        return
    page.section("Notes")
    if not found.rows:
        page.text("There are no rows in the window: nobody asked, nothing was logged, or it lies elsewhere.", "warn")
    for note in found.notes:
        page.text(note, "warn")


def _add_losses(page: Report, found: Collected) -> None:
    """Add what was left out, changed or not understood, where there is any of it."""
    lines = [f"{found.dropped[reason]:,} {text}." for reason, text in _DROPPED.items() if found.dropped[reason]]
    lines += [f"{count:,} values of {name} did not fit its type and are missing now." for name, count in
              sorted(found.nulled.items())]  # fmt: skip
    lines += [f"{count:,} rows come from files that lack {name}." for name, count in sorted(found.incomplete.items())]
    if found.unknown_columns:
        lines.append(f"Columns that the model does not know: {', '.join(sorted(found.unknown_columns))}.")
    lines += [f"{name} cannot be read: {reason}." for name, reason in sorted(found.broken_files.items())[:20]]
    if len(found.broken_files) > 20:
        lines.append(f"{len(found.broken_files) - 20:,} more files cannot be read.")
    if lines:
        page.section("Left out or changed")
        for line in lines:
            page.text(line)


@styled
def _draw_hours(found: Collected) -> Figure:
    """Draw the rows of each hour, or each day of a long window, as bars with the sites on top of one another."""
    figure, [axis] = panels(2.6, [1])
    hours = 24 if found.window.end - found.window.start > timedelta(days=4) else 1
    series, below = _series(found, hours), Counter()
    for color, (site, counts) in zip(SERIES, series.items(), strict=False):
        instants = sorted(counts)
        axis.bar(
            instants, [counts[instant] for instant in instants], hours / 24, [below[instant] for instant in instants],
            align="edge", color=color, label=short_name(site), edgecolor="white", linewidth=0.5,
        )  # fmt: skip
        below.update(counts)
    axis.set_xlim(found.window.start, found.window.end)
    locator = AutoDateLocator()
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axis.set_ylabel("rows a day" if hours > 1 else "rows an hour")
    if len(series) > 1:
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
    return figure


def _series(found: Collected, hours: int) -> dict[str, Counter]:
    """Count rows by site, the largest first, and by instant; the sites that have no color of their own together."""
    shown = [site for site, _ in found.by_site.most_common()]
    shown = shown if len(shown) <= len(SERIES) else shown[: len(SERIES) - 1]
    series = {site: Counter() for site in shown}
    for (instant, site), count in found.by_hour.items():
        name = site if site in shown else "all others"
        series.setdefault(name, Counter())[instant.replace(hour=instant.hour // hours * hours)] += count
    return series


def _shares(counts) -> list[list]:
    return [[name, count, _share(count, counts.total())] for name, count in counts.most_common()]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "\u2013"
