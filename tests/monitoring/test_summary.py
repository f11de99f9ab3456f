import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from drift_tables import SCHEMA, make_window

from loopline.components.data.profile import as_floats, profile_table
from loopline.components.data.tables import write_table
from loopline.components.errors import InputError
from loopline.components.monitoring import tallies
from loopline.components.monitoring.drift import DriftSettings, judge
from loopline.components.monitoring.reference_table import reference_of_table
from loopline.components.monitoring.sampling import hash_text
from loopline.components.monitoring.summary import OWN, Summary, merge, summarize_traffic


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    path = tmp_path_factory.mktemp("reference") / "table"
    write_table(path, make_window(30_000, 0, missing=0.1))
    return reference_of_table(path, SCHEMA)


@pytest.fixture(scope="module")
def window():
    return make_window(20_000, 1, shift=0.2, missing=0.2, mix=0.05)


def write_parts(folder, table, cuts):
    paths = []
    for position, (start, end) in enumerate(zip([0, *cuts], [*cuts, table.num_rows], strict=True)):
        paths.append(folder / f"part-{position}")
        write_table(paths[-1], table.slice(start, end - start))
    return paths


def equal(first: Summary, second: Summary) -> bool:
    same = first.rows == second.rows and (first.sample.priorities == second.sample.priorities).all()
    for name, tally in first.tallies.items():
        other = second.tallies[name]
        same &= (tally.counts == other.counts).all() and tally.missing == other.missing
    for name, values in first.sample.columns.items():
        same &= np.array_equal(values, second.sample.columns[name], equal_nan=values.dtype.kind == "f")
    return bool(same)


def test_counts_are_those_of_all_rows(reference, window, tmp_path):
    (path,) = write_parts(tmp_path, window, [])
    summary = summarize_traffic([path], reference)
    profile = summary.profile(reference)
    assert profile["rows"] == 20_000
    for name in ("x0", "x3", "hour"):
        values = as_floats(window.column(name)).astype(np.float32)
        present = values[np.isfinite(values)]
        entry = profile["columns"][name]
        assert entry["missing"] == 20_000 - len(present)
        assert entry["mean"] == pytest.approx(present.mean(), abs=1e-5)
        assert entry["sd"] == pytest.approx(present.std(), rel=1e-5)
        assert (entry["minimum"], entry["maximum"]) == (present.min(), present.max())
        edges = np.array(entry["edges"], np.float32)
        assert entry["counts"] == np.histogram(present, [-np.inf, *edges, np.inf])[0].tolist()
    counts = dict(zip(*np.unique(window.column("kind").to_numpy(), return_counts=True), strict=True))
    assert profile["columns"]["kind"]["counts"] == counts


def test_partitions_add_up_to_the_whole(reference, window, tmp_path):
    whole = summarize_traffic(write_parts(tmp_path, window, []), reference, sample=3_000)
    paths = write_parts(tmp_path / "parts", window, [1, 7_000, 7_001, 15_000])
    assert equal(summarize_traffic(paths, reference, sample=3_000), whole)
    apart = [summarize_traffic([path], reference, sample=3_000) for path in reversed(paths)]
    apart[2].save(tmp_path / "summary")
    apart[2] = Summary.load(tmp_path / "summary")
    merged = apart[0]
    for other in apart[1:]:
        merged = merge(merged, other)
    assert equal(merged, whole)
    settings = DriftSettings(engine="scipy")
    first, second = (judge(reference, summary, settings).to_dict() for summary in (whole, merged))
    assert first == second
    assert first["verdict"] == "drift"


def test_sample_is_drawn_evenly(reference, window, tmp_path):
    (path,) = write_parts(tmp_path, window, [])
    samples = [summarize_traffic([path], reference, 2_000, seed).sample for seed in (0, 1)]
    assert len(samples[0].priorities) == 2_000
    assert not np.array_equal(samples[0].priorities, samples[1].priorities)
    for sample in samples:
        # A mean of 2,000 normal values: five standard errors.
        assert sample.columns["x0"].mean() == pytest.approx(0.2, abs=5 / np.sqrt(2_000))
        assert not sample.columns[OWN].any()
        assert np.isnan(sample.columns["x3"]).mean() == pytest.approx(0.2, abs=0.05)


def test_rows_without_ids_are_sampled_by_position(reference, window, tmp_path):
    plain = window.drop_columns(["loopline_request_id", "loopline_row"])
    (path,) = write_parts(tmp_path, plain, [])
    first, second = (summarize_traffic([path], reference, 500) for _ in range(2))
    assert equal(first, second)
    assert len(np.unique(first.sample.priorities)) == 500


def test_summaries_of_different_references_do_not_add_up(reference, window, tmp_path):
    (path,) = write_parts(tmp_path, window, [])
    other = reference_of_table(path, SCHEMA)
    with pytest.raises(InputError, match="different references"):
        merge(summarize_traffic([path], reference), summarize_traffic([path], other))


def test_files_that_are_no_summary(tmp_path):
    (tmp_path / "other").write_text("no summary")
    for name in ("other", "missing"):
        with pytest.raises(InputError, match=r"(is not|should be) a summary of traffic"):
            Summary.load(tmp_path / name)


def test_table_without_a_column(reference, window, tmp_path):
    (path,) = write_parts(tmp_path, window.drop_columns(["x1"]), [])
    with pytest.raises(InputError, match="'x1' is not in"):
        summarize_traffic([path], reference)


def test_examples_of_new_categories_are_bounded_and_exact(monkeypatch):
    monkeypatch.setattr(tallies, "UNSEEN", 5)
    texts = pa.array([f"new {i % 40:02d}" for i in range(400)])
    parts = []
    for start in (0, 100, 200, 300):
        tally = tallies.CategoryTally(np.zeros(3, np.int64))
        part = texts.slice(start, 100)
        tally.add(np.full(100, 2, np.int32), lambda rows, part=part: part.take(pa.array(rows)))
        parts.append(tally)
    merged = parts[0].merged(parts[1]).merged(parts[2]).merged(parts[3])
    assert merged.examples == {f"new {i:02d}": 10 for i in range(5)}
    assert merged.unseen == 400


def test_text_hashes_depend_on_the_text_alone():
    texts = ["", "a", "b", "ab", "ba", "abcdefgh", "abcdefghi", "\u00e9", "a" * 36, "a" * 35 + "b"]
    hashes = hash_text(pa.array(texts))
    assert len(set(hashes.tolist())) == len(texts)
    assert (hash_text(pa.array(["x", *texts, "y"]).slice(1, len(texts))) == hashes).all()
    assert (hash_text(pa.array([None, "a"])) == hash_text(pa.array(["", "a"]))).all()
    same = pa.array(["0123", "4567", "89ab"])
    assert (hash_text(same)[1:] == hash_text(same.slice(1))).all()


def test_reference_of_a_table_is_its_profile(tmp_path):
    table = make_window(20_000, 5, missing=0.3)
    write_table(tmp_path / "table", table)
    made = reference_of_table(tmp_path / "table", SCHEMA)
    rows = {column.name: column.entry for column in made.columns}
    single = table.set_column(0, "x0", pc.cast(table.column("x0"), pa.float32()))
    expected = profile_table(single, SCHEMA, like={"columns": rows})
    assert made.rows == 20_000
    for name in ("x0", "hour", "kind"):
        assert rows[name]["counts"] == expected["columns"][name]["counts"]
    levels = dict(zip(*np.unique(made.sample["kind"], return_counts=True), strict=True))
    assert {list(rows["kind"]["counts"])[code] for code in levels} == {"a", "b", "c", "d"}
