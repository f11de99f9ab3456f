"""From when to when the rows of a table are, from the footers of its files: no row is read."""

import datetime
from pathlib import Path

from loopline.components.data.schema import kind_of
from loopline.components.data.tables import open_parquet


def table_periods(path: str | Path) -> dict[str, str]:
    """Return the first and last instant of each timestamp column.

    Args:
        path: The table.

    Returns:
        By column an ISO 8601 interval, ``first/last``; columns whose files do not tell are left out.
    """
    found: dict[str, list] = {}
    with open_parquet(path) as file:
        timed = {field.name for field in file.schema_arrow if kind_of(field.type) == "timestamp"}
        for number in range(file.num_row_groups if timed else 0):
            group = file.metadata.row_group(number)
            for position in range(group.num_columns):
                column = group.column(position)
                statistics = column.statistics
                if column.path_in_schema in timed and statistics is not None and statistics.has_min_max:
                    found.setdefault(column.path_in_schema, []).extend((statistics.min, statistics.max))
    return {name: f"{_iso(min(instants))}/{_iso(max(instants))}" for name, instants in found.items()}


def _iso(instant: datetime.datetime | datetime.date) -> str:
    """Write an instant to the second, with its time zone where it has one."""
    text = instant.isoformat(**({"timespec": "seconds"} if isinstance(instant, datetime.datetime) else {}))
    return text.replace("+00:00", "Z")
