import numpy as np
import pytest
from scipy import stats

from loopline.components.data.profile import profile_numbers
from loopline.components.monitoring import effects
from loopline.components.monitoring.bins import Bins
from loopline.components.monitoring.reference import Watched
from loopline.components.monitoring.tallies import CategoryTally, NumberTally

SHAPES = {
    "normal": lambda random, rows: random.normal(size=rows),
    "skewed": lambda random, rows: random.lognormal(0, 1, rows),
    "heavy": lambda random, rows: random.standard_t(3, rows),
    "hours": lambda random, rows: random.integers(0, 24, rows).astype(float),
    "rounded": lambda random, rows: random.normal(40, 10, rows).round(1),
    "mostly zero": lambda random, rows: np.where(random.random(rows) < 0.9, 0.0, random.random(rows)),
}
MOVES = {"nothing": lambda x: x, "shifted": lambda x: x + 0.3 * x.std(), "spread": lambda x: 1.3 * x}
#: How exact the area between two distributions is, of which the bins hold the counts but not where in them they lie.
EXACT = {"heavy": 0.2, "mostly zero": 0.25}


def measured(reference: np.ndarray, current: np.ndarray, kind: str = "number") -> effects.Effects:
    column = Watched("x", "input", kind, {"kind": kind, **profile_numbers(reference)})
    tally = NumberTally(np.zeros(len(column.counts), np.int64))
    tally.add(current.astype(np.float32), column.bins, column.center)
    return effects.measure_effects(column, tally)


@pytest.fixture(params=[(shape, move) for shape in SHAPES for move in MOVES], ids="-".join)
def sides(request):
    shape, move = request.param
    random = np.random.default_rng(1)
    reference, current = SHAPES[shape](random, 50_000), MOVES[move](SHAPES[shape](random, 30_000))
    kind = "integer" if shape == "hours" else "number"
    return reference, current.round() if kind == "integer" else current, kind, EXACT.get(shape, 0.06)


def test_ks_is_that_of_scipy(sides):
    # Both in single precision, as the traffic log has them.
    reference, current, kind, _ = sides
    exact = stats.ks_2samp(reference.astype(np.float32), current.astype(np.float32)).statistic
    assert measured(reference, current, kind).ks == pytest.approx(exact, abs=0.005)


def test_wasserstein_is_that_of_scipy(sides):
    reference, current, kind, relative = sides
    reach = reference.max() - reference.min()
    near = current.clip(reference.min() - reach, reference.max() + reach)
    exact = stats.wasserstein_distance(reference, near) / reference.std()
    assert measured(reference, current, kind).wasserstein_sd == pytest.approx(exact, abs=0.01, rel=relative)


@pytest.mark.parametrize("shape", ["normal", "skewed", "heavy"])
@pytest.mark.parametrize("move", ["shifted", "spread"])
def test_psi_is_that_of_the_deciles(shape, move):
    random = np.random.default_rng(2)
    reference, current = SHAPES[shape](random, 100_000), MOVES[move](SHAPES[shape](random, 100_000))
    edges = np.quantile(reference, np.arange(1, 10) / 10)
    counts = [np.bincount(np.searchsorted(edges, side), minlength=10) for side in (reference, current)]
    exact = effects.psi(*counts) - 9 * (2 / 100_000)
    assert measured(reference, current).psi == pytest.approx(exact, rel=0.02)


def test_psi_of_small_windows_is_not_biased():
    random = np.random.default_rng(3)
    reference = random.normal(size=20_000)
    found = [measured(reference, random.normal(size=500)) for _ in range(60)]
    assert np.mean([one.psi for one in found]) < 0.006  # it would be 0.018 without correction
    assert np.mean([one.ks for one in found]) > 0.02


def test_what_is_outside_and_far_outside():
    reference = np.linspace(0, 10, 2_000)
    current = np.array([-11.0, -1.0, 0.0, 5.0, 10.0, 11.0, 19.0, 21.0, 1e30, np.nan])
    found = measured(reference, current)
    assert found.outside == pytest.approx(6 / 9)
    assert found.far == pytest.approx(3 / 9)
    assert found.missing == 0.1
    assert np.isfinite(found.wasserstein_sd)


def test_values_on_an_edge_are_not_moved_by_single_precision():
    reference = np.tile([0.1, 0.3, 0.7], 1_000)
    assert (reference.astype(np.float32).astype(float) != reference).all()
    found = measured(reference, reference)
    assert (found.ks, found.outside, found.wasserstein_sd) == (0, 0, 0)


def test_edges_that_single_precision_cannot_tell_apart():
    reference = 1e9 + np.arange(1_000.0)
    found = measured(reference, reference)
    assert found.ks < 0.005
    assert found.outside == 0


@pytest.mark.parametrize("values", [np.full(100, 3.0), np.array([np.nan] * 50)], ids=["constant", "missing"])
def test_references_without_spread(values):
    found = measured(values, np.arange(100.0))
    assert found.wasserstein_sd is None
    assert found.ks is None or found.ks > 0.9


def test_categories():
    column = Watched("c", "input", "category", {"missing": 10, "counts": {"a": 600, "b": 399, "rare": 1}})
    tally = CategoryTally(np.array([30, 60, 0, 10]), missing=25, examples={"new": 10})
    found = effects.measure_effects(column, tally)
    assert found.ks == pytest.approx(0.301)
    assert found.unseen == 0.1
    assert found.missing == 0.2
    assert found.missing_reference == pytest.approx(10 / 1010)
    assert found.wasserstein_sd is None
    # Rare and new ones are one group, so that a rare one that is absent counts for nothing.
    counts = np.array([600, 399, 1]), np.array([30, 60, 10])
    assert found.psi == pytest.approx(effects.psi(*counts) - 2 * (1 / 1000 + 1 / 100))


def test_bins_place_as_searchsorted_does():
    random = np.random.default_rng(4)
    for make in (*SHAPES.values(), lambda random, rows: random.pareto(1, rows), lambda _, rows: np.full(rows, 7.0)):
        reference = make(random, 20_000)
        bins = Bins.of(profile_numbers(reference))
        ends = np.array([3e38, -3e38, *bins.edges, *np.nextafter(bins.edges, -np.inf)], np.float32)
        values = np.concatenate([make(random, 20_000).astype(np.float32), ends])
        assert (bins.place(values) == np.searchsorted(bins.edges, values, side="right")).all()
