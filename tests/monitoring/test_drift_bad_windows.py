"""Windows that are broken, odd or nearly empty: each gets the right verdict or one clear sentence."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from drift_tables import write_traffic_table
from monitoring_models import make_events

from loopline.components.data.tables import read_table, write_table
from loopline.components.errors import InputError
from loopline.components.monitoring.drift import DriftSettings, detect
from loopline.components.monitoring.drift_page import drift_report

SCIPY = DriftSettings(engine="scipy")


@pytest.fixture(scope="module")
def window(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("window") / "table"
    return read_table(write_traffic_table(path, trained("binary"), make_events(1_000, 21)))


def put(table: pa.Table, name: str, values) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


def fill(table: pa.Table, name: str, value) -> pa.Table:
    column = table.column(name)
    return put(table, name, pa.array([value] * table.num_rows, column.type))


def scale(table: pa.Table, name: str, factor: float) -> pa.Table:
    return put(table, name, pc.multiply(table.column(name), factor))


def lose(table: pa.Table, name: str, share: float) -> pa.Table:
    lost = pa.array(np.random.default_rng(0).random(table.num_rows) < share)
    return put(table, name, pc.if_else(lost, pa.scalar(None, table.schema.field(name).type), table.column(name)))


CASES = {
    "empty": (lambda t: t.slice(0, 0), "too_few", "0 rows are too few"),
    "one row": (lambda t: t.slice(0, 1), "too_few", "One row is too few"),
    "few rows": (lambda t: t.slice(0, 199), "too_few", "199 rows are too few"),
    "as at training": (lambda t: t, "none", "Nothing in 6 columns"),
    "one category only": (lambda t: fill(t, "carrier", "UA"), "drift", "'carrier'"),
    "one boolean only": (lambda t: fill(t, "holiday", True), "drift", "'holiday'"),
    "one hour only": (lambda t: fill(t, "hour", 7), "drift", "'hour'"),
    "all missing": (lambda t: fill(t, "wind", None), "broken", "'wind' is missing in every row, at training in 0.0%"),
    "category missing": (lambda t: fill(t, "carrier", None), "broken", "'carrier' is missing in every row"),
    "nearly all missing": (lambda t: lose(t, "wind", 0.95), "broken", "'wind' is missing in 9"),
    "half missing": (lambda t: lose(t, "wind", 0.5), "drift", "'wind'"),
    "not a number": (lambda t: fill(t, "wind", float("nan")), "broken", "'wind' is missing in every row"),
    "infinite": (lambda t: fill(t, "wind", float("inf")), "broken", "'wind' is missing in every row"),
    "unit times 1,000": (lambda t: scale(t, "distance", 1000.0), "broken", "values about 1,000 times as large"),
    "unit by 1,000": (lambda t: scale(t, "wind", 0.001), "broken", "times smaller than at training"),
    "far outside": (lambda t: put(t, "distance", pc.add(t.column("distance"), 5000.0)), "broken", "far outside"),
    "stands still": (lambda t: fill(t, "wind", 4.5), "broken", "'wind' is 4.5 in every row"),
    "coded in another way": (
        lambda t: put(t, "carrier", pc.utf8_lower(t.column("carrier"))), "broken", "never saw in 100.0%",
    ),
    "model always says the same": (
        lambda t: fill(t, "probability_True", 0.5), "broken", "Prediction 'probability_True' is 0.5 in every row",
    ),
    "a new column": (lambda t: t.append_column("new", pa.array(["x"] * t.num_rows)), "none", "Nothing in 6 columns"),
    "other order of columns": (lambda t: t.select(t.schema.names[::-1]), "none", "Nothing in 6 columns"),
    "numbers as doubles": (lambda t: put(t, "wind", pc.cast(t.column("wind"), pa.float64())), "none", "Nothing"),
    "text as dictionary": (lambda t: put(t, "carrier", t.column("carrier").dictionary_encode()), "none", "Nothing"),
    "two columns broken": (
        lambda t: fill(scale(t, "distance", 1000.0), "wind", None), "broken", "'wind' is missing in every row",
    ),
}  # fmt: skip

#: Of which the page is written, too.
DRAWN = {"empty", "one row", "one boolean only", "all missing", "category missing", "infinite", "unit times 1,000"}


@pytest.mark.parametrize("case", CASES)
def test_bad_window(trained, window, tmp_path, case):
    change, verdict, says = CASES[case]
    write_table(tmp_path / "window", change(window))
    found = detect(trained("binary"), tmp_path / "window", SCIPY)
    assert (found.verdict, says in found.reason) == (verdict, True), found.reason
    found.save(tmp_path / "drift.json")
    if case not in DRAWN:
        return
    drift_report(found).write(tmp_path / "page.html")
    assert found.reason.replace("'", "&#x27;") in (tmp_path / "page.html").read_text()


REFUSED = {
    "renamed column": (lambda t: t.rename_columns({"wind": "breeze"}), "'wind' is"),
    "no predictions": (lambda t: t.drop_columns(["probability_True"]), "'probability_True' is not in"),
    "text for a number": (lambda t: put(t, "wind", pa.array(["calm"] * t.num_rows)), "'wind' should be of kind number"),
    "list for a category": (lambda t: put(t, "carrier", pa.array([["UA"]] * t.num_rows)), "should be of kind category"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_window(trained, window, tmp_path, case):
    change, says = REFUSED[case]
    write_table(tmp_path / "window", change(window))
    with pytest.raises(InputError, match=says):
        detect(trained("binary"), tmp_path / "window", SCIPY)


def test_window_that_is_no_table(trained, tmp_path):
    (tmp_path / "window").write_text("no table")
    with pytest.raises(InputError, match="not a Parquet file"):
        detect(trained("binary"), tmp_path / "window", SCIPY)
