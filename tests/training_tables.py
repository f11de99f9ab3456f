"""Small tables with numbers, text, gaps and a signal to learn."""

import numpy as np
import pyarrow as pa

from loopline.components.data.schema import Column

#: What is not a feature of each target: the other targets.
OTHERS = {"late": "grade,amount", "grade": "late,amount", "amount": "late,grade"}

COLUMNS = (
    Column("size", "number"),
    Column("count", "integer"),
    Column("color", "category", categories=("blue", "green", "red")),
    Column("when", "timestamp"),
    Column("late", "boolean"),
    Column("grade", "category", categories=("high", "low", "middle")),
    Column("amount", "number"),
)


def make_table(rows: int, seed: int) -> pa.Table:
    """Two numbers (one with gaps), text (with gaps), a timestamp, and three targets that follow from them."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=rows)
    gaps = np.where(rng.random(rows) < 0.1, np.nan, size)
    count = rng.integers(0, 9, rows)
    color = rng.choice(["red", "green", "blue", None], rows)
    signal = np.nan_to_num(gaps) + (color == "red") * 1.5 + 0.1 * count + rng.normal(0, 0.5, rows)
    return pa.table(
        {
            "size": pa.array(gaps, from_pandas=True),
            "count": count,
            "color": pa.array(color.tolist(), pa.string()),
            "when": pa.array(np.datetime64("2026-01-01", "s") + np.arange(rows).astype("timedelta64[s]")),
            "late": signal > 0.9,
            "grade": [("low", "middle", "high")[i] for i in np.digitize(signal, [0.3, 1.3])],
            "amount": signal * 100,
        }
    )
