"""A window too large for one step: cut it by time, summarize each piece by itself, judge the pieces together."""

import itertools
import logging
import math
import tempfile
from collections.abc import Iterable
from datetime import timedelta
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from loopline.components.errors import InputError
from loopline.components.monitoring.collect import collect
from loopline.components.monitoring.collected import Collected
from loopline.components.monitoring.drift_settings import DriftSettings
from loopline.components.monitoring.reference import read_reference
from loopline.components.monitoring.summary import SAMPLE, Summary, merge, summarize_traffic
from loopline.components.monitoring.window import Window, read_window

if TYPE_CHECKING:
    from loopline.components.monitoring.drift import Drift

logger = logging.getLogger("loopline")

_HOUR = timedelta(hours=1)


def cut_window(window: Window, pieces: int) -> list[str]:
    """Cut a window into pieces that meet at full hours, as the files of the traffic log do.

    Args:
        window: The window.
        pieces: The most pieces.

    Returns:
        Each piece's first instant and the first after it, ISO 8601 with a slash between, as ``read_slice`` takes them.

    Raises:
        InputError: No piece is allowed.
    """
    if pieces < 1:
        raise InputError(f"pieces is {pieces}: allow one at least.")
    first = window.start.replace(minute=0, second=0, microsecond=0)
    step = _HOUR * math.ceil((window.end - first) / _HOUR / pieces)
    cuts, at = [window.start], first + step
    while at < window.end:
        cuts.append(at)
        at += step
    cuts.append(window.end)
    return [f"{start.isoformat()}/{end.isoformat()}" for start, end in itertools.pairwise(cuts)]


def read_slice(text: str) -> Window:
    """Read a piece that ``cut_window`` gave.

    Raises:
        InputError: The text is none.
    """
    start, slash, end = text.partition("/")
    if not (start.strip() and slash and end.strip()):
        raise InputError(f"window {text!r} is none: write its start and end in ISO 8601 with a slash between.")
    return read_window(start, end, 0.0)


def summarize_slice(
    model: str | Path, out: str | Path, name: str, uri: str, window: Window, sites: str = "", seed: int = 0
) -> Collected:
    """Collect the rows of a piece, and keep no more of them than what a verdict on drift needs.

    Args:
        model: The model directory.
        out: The file to write the summary to.
        name: The model's name in the log.
        uri: The log; see ``collect``.
        window: The piece.
        sites: Comma-separated; all when empty.
        seed: The sample's random seed, the same for all pieces.

    Returns:
        What was collected.

    Raises:
        InputError: The log cannot be read, or the model's own rows in the piece lack a feature.
    """
    reference, out = read_reference(model), Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".slice-", dir=out.parent) as aside:
        rows = Path(aside) / "rows.parquet"
        found = collect(model, rows, name, uri, window, sites)
        summarize_traffic([rows], reference, SAMPLE, seed).save(out)
    return found


def detect_over_slices(model: str | Path, summaries: Iterable[str | Path], settings: DriftSettings) -> "Drift":
    """Say whether the rows of some summaries together still look like what a model was trained on.

    Counts and the sample are those of the whole window, so the tests' p-values are, too; means and standard deviations
    are sums of single pieces' sums, and may differ in their last digits.

    Args:
        model: The model directory that the summaries were made with.
        summaries: What ``summarize_slice`` wrote.
        settings: What counts as drift.

    Returns:
        The verdict.

    Raises:
        InputError: A file is no summary, was made with another model, or the engine is not installed.
    """
    # The tests bring scipy, which whoever cuts or summarizes does not need.
    from loopline.components.monitoring.drift import judge

    reference = read_reference(model)
    summary = reduce(merge, map(Summary.load, summaries), Summary.empty(reference, SAMPLE))
    found = judge(reference, summary, settings)
    logger.info("%s rows: %s (%s)", f"{summary.rows:,}", found.verdict, found.reason)
    return found
