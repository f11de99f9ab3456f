"""The page of measurements and the page on scale say what the kept results say."""

import re
from dataclasses import replace

import pytest

from benchmarks import projection
from benchmarks.__main__ import main
from benchmarks.registry import BENCHMARKS
from benchmarks.render import PAGE, exponent, page_text, render_page, verdicts
from benchmarks.result import Curve, Point, Result, Side, Table, Text, load_results


def make_table(ours, peer, measure="seconds"):
    sides = [Side("Loopline", {measure: ours}, "ours"), Side("other", {measure: peer}, "peer")]
    return Table("Work", (measure,), sides)


def make_result(*parts, name="engine", **changes):
    machine = {"cores": "2 cores", "memory": "24 GiB", "commit": "abc"}
    return replace(Result(name, "What it adds", parts, "2026-11-28", 12.0, machine, {"kfp": "2.17.0"}), **changes)


def test_the_page_says_what_the_results_say():
    """Run `python3 make.py bench --render` when this fails."""
    assert PAGE.read_text(encoding="utf-8") == page_text(load_results())


def test_the_page_on_scale_says_what_the_results_say():
    """Run `python3 make.py bench --render` when this fails."""
    text = projection.PAGE.read_text(encoding="utf-8")
    assert text == projection.page_text(text, load_results())


def test_what_scale_costs_is_computed_from_the_curves():
    """By hand: 2 us of CPU for each of three steps, 100 bytes of CSV a row: 10 TB are 1e11 rows and 166.7 CPU hours."""
    tables = projection.tables(scale_results())
    assert "| prepare (ingest, validate, split): CPU hours | 0.17 | 1.7 | 17 | 167 |" in tables["data"]
    assert "| Parquet, GB | 5 | 50 | 500 | 5,000 |" in tables["data"]
    assert "| promote to all, one commit: s | 0.1 | 0.2 | 1.1 | 10.1 |" in tables["sites"]
    assert "| each by a promotion of its own, all at once: s | 2.0 | 20.0 | 200 | 2,000 |" in tables["sites"]
    assert "| 120 s / 0.20 s | 600 at the same moment |" in tables["bends"]
    assert "| 256 kB / 4.0 kB | 64 steps |" in tables["bends"]


def test_what_is_not_measured_yet_is_named_instead_of_computed():
    results = scale_results()
    results["rows"] = replace(results["rows"], parts=[Text("as it was once")])
    assert projection.tables(results)["data"] == "Not computed: run `python3 make.py bench rows` first."


def scale_results():
    """Return results with round figures."""

    def curve(title, measures, cost, sizes, names=("a chain",)):
        points = [Point(x, {measure: [cost[measure] * x + 0.1] for measure in measures}) for x in sizes]
        return Curve(title, "x", measures, dict.fromkeys(names, points))

    steps = ("ingest", "validate", "split", "train", "evaluate")
    costs = {"seconds": 1e-6, "CPU seconds": 2e-6, "peak MB": 1e-6}
    rows = curve("Rows of", tuple(costs), costs, (1e6, 1e7), steps)
    files = {"CSV": [Point(1e7, {"MB": [1000.0]})], "Parquet": [Point(1e7, {"MB": [500.0]})]}
    training = [
        Side("ours", {"seconds": [1.0], "CPU seconds": [2.0]}, "ours"),
        Side("held", {"peak MB": [60.0]}, "limit"),
    ]
    drift = [Side("ours", {"seconds": [1.0], "CPU seconds": [2.0]}, "ours")]
    engine = [Side("ours", {"s a further task": [0.1]}, "ours")]
    at_once = curve(
        "Promotions at the same moment", ("seconds",), {"seconds": 0.2}, (5, 20), ["a site for each process"]
    )
    names = ("promote to all in one commit", "roll all back")
    sites = curve("One promotion", ("seconds",), {"seconds": 0.001}, (100, 1000), names)
    measures = ("seconds", "CPU seconds", "peak MB")
    parts = {
        "rows": [rows, Curve("The files", "rows", ("MB",), files)],
        "training": [Table("1,000,000 rows", measures, training)],
        "drift": [Table("100,000 rows", measures, drift)],
        "promotions": [at_once, sites],
        "compile": [curve("again", ("kB of YAML",), {"kB of YAML": 4.0}, (10, 100))],
        "engine": [Table("A chain", ("s a further task",), engine)],
    }
    return {name: make_result(*found, name=name) for name, found in parts.items()}


def test_every_result_is_of_a_benchmark_and_every_plot_is_there():
    results = load_results()
    assert set(results) <= set(BENCHMARKS)
    for path in re.findall(r"\]\((plots/[^)]+)\)", PAGE.read_text(encoding="utf-8")):
        assert PAGE.with_name("plots").joinpath(path.removeprefix("plots/")).read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("ours", "peer", "measure", "said"),
    [
        ([1.0, 1.1, 1.2], [2.0, 2.2, 2.4], "seconds", "Seconds: Loopline wins, by 2.0 times over other, the next."),
        ([2.0, 2.2, 2.4], [1.0, 1.1, 1.2], "seconds", "Seconds: **other wins** over Loopline, by 2.0 times."),
        ([1.0, 1.1, 1.3], [1.2, 1.4, 1.5], "seconds", "Seconds: Loopline and other are not told apart."),
        ([1.0], [1.01], "seconds", "Seconds: Loopline and other are not told apart."),
        ([10.0, 11.0], [20.0, 22.0], "rows/s", "Rows/s: **other wins** over Loopline, by 2.0 times."),
    ],
)
def test_who_wins_follows_from_the_samples(ours, peer, measure, said):
    assert verdicts(make_table(ours, peer, measure)) == [said]


def test_a_side_that_could_not_run_is_listed_with_its_reason_and_wins_nothing():
    missing = Side("gone", {}, "peer", "not installed: no wheel")
    table = make_table([1.0], [2.0])
    text = page_text({"engine": make_result(replace(table, sides=[*table.sides, missing]))})
    assert "| gone | - | - |" in text
    assert "gone: not installed: no wheel." in text


def test_where_peers_win_is_gathered_at_the_top():
    text = page_text({"engine": make_result(make_table([2.0], [1.0]), make_table([1.0], [5.0]))})
    top = text.partition("## ")[0]
    assert "| What it adds | seconds | other | 1.00 | Loopline | 2.00 |" in top
    assert top.count("What it adds") == 1


def test_growth_is_fitted_over_the_last_two_decades():
    points = [Point(x, {"seconds": [5.0 if x < 1e4 else x**1.5]}) for x in (1e2, 1e4, 1e5, 1e6)]
    assert exponent(points, "seconds") == pytest.approx(1.5)
    assert exponent(points[:1], "seconds") is None


def test_a_result_comes_back_as_it_was_kept(tmp_path):
    curve = Curve("Rows", "rows", ("seconds",), {"ingest": [Point(10.0, {"seconds": [1.0, 2.0]})]})
    result = make_result(Text("Words."), make_table([1.0], [2.0]), curve)
    result.save(tmp_path)
    assert load_results(tmp_path) == {"engine": replace(result, parts=list(load_results(tmp_path)["engine"].parts))}
    kept = Result.load(tmp_path / "engine.json")
    assert kept.part(Curve).lines == curve.lines
    assert [side.samples for side in kept.part(Table).sides] == [{"seconds": [1.0]}, {"seconds": [2.0]}]


def test_a_section_that_was_measured_elsewhere_says_so(tmp_path):
    elsewhere = make_result(
        make_table([1.0], [2.0]), name="submit", date="2026-11-01", machine={"cores": "64 cores"},
        versions={"kfp": "2.16.0"},
    )  # fmt: skip
    text = page_text({"engine": make_result(make_table([1.0], [2.0])), "submit": elsewhere})
    assert "_`submit`, 2026-11-01; 12 s to measure; 64 cores; then with kfp 2.16.0_" in text
    page = render_page({"submit": elsewhere}, tmp_path / "README.md")
    assert (page.parent / "plots" / "submit.svg").stat().st_size < 60_000


def test_unknown_names_are_refused_in_one_sentence(capsys):
    with pytest.raises(SystemExit) as left:
        main(["ingets"])
    assert left.value.code == 2
    assert "there is no benchmark 'ingets': choose from contracts, " in capsys.readouterr().err


def test_a_line_through_the_largest_sizes_leaves_the_start_out():
    points = [Point(x, {"seconds": [3 + x / 1000]}) for x in (10, 1000, 10_000)]
    line = projection.Line.through(points, "seconds")
    assert (line.start, line.slope) == (pytest.approx(3), pytest.approx(0.001))


def test_steps_are_counted_as_the_compiled_pipelines_have_them():
    assert projection.steps_of("rollback") == 2
    assert projection.steps_of("monitoring", gated=False) < projection.steps_of("monitoring")
