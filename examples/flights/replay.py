"""A month of flights as requests to the sites, and the truth about it as it becomes known."""

import datetime
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from loopline.components.data.tables import write_table
from loopline.components.errors import InputError
from loopline.pipelines.replay.request import Request

SITES = ("edge", "cloud", "datacenter")
TARGET = "late"
#: Tells one flight from another, and says nothing of its outcome or of the weather.
_IDENTITY = ["time_hour", "carrier", "origin", "dest", "departure_minute", "arrival_minute"]
_ZONE = "America/New_York"


def month_requests(
    folder: str | Path, month: int, share: float = 1.0, seed: int = 0, sites: Sequence[str] = SITES
) -> Iterator[Request]:
    """Turn a month of flights into requests, one an hour and site, in order of time.

    A hash of what identifies a flight sends it to a site, so that the sites see the same kind of flights and a replay
    does the same again.

    Args:
        folder: Where ``prepare.write_months`` wrote.
        month: The month, 1 to 12.
        share: The share of the flights to take, in (0, 1]; chosen by another hash.
        seed: Of both hashes.
        sites: Where to send them.

    Yields:
        Requests whose id is the local hour of scheduled departure and the site, such as ``2013-06-01T05-edge``.

    Raises:
        InputError: The month is not there, or an argument makes no sense.
    """
    if not 0 < share <= 1:
        raise InputError(f"share is {share}: use a share of the flights above 0 and up to 1.")
    if not sites:
        raise InputError("There is no site to send flights to: name at least one.")
    flights = _read_month(folder, month)
    flights = flights[_uniform(flights, seed, "share") < share]
    position = np.minimum((_uniform(flights, seed, "site") * len(sites)).astype(int), len(sites) - 1)
    local = pd.to_datetime(flights["time_hour"], utc=True).dt.tz_convert(_ZONE)
    names = local.dt.strftime("%Y-%m-%dT%H")
    features = flights.drop(columns=["time_hour", TARGET])
    rows = pa.Table.from_pandas(features, preserve_index=False).replace_schema_metadata()
    truth = flights[TARGET].to_numpy(bool)
    for (hour, place), chosen in pd.Series(np.arange(len(flights))).groupby([names.to_numpy(), position]):
        day = datetime.date.fromisoformat(hour[:10])
        taken = chosen.to_numpy()
        yield Request(f"{hour}-{sites[place]}", sites[place], day, rows.take(taken), truth[taken])


def write_truth(folder: str | Path, month: int, requests: Iterable[Request], until_day: datetime.date) -> Path:
    """Write the truth of a month's flights that is known by a day; written again later, it holds the rest.

    Args:
        folder: Where to write; it is made when missing.
        month: The month, 1 to 12.
        requests: The month's requests.
        until_day: The last day whose flights' outcome is known.

    Returns:
        ``truth-2013-MM.parquet`` with ``request_id``, ``row`` (its position in the request) and ``late``.
    """
    known = [request for request in requests if request.day <= until_day]
    rows = [(request.id, row, bool(late)) for request in known for row, late in enumerate(request.truth)]
    types = {"request_id": pa.string(), "row": pa.int32(), TARGET: pa.bool_()}
    columns = zip(*rows, strict=True) if rows else ([] for _ in types)
    table = pa.table([pa.array(column, type_) for column, type_ in zip(columns, types.values(), strict=True)], [*types])
    file = Path(folder) / f"truth-2013-{month:02}.parquet"
    # Written aside first, and not under a name that a reader of *.parquet would find.
    part = file.with_suffix(".part")
    write_table(part, table)
    part.replace(file)
    return file


def _read_month(folder: str | Path, month: int) -> pd.DataFrame:
    file = Path(folder) / f"flights-2013-{month:02}.csv.gz"
    try:
        return pd.read_csv(file)
    except FileNotFoundError:
        raise InputError(
            f"There are no flights at {file}: write them with `python -m loopline.examples.flights.prepare {folder}`."
        ) from None


def _uniform(flights: pd.DataFrame, seed: int, purpose: str) -> np.ndarray:
    """Hash each flight to a number in [0, 1), independent for each seed and purpose."""
    key = f"{purpose}-{seed}".encode().ljust(16, b".")[:16].decode()
    hashes = pd.util.hash_pandas_object(flights[_IDENTITY].astype(str).agg("|".join, axis=1), index=False, hash_key=key)
    return (hashes.to_numpy() >> np.uint64(11)) / 2.0**53
