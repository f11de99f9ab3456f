"""Write ``sample.json``: some real flights of June 2013 and what the form offers, so that the app needs no data set.

Run again when the columns of the flights change: ``python -m loopline.examples.flights.app.sample``.
"""

import json
import math
from pathlib import Path

import pandas as pd

from loopline.examples.flights.prepare import flights_with_weather, read_source

FILE = Path(__file__).with_name("sample.json")
#: Flights of the month that no model of ``training.yaml`` was trained on.
MONTH, FLIGHTS, SEED = 6, 200, 2013
#: Airports that the data fly to and do not name.
_UNNAMED = {
    "BQN": "Aguadilla Rafael Hernandez",
    "PSE": "Ponce Mercedita",
    "SJU": "San Juan Luis Munoz Marin",
    "STT": "St Thomas Cyril E King",
}


def make_sample() -> dict:
    """Choose flights and collect the names of airlines and airports and the routes between them.

    Returns:
        ``flights``: ``number``, ``date``, ``flight`` (the features, missing ones None) and ``arrival_delay`` (minutes,
        what became of it), in order of departure; ``carriers`` and ``airports``: names by code; ``routes``: by origin
        and destination the distance (miles) and the usual difference between the scheduled local times (minutes).

    Raises:
        InputError: The package that carries the data is not installed.
    """
    table = flights_with_weather()
    flown = read_source("flights.csv.zip")
    # The features stand in the order of departure and keep the positions of the flights that arrived.
    flown = flown[flown["arr_delay"].notna()].reset_index(drop=True)
    table = table.join(flown[["year", "day", "flight", "arr_delay"]])
    chosen = table[table["month"] == MONTH].sample(FLIGHTS, random_state=SEED)
    chosen = chosen.sort_values(["day", "departure_minute", "carrier", "flight"])
    airports = read_source("airports.csv")
    names = dict(zip(airports["faa"], airports["name"].str.replace("\\", ""), strict=True)) | _UNNAMED
    used = sorted({*table["origin"], *table["dest"]})
    return {
        "flights": [_as_entry(row) for row in chosen.to_dict("records")],
        "carriers": dict(read_source("airlines.csv").itertuples(index=False)),
        "airports": {code: names[code] for code in used},
        "routes": _routes(table),
    }


def _as_entry(row: dict) -> dict:
    outside = ("time_hour", "late", "month", "year", "day", "flight", "arr_delay")
    features = {name: value for name, value in row.items() if name not in outside}
    return {
        "number": f"{row['carrier']} {row['flight']}",
        "date": f"{row['year']}-{row['month']:02}-{row['day']:02}",
        "arrival_delay": int(row["arr_delay"]),
        "flight": {name: _as_json(value) for name, value in features.items()},
    }


def _as_json(value):
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return value


def _routes(table: pd.DataFrame) -> dict:
    minutes = (table["arrival_minute"] - table["departure_minute"]) % 1440
    usual = table.assign(minutes=minutes).groupby(["origin", "dest"])[["distance", "minutes"]].median()
    routes = {}
    for (origin, dest), row in usual.iterrows():
        routes.setdefault(origin, {})[dest] = [int(row["distance"]), int(row["minutes"])]
    return routes


def main() -> None:
    """Write the file, one entry a line so that a change can be read."""
    parts = []
    for name, values in make_sample().items():
        pairs = values.items() if isinstance(values, dict) else ((None, value) for value in values)
        lines = [(f"{json.dumps(key)}: " if key else "") + json.dumps(value, sort_keys=True) for key, value in pairs]
        opening, closing = "{}" if isinstance(values, dict) else "[]"
        parts.append(f"{json.dumps(name)}: {opening}\n" + ",\n".join(lines) + f"\n{closing}")
    FILE.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="ascii")


if __name__ == "__main__":
    main()
