"""A month of flights as requests: each flight once, in order of time, with its truth, which arrives late."""

import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from loopline.components.data.tables import read_table
from loopline.components.errors import InputError
from loopline.examples.flights import prepare
from loopline.examples.flights.replay import SITES, month_requests, write_truth

#: Its last hours are in July by UTC.
MONTH = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flights")
    prepare.write_months(folder, range(MONTH, MONTH + 1))
    return folder


@pytest.fixture(scope="module")
def june(folder):
    return list(month_requests(folder, MONTH))


def test_every_flight_is_asked_for_once_with_its_own_truth(june, folder):
    sent = pa.concat_tables([request.rows for request in june]).to_pandas()
    sent["late"] = np.concatenate([request.truth for request in june])
    flights = pd.read_csv(folder / f"flights-2013-{MONTH:02}.csv.gz").drop(columns="time_hour")
    names = list(flights.columns)
    ordered = [frame[names].sort_values(names).reset_index(drop=True) for frame in (sent, flights)]
    pd.testing.assert_frame_equal(*ordered, check_dtype=False)


def test_no_request_holds_the_outcome(june):
    for request in june:
        assert not {"late", "time_hour", *prepare.LEAKING} & set(request.rows.column_names)


def test_requests_come_in_order_of_time_and_each_has_its_own_id(june):
    assert len({request.id for request in june}) == len(june)
    hours = [request.id[:13] for request in june]
    assert hours == sorted(hours)
    assert (hours[0], hours[-1]) == ("2013-06-01T05", "2013-06-30T23")
    assert all(request.id == f"{hour}-{request.site}" for hour, request in zip(hours, june, strict=True))
    assert all(request.day.isoformat() == hour[:10] for hour, request in zip(hours, june, strict=True))


def test_hour_of_the_id_is_that_of_the_flights(june):
    for request in june[::50]:
        minutes = request.rows.column("departure_minute").to_numpy()
        assert set(minutes // 60) == {int(request.id[11:13])}


def test_no_site_is_special(june):
    rows = {site: np.concatenate([one.truth for one in june if one.site == site]) for site in SITES}
    total = sum(map(len, rows.values()))
    share = np.concatenate(list(rows.values())).mean()
    for truth in rows.values():
        # Four standard errors of a share.
        assert len(truth) / total == pytest.approx(1 / 3, abs=4 * np.sqrt(2 / 9 / total))
        assert truth.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / len(truth)))


def test_a_replay_does_the_same_again_and_another_seed_something_else(june, folder):
    again, other = list(month_requests(folder, MONTH)), list(month_requests(folder, MONTH, seed=1))
    sizes = [[(one.id, len(one.truth)) for one in requests] for requests in (june, again, other)]
    assert sizes[0] == sizes[1] != sizes[2]
    assert all(one.rows.equals(two.rows) for one, two in zip(june, again, strict=True))


def test_a_share_of_the_flights_is_part_of_a_larger_share_and_as_mixed(folder, june):
    part = list(month_requests(folder, MONTH, share=0.1))
    rows = sum(len(request.truth) for request in part)
    total = sum(len(request.truth) for request in june)
    assert rows == pytest.approx(0.1 * total, rel=0.1)
    by_id = {request.id: request for request in june}
    for request in part[::20]:
        full = by_id[request.id].rows.to_pylist()
        assert all(row in full for row in request.rows.to_pylist())
    assert {request.site for request in part} == set(SITES)
    late = np.concatenate([request.truth for request in part]).mean()
    assert late == pytest.approx(np.concatenate([one.truth for one in june]).mean(), abs=0.04)


def test_truth_arrives_late_and_a_later_call_adds_the_rest(june, tmp_path):
    file = write_truth(tmp_path / "truth", MONTH, june, datetime.date(2013, 6, 27))
    early = read_table(file)
    assert file.name == "truth-2013-06.parquet"
    assert max(early.column("request_id").to_pylist())[:10] == "2013-06-27"
    assert write_truth(tmp_path / "truth", MONTH, june, datetime.date(2013, 6, 30)) == file
    late = read_table(file)
    assert late.slice(0, early.num_rows).equals(early)
    by_id = {request.id: request.truth for request in june}
    found = late.to_pandas()
    assert len(found) == sum(map(len, by_id.values()))
    assert all(by_id[one.request_id][one.row] == one.late for one in found.iloc[::500].itertuples())
    assert [path.name for path in (tmp_path / "truth").iterdir()] == [file.name]


def test_before_any_truth_is_known_the_file_has_its_columns(june, tmp_path):
    table = read_table(write_truth(tmp_path, MONTH, june, datetime.date(2013, 5, 31)))
    assert (table.num_rows, table.column_names) == (0, ["request_id", "row", "late"])
    assert table.schema.types == [pa.string(), pa.int32(), pa.bool_()]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"month": 3}, r"no flights at .*flights-2013-03\.csv\.gz: write them with `python -m"),
        ({"share": 0.0}, "share is 0.0: use a share"),
        ({"share": 1.5}, "share is 1.5"),
        ({"sites": ()}, "no site"),
    ],
)
def test_what_cannot_be_replayed(folder, changes, says):
    with pytest.raises(InputError, match=says):
        next(month_requests(folder, **{"month": MONTH, **changes}))
