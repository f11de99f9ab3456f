"""How often a drift verdict cries wolf and what it sees, beside alibi-detect's detectors on the very same tables."""

import logging
import multiprocessing
import os
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import markdown

NUMBERS, CATEGORIES, ALPHA = 14, 6, 0.05
LEVELS = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
OURS = "loopline"
PEERS = {
    "KSDrift": "numbers only, Bonferroni",
    "CVMDrift": "numbers only, Bonferroni",
    "TabularDrift": "all columns, Bonferroni",
    "TabularDrift, FDR": "all columns",
    "ClassifierDrift": "boosted trees, 75/25",
}
#: Values that the columns of a million rows are cut from, each at a place of its own.
POOL = 4_000_000


@dataclass(frozen=True)
class Situation:
    """How the current table differs from the reference.

    Attributes:
        name: For the table.
        trials: How many pairs of tables at 1,000 rows.
        shift: Added to one number, in standard deviations.
        scale: Multiplies one number.
        mix: The share of rows of one category that moves from the most frequent level to the rarest.
        everywhere: Added to all numbers, in standard deviations.
        correlation: Of the one correlated pair; 0.6 in the reference.
    """

    name: str
    trials: int
    shift: float = 0.0
    scale: float = 1.0
    mix: float = 0.0
    everywhere: float = 0.0
    correlation: float = 0.6


SITUATIONS = (
    Situation("no drift", 400),
    Situation("mean +0.1 sd, one column", 300, shift=0.1),
    Situation("mean +0.2 sd, one column", 150, shift=0.2),
    Situation("mean +0.3 sd, one column", 60, shift=0.3),
    Situation("variance x 1.25, one column", 150, scale=1.25**0.5),
    Situation("sd x 1.25, one column", 100, scale=1.25),
    Situation("sd x 1.5, one column", 40, scale=1.5),
    Situation("category mix 0.05", 300, mix=0.05),
    Situation("category mix 0.1", 60, mix=0.1),
    Situation("mean +0.1 sd, all numbers", 100, everywhere=0.1),
    Situation("correlation 0.6 to 0", 100, correlation=0.0),
    Situation("correlation 0.6 to -0.6", 40, correlation=-0.6),
)
LARGE = (  # situation, rows of both tables, trials
    (Situation("no drift", 0), 10_000, 200),
    (Situation("0.02 sd in one column (harmless)", 0, shift=0.02), 10_000, 100),
    (Situation("mean +0.1 sd, one column", 0, shift=0.1), 10_000, 50),
    (Situation("no drift", 0), 1_000_000, 200),
    (Situation("0.02 sd in one column (harmless)", 0, shift=0.02), 1_000_000, 40),
    (Situation("mean +0.1 sd, one column", 0, shift=0.1), 1_000_000, 20),
)


def run(share: float = 1.0) -> str:
    """Count alarms on tables drawn afresh; returns Markdown.

    Args:
        share: Of the trials to do; less is quicker and coarser.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # Two processes on two cores.
        os.environ[name] = "1"
    jobs = [(one, 1_000, seed, True) for one in SITUATIONS for seed in range(_some(one.trials, share))]
    jobs += [(one, rows, seed, False) for one, rows, trials in LARGE for seed in range(_some(trials, share))]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        found = list(pool.map(_trial, jobs, chunksize=5))
    alarms: dict[tuple[str, int], list[dict[str, bool]]] = {}
    for (one, rows, _, _), result in zip(jobs, found, strict=True):
        alarms.setdefault((one.name, rows), []).append(result)
    return _small(alarms) + "\n\n" + _bound() + "\n\n" + _large(alarms)


def _some(trials: int, share: float) -> int:
    return max(round(trials * share), 2)


def _small(alarms: dict) -> str:
    names = [OURS, *PEERS]
    rows = []
    for one in SITUATIONS:
        results = alarms[one.name, 1_000]
        cells = [_share([result[name] for result in results]) for name in names]
        rows.append([f"{one.name} ({len(results)})", *cells])
    heads = [f"{name} ({PEERS[name]})" if name in PEERS else "**loopline**" for name in names]
    title = "Share of alarms, 1,000 rows against 1,000, 14 numbers and 6 categories (trials; 95 % interval)"
    return f"{title}\n\n" + markdown([title.split(",")[0], *heads], rows)


def _large(alarms: dict) -> str:
    rows = [
        [f"{rows:,}", one.name, str(len(alarms[one.name, rows])), _share([one[OURS] for one in alarms[one.name, rows]])]
        for one, rows, _ in LARGE
    ]
    text = (
        "The whole verdict at larger sizes. At 1,000,000 rows five trials share a reference, and the columns of each "
        "current table are cut from a pool of 4,000,000 drawn values at places of their own; the tests see samples of "
        "10,000 rows, the sizes all rows.\n\n"
    )
    return text + markdown(["rows", "situation", "trials", "share of alarms (95 % interval)"], rows)


def _bound() -> str:
    """Say what the best test of normal columns can reach when every column gets the same part of alpha."""
    from scipy import stats

    cells = []
    for columns in (NUMBERS + CATEGORIES, NUMBERS):
        least = stats.norm.isf(ALPHA / columns / 2)
        power = [stats.norm.sf(least - z) + stats.norm.sf(least + z) for z in np.array([0.1, 0.2]) * np.sqrt(500)]
        cells.append(f"{power[0]:.3f} and {power[1]:.3f} over {columns} columns")
    return (
        "The bound: a two-sided z-test with known variance, the best unbiased one for a shift of one normal column, "
        f"reaches {cells[0]} at +0.1 and +0.2 sd; a detector that looks at numbers alone, {cells[1]}."
    )


def _share(alarms: list[bool]) -> str:
    """Return a share with its Wilson interval (1927)."""
    n, z = len(alarms), 1.96
    share = float(np.mean(alarms))
    middle, half = share + z * z / 2 / n, z * np.sqrt(share * (1 - share) / n + z * z / 4 / n / n)
    low, high = (max((middle + side * half) / (1 + z * z / n), 0.0) for side in (-1, 1))
    return f"{share:.3f} ({low:.2f}-{min(high, 1):.2f})"


def _trial(job: tuple[Situation, int, int, bool]) -> dict[str, bool]:
    """Draw both tables and ask every detector; runs in a process of its own."""
    one, rows, seed, peers = job
    same = Situation("", 0)
    salt = SITUATIONS.index(one) if one in SITUATIONS else 100
    rng = np.random.default_rng([seed, salt, rows])
    if rows > 100_000:
        reference, current = _kept_reference(rows, seed // 5), _encode(_cut_table(rng, rows, one))
        with tempfile.TemporaryDirectory() as folder:
            return {OURS: _verdict(reference, current, folder, seed)}
    before, now = _draw_table(rng, rows, same), _draw_table(rng, rows, one)
    with tempfile.TemporaryDirectory() as folder:
        result = {OURS: _verdict(_reference(before, folder), _encode(now), folder, seed)}
    return result | _peers(before, now, seed) if peers else result


def _draw_table(rng: np.random.Generator, rows: int, one: Situation) -> dict[str, np.ndarray]:
    numbers = rng.normal(size=(NUMBERS, rows))
    return _move(numbers, [rng.random(rows) for _ in range(CATEGORIES)], one)


def _cut_table(rng: np.random.Generator, rows: int, one: Situation) -> dict[str, np.ndarray]:
    normal, uniform = _pool()

    def cut(pool: np.ndarray) -> np.ndarray:
        start = int(rng.integers(0, POOL - rows))
        return pool[start : start + rows]

    numbers = np.stack([cut(normal) for _ in range(NUMBERS)])
    return _move(numbers, [cut(uniform) for _ in range(CATEGORIES)], one)


@cache
def _pool() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(os.getpid())
    return rng.normal(size=POOL), rng.random(POOL)


def _move(numbers: np.ndarray, uniform: list[np.ndarray], one: Situation) -> dict[str, np.ndarray]:
    """Make columns of independent normal and uniform values, as the situation wants them."""
    numbers[1] = one.correlation * numbers[0] + np.sqrt(1 - one.correlation**2) * numbers[1]
    numbers[5] = numbers[5] * one.scale + one.shift
    numbers += one.everywhere
    table = {f"x{i}": column for i, column in enumerate(numbers)}
    for i, column in enumerate(uniform):
        levels = LEVELS + (np.array([-1, 0, 0, 0, 1]) * one.mix if i == 2 else 0)
        table[f"c{i}"] = np.minimum(np.searchsorted(np.cumsum(levels), column), len(LEVELS) - 1)
    return table


def _encode(table: dict[str, np.ndarray]) -> pa.Table:
    names = pa.array([f"level {i}" for i in range(len(LEVELS))])
    return pa.table(
        {
            name: values if name[0] == "x" else pa.DictionaryArray.from_arrays(values.astype(np.int32), names)
            for name, values in table.items()
        }
    )


def _reference(table: dict[str, np.ndarray], folder: str) -> object:
    from loopline.components.data.schema import Column, Schema
    from loopline.components.monitoring.reference_table import reference_of_table

    path = Path(folder) / "reference.parquet"
    pq.write_table(_encode(table), path, row_group_size=65_536)
    columns = [Column(name, "number" if name[0] == "x" else "category", nullable=True) for name in table]
    return reference_of_table(path, Schema(tuple(columns)))


@lru_cache(maxsize=2)
def _kept_reference(rows: int, block: int) -> object:
    rng = np.random.default_rng([block, rows])
    with tempfile.TemporaryDirectory() as folder:
        return _reference(_draw_table(rng, rows, Situation("", 0)), folder)


def _verdict(reference: object, current: pa.Table, folder: str, seed: int) -> bool:
    """Return whether the whole verdict is drift: tests and sizes, on the scipy engine (the engines agree)."""
    from loopline.components.monitoring.drift import DriftSettings, judge
    from loopline.components.monitoring.summary import summarize_traffic

    path = Path(folder) / "current.parquet"
    pq.write_table(current, path, row_group_size=65_536)
    settings = DriftSettings(engine="scipy", alpha=ALPHA, seed=seed)
    found = judge(reference, summarize_traffic([path], reference, settings.sample, seed), settings)
    if found.verdict not in ("drift", "none"):
        raise RuntimeError(f"the verdict is {found.verdict!r}: {found.reason}")
    return found.verdict == "drift"


def _peers(before: dict[str, np.ndarray], now: dict[str, np.ndarray], seed: int) -> dict[str, bool]:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    from alibi_detect import cd
    from alibi_detect.utils.statstest import fdr
    from sklearn.ensemble import HistGradientBoostingClassifier

    numbers = [np.column_stack([side[f"x{i}"] for i in range(NUMBERS)]) for side in (before, now)]
    columns = [np.column_stack([*side.values()]).astype(float) for side in (before, now)]
    categorical = list(range(NUMBERS, NUMBERS + CATEGORIES))
    levels = dict.fromkeys(categorical, len(LEVELS))
    np.random.seed(seed)
    trees = HistGradientBoostingClassifier(categorical_features=categorical, random_state=seed)
    tabular = cd.TabularDrift(columns[0], p_val=ALPHA, categories_per_feature=levels)
    detectors = {
        "KSDrift": (cd.KSDrift(numbers[0], p_val=ALPHA), numbers[1]),
        "CVMDrift": (cd.CVMDrift(numbers[0], p_val=ALPHA), numbers[1]),
        "TabularDrift": (tabular, columns[1]),
        "ClassifierDrift": (
            cd.ClassifierDrift(columns[0], model=trees, backend="sklearn", p_val=ALPHA, train_size=0.75),
            columns[1],
        ),
    }
    found = {name: detector.predict(x)["data"] for name, (detector, x) in detectors.items()}
    alarms = {name: bool(data["is_drift"]) for name, data in found.items()}
    # What correction="fdr" does with the same p-values.
    return alarms | {"TabularDrift, FDR": bool(fdr(found["TabularDrift"]["p_val"], ALPHA)[0])}


if __name__ == "__main__":
    start = time.perf_counter()
    print(run(), f"\n\n({time.perf_counter() - start:.0f} s)")
