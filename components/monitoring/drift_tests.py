"""Hand the sampled rows of both sides to the battery of tests, and add sizes to what it says."""

from dataclasses import asdict, dataclass, field

import numpy as np

from loopline.components.monitoring.battery import BatteryResult, run_battery
from loopline.components.monitoring.drift_settings import DriftSettings
from loopline.components.monitoring.engines import Engine, open_engine
from loopline.components.monitoring.reference import Reference, Watched
from loopline.components.monitoring.summary import OWN, Summary

#: The share of alpha that predictions get where there are any: what moves them enough to matter moves them far.
PREDICTIONS = 0.1


@dataclass
class Significance:
    """What the tests say.

    Attributes:
        columns: By column the test that speaks loudest, its p-value and the adjusted one.
        pairs: Pairs of numbers with their rank correlations, as JSON values.
        joint: The shift of all numbers together; None when not tested.
        domain: What the classifier found; None when not tested.
    """

    columns: dict[str, tuple[str, float | None, float | None]] = field(default_factory=dict)
    pairs: list[dict] = field(default_factory=list)
    joint: dict | None = None
    domain: dict | None = None

    @property
    def drifted(self) -> bool:
        """Whether something moved that is no single column."""
        return any(pair["drifted"] for pair in self.pairs) or any(one and one["drifted"] for one in self._whole)

    @property
    def sentences(self) -> list[str]:
        """What moved that is no single column, in words."""
        found = []
        pairs = [pair for pair in self.pairs if pair["drifted"]]
        if pairs:
            first = pairs[0]
            others = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
            found.append(
                f"the correlation of {first['first']!r} and {first['second']!r} went from {first['reference']:.2f} to "
                f"{first['current']:.2f}{others}"
            )
        if self.joint and self.joint["drifted"]:
            found.append(f"all numbers together moved by {self.joint['shift']:.2f} standard deviations on average")
        if self.domain and self.domain["drifted"]:
            found.append(f"a classifier tells the window from the reference with an AUC of {self.domain['auc']:.2f}")
        return found

    @property
    def _whole(self) -> tuple[dict | None, dict | None]:
        return self.joint, self.domain


def test_window(reference: Reference, summary: Summary, settings: DriftSettings, skip: set[str]) -> Significance:
    """Test the sampled rows of a window against those of the reference.

    Args:
        reference: What is compared with.
        summary: The window.
        settings: Engine, alpha, seed and sizes.
        skip: Columns that are not to be tested, because they are broken.

    Returns:
        Adjusted p-values, all comparable with alpha.

    Raises:
        InputError: The engine is unknown or not installed.
    """
    engine = open_engine(settings.engine)
    inputs = [column for column in reference.inputs if column.name not in skip]
    outputs = [column for column in reference.predictions if column.name not in skip]
    own = summary.sample.columns[OWN]
    outputs = outputs if int(own.sum()) >= settings.min_rows else []
    shares = (1 - PREDICTIONS, PREDICTIONS) if inputs and outputs else (1.0, 1.0)
    found = Significance()
    if inputs:
        before, now = (
            {column.name: _for_tests(side[column.name], column) for column in inputs}
            for side in (reference.sample, summary.sample.columns)
        )
        _take(found, _run(engine, before, now, settings, shares[0], len(inputs) > 1), shares[0], settings)
    if outputs:
        before = {column.name: draw_profile(column, settings.sample) for column in outputs}
        now = {column.name: _places(column, summary.sample.columns[column.name][own]) for column in outputs}
        # The reference's predictions are drawn a column at a time, so they say nothing of pairs.
        _take(found, _run(engine, before, now, settings, shares[1], False), shares[1], settings, pairs=False)
    return found


def draw_profile(column: Watched, rows: int) -> np.ndarray:
    """Draw the bins that values of a profile are in: evenly, so that it adds no noise of its own.

    Args:
        column: A number.
        rows: The most rows to draw; no more than the profile was made of.

    Returns:
        Positions of bins in random order, float64.
    """
    below = np.cumsum(column.counts)
    count = min(rows, int(below[-1]))
    places = np.searchsorted(below, (np.arange(count) + 0.5) * below[-1] / max(count, 1), side="right")
    return np.random.default_rng(0).permutation(places.astype(float))


def _run(
    engine: Engine,
    before: dict[str, np.ndarray],
    now: dict[str, np.ndarray],
    settings: DriftSettings,
    share: float,
    domain: bool,
) -> BatteryResult:
    return run_battery(engine, before, now, seed=settings.seed, alpha=settings.alpha * share, domain=domain)


def _take(
    found: Significance, result: BatteryResult, share: float, settings: DriftSettings, pairs: bool = True
) -> None:
    """Add what a battery says, its p-values divided by its share of alpha."""

    def adjust(p_value: float | None) -> float | None:
        return None if p_value is None else min(1.0, p_value / share)

    def weigh(one, size: float, least: float) -> dict:
        adjusted = adjust(one.adjusted_p)
        drifted = bool(adjusted is not None and adjusted < settings.alpha and size >= least)
        return {**asdict(one), "adjusted_p": adjusted, "drifted": drifted}

    for name, one in result.columns.items():
        found.columns[name] = (one.test or "", one.p_value, adjust(one.adjusted_p))
    if not pairs:
        return
    found.pairs = [weigh(pair, abs(pair.current - pair.reference), settings.correlation) for pair in result.pairs]
    found.joint = weigh(result.joint, result.joint.shift, settings.shift) if result.joint else None
    found.domain = weigh(result.domain, result.domain.auc, settings.auc) if result.domain else None


def _for_tests(values: np.ndarray, column: Watched) -> np.ndarray:
    """Return a column of a sample as the engines take it."""
    if column.is_text:
        return values.astype(np.int64)
    present = np.isfinite(values)
    if column.kind == "boolean":
        return np.where(present, values, -1).astype(np.int64)
    return np.where(present, values.astype(np.float64), np.nan)


def _places(column: Watched, values: np.ndarray) -> np.ndarray:
    return column.bins.place(values[np.isfinite(values)]).astype(float)
