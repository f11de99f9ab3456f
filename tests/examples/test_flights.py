"""The flights example: complete, without leakage, and its parameters fit its pipelines."""

import pandas as pd
import pytest
import yaml

from loopline.examples.flights import prepare
from loopline.pipelines.spec import PipelineFile


@pytest.fixture(scope="module")
def flights():
    return prepare.flights_with_weather()


def test_no_column_tells_the_outcome(flights):
    """What is known only after departure stays out, under any name."""
    assert not set(prepare.LEAKING) & set(flights.columns)
    numbers = flights.drop(columns=["late", "month"]).select_dtypes("number")
    # A renamed or shifted copy of a delay would follow the outcome closely; nothing known beforehand does.
    strongest = numbers.corrwith(flights["late"].astype(float)).abs().max()
    assert strongest < 0.3


def test_every_flight_that_arrived_is_there_once(flights):
    assert len(flights) == 327_346
    assert flights["late"].mean() == pytest.approx(0.2372, abs=0.001)


def test_lateness_has_seasons(flights):
    by_month = flights.groupby("month")["late"].mean()
    assert by_month.idxmin() == 9
    assert by_month[9] < 0.15
    assert by_month[12] > 0.3


def test_months_are_written_once_and_alike(tmp_path):
    first = prepare.write_months(tmp_path / "a", range(1, 3))
    assert [file.name for file in first] == ["flights-2013-01.csv.gz", "flights-2013-02.csv.gz"]
    second = prepare.write_months(tmp_path / "b", range(1, 3))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    before = first[0].stat().st_mtime_ns
    prepare.write_months(tmp_path / "a", range(1, 3))
    assert first[0].stat().st_mtime_ns == before
    table = pd.read_csv(first[0])
    assert "month" not in table
    assert table["time_hour"].is_monotonic_increasing


@pytest.mark.parametrize("name", ["training", "sweep"])
def test_parameters_fit_the_pipeline(name):
    file = PipelineFile.find(name).path.parent.parent / "examples" / "flights" / f"{name}.yaml"
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    converted = PipelineFile.find(name).convert({**values, "uri": "flights/*.csv.gz"})
    assert converted["target"] == "late"
