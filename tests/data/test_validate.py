import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from loopline.components.data import rules, tables
from loopline.components.data.schema import Schema
from loopline.components.data.tables import file_digest, write_table
from loopline.components.data.validate import validate
from loopline.components.errors import InputError

ROWS = 60


def _table(**columns) -> pa.Table:
    values = {
        "distance": list(range(ROWS)),
        "delay": [None, *(i / 2 for i in range(1, ROWS))],
        "carrier": ["AA", "UA", "B6"] * (ROWS // 3),
        "late": [True, False] * (ROWS // 2),
    }
    return pa.table(values | columns)


@pytest.fixture
def check(tmp_path):
    """Validate a table; the result and the files can be looked at in ``tmp_path``."""

    def run(table: pa.Table, **options):
        write_table(tmp_path / "data", table)
        return validate(*(tmp_path / name for name in ("data", "valid", "bad", "schema", "report.html")), **options)

    return run


def _refused(check, tmp_path, table, **options) -> str:
    """Return the sentence of a refusal, having checked that only the report was written."""
    (tmp_path / "report.html").unlink(missing_ok=True)
    with pytest.raises(InputError) as caught:
        check(table, **options)
    assert "\n" not in str(caught.value)
    left = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert left <= {"data", "report.html", "given"}, left
    return str(caught.value)


@pytest.fixture
def given(tmp_path):
    """The schema of the plain table."""
    write_table(tmp_path / "given-data", _table())
    paths = [tmp_path / "given-data", *(tmp_path / f"given-{name}" for name in ("valid", "bad", "schema", "report"))]
    validate(*paths, target="late")
    (tmp_path / "given-schema").rename(tmp_path / "given")
    for path in tmp_path.glob("given-*"):
        path.unlink()
    return tmp_path / "given"


def test_inferred_schema_is_what_was_seen(check, tmp_path):
    outcome = check(_table(), target="late")
    schema = Schema.load(tmp_path / "schema")
    assert schema.target == "late"
    assert (schema["distance"].kind, schema["distance"].minimum, schema["distance"].maximum) == ("integer", 0, 59)
    assert (schema["delay"].nullable, schema["distance"].nullable) == (True, False)
    assert schema["carrier"].categories == ("AA", "B6", "UA")
    assert schema["late"].kind == "boolean"
    assert outcome.valid == {"rows": ROWS, "digest": file_digest(tmp_path / "valid")}
    assert outcome.quarantined["rows"] == 0
    assert pq.read_table(tmp_path / "valid").equals(_table())
    assert pq.read_schema(tmp_path / "bad").equals(_table().schema)


@pytest.mark.parametrize(("distinct", "closed"), [(1000, True), (1001, False)])
def test_categories_are_closed_up_to_a_thousand(check, tmp_path, distinct, closed):
    check(pa.table({"tail": [f"N{i}" for i in range(distinct)]}))
    assert (Schema.load(tmp_path / "schema")["tail"].categories is not None) == closed


BREAKS = {
    "minimum": ({"distance": [-1, *range(1, ROWS)]}, {0}),
    "maximum": ({"distance": [*range(ROWS - 1), 60]}, {59}),
    "category": ({"carrier": ["AA", "<b>ZZ</b>", "UA"] + ["B6"] * (ROWS - 3)}, {1}),
    "null": ({"distance": [0, None, *range(2, ROWS)]}, {1}),
    "infinite": ({"delay": [1.0, math.inf, *[2.0] * (ROWS - 2)]}, {1}),
    "null target": ({"late": [None, True] + [False] * (ROWS - 2)}, {0}),
}


@pytest.mark.parametrize("name", BREAKS)
def test_each_rule_sets_its_rows_aside(check, tmp_path, given, name):
    changes, bad = BREAKS[name]
    table = _table(**changes)
    outcome = check(table, schema_path=given, on_error="quarantine")
    assert outcome.valid["rows"] == ROWS - len(bad)
    assert pq.read_table(tmp_path / "bad").to_pylist() == table.take(pa.array(sorted(bad))).to_pylist()
    kept = table.take(pa.array([row for row in range(ROWS) if row not in bad]))
    assert pq.read_table(tmp_path / "valid").to_pylist() == kept.to_pylist()


@pytest.mark.parametrize("name", BREAKS)
def test_each_rule_fails_the_step_after_the_report_is_written(check, tmp_path, given, name):
    changes, bad = BREAKS[name]
    message = _refused(check, tmp_path, _table(**changes), schema_path=given)
    (column,) = changes
    assert f"'{column}'" in message
    assert "report.html" in message
    page = (tmp_path / "report.html").read_text()
    assert column in page
    assert f"row {min(bad) + 1}" in page
    assert "<b>ZZ" not in page


def test_the_first_of_several_rules_is_named_with_their_number(check, tmp_path, given):
    table = _table(distance=[-1] * 3 + [0] * (ROWS - 3), carrier=["ZZ"] + ["AA"] * (ROWS - 1))
    message = _refused(check, tmp_path, table, schema_path=given)
    assert "2 rules" in message
    assert "'distance'" in message


def test_every_broken_rule_is_logged_with_examples(check, tmp_path, given, caplog):
    table = _table(distance=[-1, -2, -3, -4] + [0] * (ROWS - 4), carrier=["ZZ"] + ["AA"] * (ROWS - 1))
    with caplog.at_level("INFO", "loopline"):
        _refused(check, tmp_path, table, schema_path=given)
    broken = [record.getMessage() for record in caplog.records if "broken: " in record.getMessage()]
    assert len(broken) == 2
    assert "'distance'" in broken[0]
    assert "4 row(s)" in broken[0]
    assert "-1 in row 1, -2 in row 2, -3 in row 3)" in broken[0]
    assert "ZZ in row 1" in broken[1]


def test_the_log_of_broken_rules_is_bounded(check, tmp_path, caplog):
    table = pa.table({f"c{i}": range(ROWS) for i in range(25)})
    limits = json.dumps({name: {"minimum": 1} for name in table.column_names})
    with caplog.at_level("INFO", "loopline"):
        assert "25 rules" in _refused(check, tmp_path, table, expectations=limits)
    messages = [record.getMessage() for record in caplog.records]
    assert sum("broken: column" in message for message in messages) == 20
    assert messages[-1].endswith("and 5 more broken rules")


@pytest.mark.parametrize("on_error", ["fail", "quarantine"])
def test_a_pod_names_no_path_that_is_gone_with_it(check, tmp_path, given, caplog, monkeypatch, on_error):
    table = _table(distance=[-1] * ROWS)
    options = {"schema_path": given, "on_error": on_error}
    assert "report.html" in _refused(check, tmp_path, table, **options)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    caplog.clear()
    with caplog.at_level("INFO", "loopline"):
        message = _refused(check, tmp_path, table, **options)
    assert str(tmp_path) not in message
    assert "log" in message
    assert "-1 in row 1" in caplog.text


def test_batches_do_not_change_the_result(check, tmp_path, given, monkeypatch):
    table = _table(distance=[-1, *range(1, ROWS - 1), 70], carrier=(["ZZ", "AA", "B6"] * ROWS)[:ROWS])
    table = pa.concat_tables([table, table])
    results = []
    for rows in (7, 1000):
        monkeypatch.setattr(rules, "read_batches", lambda *args, rows=rows: tables.read_batches(*args, rows=rows))
        check(table, schema_path=given, on_error="quarantine", duplicates="forbid")
        results.append((pq.read_table(tmp_path / "bad").to_pylist(), (tmp_path / "report.html").read_text()))
    assert results[0] == results[1]
    # The second half repeats the first, and 21 rows of each half are ZZ or out of range.
    assert len(results[0][0]) == ROWS + sum(
        row["carrier"] == "ZZ" or not 0 <= row["distance"] <= 59 for row in table.slice(0, ROWS).to_pylist()
    )


def test_the_first_of_two_equal_rows_is_kept(check, tmp_path):
    table = _table()
    table = pa.concat_tables([table, table.slice(4, 2)])
    assert check(table, on_error="quarantine").valid["rows"] == ROWS + 2
    assert check(table, on_error="quarantine", duplicates="forbid").quarantined["rows"] == 2
    assert pq.read_table(tmp_path / "valid").equals(_table())
    assert not Schema.load(tmp_path / "schema").allow_duplicates


def test_equal_rows_are_found_across_batches_whatever_gaps_are_between(check, tmp_path, monkeypatch):
    # Pandas makes floats of the integers of the second batch only, because of its gap.
    monkeypatch.setattr(rules, "read_batches", lambda *args: tables.read_batches(*args, rows=30))
    numbers, flags = [*range(30), *range(29), None], [True] * 59 + [None]
    large = [2**53 + 1, *range(29), 2**53, *range(29)]
    table = pa.table({"number": numbers, "flag": flags, "large": large})
    check(table, on_error="quarantine", duplicates="forbid")
    assert pq.read_table(tmp_path / "bad").num_rows == 28
    assert pq.read_table(tmp_path / "valid").equals(pa.concat_tables([table.slice(0, 31), table.slice(59)]))


def test_the_log_names_the_rules_that_set_rows_aside(check, caplog):
    caplog.set_level("INFO", "loopline")
    check(_table(), expectations='{"distance": {"maximum": 53}}', on_error="quarantine")
    assert caplog.messages[-1].endswith("54 rows kept, 6 quarantined (distance maximum)")


@pytest.mark.parametrize("on_error", ["fail", "quarantine"])
@pytest.mark.parametrize(
    ("table", "words"),
    [
        (_table().drop_columns(["carrier"]), ["'carrier'", "missing"]),
        (_table(distance=["x"] * ROWS), ["'distance'", "integer"]),
        (_table(distance=[0.5] * ROWS), ["'distance'", "integer"]),
        (_table(carrier=[1] * ROWS), ["'carrier'", "category"]),
    ],
)
def test_a_table_that_does_not_fit_always_fails(check, tmp_path, given, on_error, table, words):
    message = _refused(check, tmp_path, table, schema_path=given, on_error=on_error)
    assert all(word in message for word in words), message
    assert (tmp_path / "report.html").stat().st_size


def test_types_that_hold_the_same_values_fit(check, tmp_path, given):
    # What pandas makes of integers with a gap, and a column in which nothing was filled in.
    table = _table(distance=[float(i) for i in range(ROWS)], delay=pa.nulls(ROWS))
    extra = table.append_column("extra", [[1] * ROWS]).select(["extra", "late", "carrier", "delay", "distance"])
    check(extra, schema_path=given)
    valid = pq.read_table(tmp_path / "valid")
    assert valid.schema.equals(_table().schema)
    assert valid["distance"].to_pylist() == list(range(ROWS))


def test_too_few_rows(check, tmp_path, given):
    assert "9 row" in _refused(check, tmp_path, _table().slice(0, 9))
    check(_table().slice(0, 9), min_rows=9)
    check(_table().slice(3, 1), schema_path=given)
    for name in ("valid", "bad", "schema"):
        (tmp_path / name).unlink()
    assert "1 row" in _refused(check, tmp_path, _table().slice(3, 1), schema_path=given, min_rows=2)


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"late": [True] * ROWS}, {}, ["'late'", "every row"]),
        ({"delay": [None, *[2.5] * (ROWS - 1)]}, {"target": "delay"}, ["'delay'", "2.5 in every row"]),
        ({"late": pa.nulls(ROWS, pa.bool_())}, {}, ["'late'", "no value"]),
        ({"late": ["a"] + ["b", "c"] * 29 + ["b"]}, {}, ["'a'", "single row"]),
        ({"late": [1.5, 2.5] * (ROWS // 2)}, {"task": "multiclass", "target": "distance"}, ["single row"]),
        ({"late": ["a", "b"] * (ROWS // 2)}, {"task": "regression"}, ["'late'", "numbers"]),
        ({"delay": pa.nulls(ROWS, pa.float64())}, {}, ["'delay'", "no value"]),
    ],
)
def test_what_cannot_be_trained_on_is_refused(check, tmp_path, changes, options, words):
    message = _refused(check, tmp_path, _table(**changes), **({"target": "late", "on_error": "quarantine"} | options))
    assert all(word in message for word in words), message


def test_a_column_without_a_value_is_allowed_where_that_is_known(check):
    table = _table(delay=pa.nulls(ROWS, pa.float64()))
    assert check(table, target="late", expectations='{"delay": {"nullable": true}}').valid["rows"] == ROWS


@pytest.mark.parametrize(
    ("late", "expectations"),
    [
        (["a"] + ["b", "c"] * 29 + ["b"], '{"late": {"categories": ["b", "c"]}}'),
        ([9] + [3, 4] * 29 + [3], '{"late": {"maximum": 4}}'),
        ([9] + [13, 14] * 29 + [13], '{"late": {"minimum": 10}}'),
    ],
)
def test_a_class_of_one_row_is_set_aside_where_it_is_not_among_those_expected(check, tmp_path, late, expectations):
    options = {"target": "late", "expectations": expectations}
    outcome = check(_table(late=late), on_error="quarantine", **options)
    assert (outcome.valid["rows"], outcome.quarantined["rows"]) == (ROWS - 1, 1)
    for name in ("valid", "bad", "schema"):
        (tmp_path / name).unlink()
    assert "'late' must be" in _refused(check, tmp_path, _table(late=late), **options)


def test_no_row_of_the_classes_expected_is_one_sentence(check, tmp_path):
    options = {"target": "late", "expectations": '{"late": {"categories": ["x"]}}', "on_error": "quarantine"}
    assert "Every row breaks a rule" in _refused(check, tmp_path, _table(late=["a", "b"] * (ROWS // 2)), **options)


def test_a_regression_target_may_have_values_that_occur_once(check):
    assert check(_table(), target="distance").valid["rows"] == ROWS


def test_rows_without_a_target_are_set_aside_or_fail(check, tmp_path):
    table = _table(late=[None, *[True, False] * 29, True])
    assert check(table, target="late", on_error="quarantine").quarantined["rows"] == 1
    for name in ("valid", "bad", "schema"):
        (tmp_path / name).unlink()
    assert "'late'" in _refused(check, tmp_path, table, target="late")


def test_expectations_are_checked_at_once_and_kept(check, tmp_path):
    expectations = {"distance": {"minimum": 5}, "delay": {"nullable": False}, "carrier": {"categories": ["AA", "UA"]}}
    outcome = check(_table(), expectations=json.dumps(expectations), on_error="quarantine")
    good = [row for row in _table().to_pylist() if row["distance"] >= 5 and row["delay"] and row["carrier"] != "B6"]
    assert outcome.valid["rows"] == len(good)
    schema = Schema.load(tmp_path / "schema")
    assert (schema["distance"].minimum, schema["distance"].maximum) == (5, 59)
    assert schema["carrier"].categories == ("AA", "UA")
    assert not schema["delay"].nullable


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"expectations": "{"}, "JSON"),
        ({"expectations": '["a"]'}, "JSON"),
        ({"expectations": '{"nobody": {}}'}, "'nobody'"),
        ({"expectations": '{"delay": {"min": 0}}'}, "'min'"),
        ({"expectations": '{"delay": {"minimum": "0"}}'}, "'0'"),
        ({"expectations": '{"delay": {"minimum": true}}'}, "True"),
        ({"expectations": '{"delay": {"nullable": 1}}'}, "nullable"),
        ({"expectations": '{"carrier": {"minimum": 0}}'}, "carrier"),
        ({"expectations": '{"delay": {"minimum": 1e9}}'}, "above its maximum"),
        ({"expectations": '{"delay": {"kind": "float"}}'}, "'float'"),
        ({"target": "nobody"}, "'nobody'"),
        ({"task": "clustering"}, "'clustering'"),
        ({"on_error": "ignore"}, "'ignore'"),
        ({"duplicates": "maybe"}, "'maybe'"),
        ({"min_rows": -1}, "-1"),
    ],
)
def test_wrong_parameters(check, tmp_path, options, words):
    assert words in _refused(check, tmp_path, _table(), **options)


def test_nothing_left_is_a_failure(check, tmp_path, given):
    table = _table(distance=[-1] * ROWS)
    _refused(check, tmp_path, table, schema_path=given, on_error="quarantine")


def test_nan_counts_as_missing(check, tmp_path, given):
    table = _table(delay=np.where(np.arange(ROWS) % 2, np.nan, 1.0))
    assert check(table, schema_path=given).valid["rows"] == ROWS
    expectations = '{"delay": {"nullable": false}}'
    outcome = check(table, schema_path=given, expectations=expectations, on_error="quarantine")
    assert outcome.quarantined["rows"] == ROWS // 2
