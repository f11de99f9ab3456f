"""Speed and memory of a drift verdict, from two Parquet files, beside other libraries on the same files."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.measure import MEASURED
from benchmarks.race import Runner, race
from benchmarks.result import Table, Text
from loopline.components.data.tables import BATCH_ROWS, table_writer

NUMBERS, TEXTS = 20, 10
#: What moves in the window: the mean of one column, in standard deviations.
SHIFT = 0.1
_SIDES = "benchmarks.drift_sides"
_OURS = (
    "scipy.stats", "sklearn.ensemble", "loopline.components.monitoring.drift",
    "loopline.components.monitoring.reference_table", "loopline.components.monitoring.summary",
)  # fmt: skip
#: By environment what is imported before the clock starts.
_PEERS = {
    "evidently": ("pandas", "evidently", "evidently.presets"),
    "nannyml": ("pandas", "nannyml"),
    "whylogs": ("pandas", "whylogs", "whylogs.viz.drift.column_drift_algorithms"),
    "frouros": ("pandas", "frouros.detectors.data_drift"),
}


def write_rows(path: Path, rows: int, seed: int, shift: float = 0.0, ids: bool = False) -> None:
    """Write numbers (normal, skewed, rounded) and texts of 5 to 95 levels; with ids as collect_traffic writes them."""
    random = np.random.default_rng(seed)
    levels = [pa.array([f"level {i}-{j}" for j in range(5 + 10 * i)]) for i in range(TEXTS)]
    writer = None
    for start in range(0, rows, BATCH_ROWS):
        count = min(BATCH_ROWS, rows - start)
        values = random.normal(size=(NUMBERS, count))
        values[0] += shift
        values[1:6] = np.exp(values[1:6])
        values[6:12] = values[6:12].round(2)
        columns = {f"number{i}": pa.array(row) for i, row in enumerate(values)}
        for i, names in enumerate(levels):
            columns[f"text{i}"] = names.take(pa.array(random.integers(0, len(names), count)))
        if ids:
            text = random.bytes(16 * count).hex()
            columns["loopline_request_id"] = pa.array([text[i : i + 32] for i in range(0, len(text), 32)])
            columns["loopline_row"] = pa.array(np.zeros(count, np.int32))
        table = pa.table(columns)
        writer = writer or table_writer(path, table.schema)
        writer.write_table(table, row_group_size=BATCH_ROWS)
    writer.close()


def run(rows: int = 100_000, repeats: int = 5, partitions: int = 0, most: int = 0) -> list[Table | Text]:
    """Measure each side in processes of its own.

    Args:
        rows: Rows of the reference and of the window.
        repeats: Runs of each.
        partitions: Files of ``rows`` rows that are judged as one window, to see memory stay as it is; 0 for none.
        most: Runs after which the other libraries stand aside; 0 for as many as Loopline.
    """
    with tempfile.TemporaryDirectory(prefix="drift-benchmark-") as name:
        folder = Path(name)
        reference, current = folder / "before", folder / "now"
        write_rows(reference, rows, 1)
        write_rows(current, rows, 2, SHIFT, ids=True)
        paths = {"reference": str(reference), "current": [str(current)]}
        sides = [
            Runner("Loopline", f"{_SIDES}:with_loopline", paths, "ours", _OURS),
            Runner(
                "alibi-detect TabularDrift, codes", f"{_SIDES}:with_alibi", {**paths, "codes": True},
                imports=("alibi_detect.cd",), most=most,
            ),
            Runner(
                "alibi-detect TabularDrift, text", f"{_SIDES}:with_alibi", {**paths, "codes": False},
                imports=("alibi_detect.cd",), most=1, note="slow with text, so it ran once",
            ),
        ]  # fmt: skip
        for peer, imports in _PEERS.items():
            sides.append(Runner(peer, f"{_SIDES}:with_{peer}", paths, "peer", imports, peer, most=most))
        sides.append(
            Runner("decoding both files", "benchmarks.drift_speed:read_only", paths, "limit", ("pyarrow.parquet",))
        )
        if partitions:
            # Files without ids, whose rows are told apart by their position: the same file counts as other rows.
            files = [folder / f"part-{i}" for i in range(partitions)]
            for file in files:
                os.link(reference, file)
            title = f"Loopline, {partitions * rows:,} rows in {partitions} files"
            many = {"reference": str(reference), "current": [str(file) for file in files]}
            sides.append(
                Runner(
                    title, f"{_SIDES}:with_loopline", many, "other", _OURS, note="links to one drift-free file", most=1
                )
            )
        title = f"{rows:,} rows beside {rows:,}, {NUMBERS} numbers and {TEXTS} texts; one mean moved by {SHIFT} sd"
        table = race(title, sides, repeats, limit_s=900)
    return [table, Text(_verdicts())]


def read_only(reference: str, current: list[str]) -> int:
    """Decode both files and keep nothing."""
    import pyarrow.parquet as pq

    return sum(batch.num_rows for path in (reference, *current) for batch in pq.ParquetFile(path).iter_batches())


def _verdicts() -> str:
    """Say what each side found; the last answer of each."""
    answers = {}
    for one in MEASURED:
        if one["call"].startswith(_SIDES):
            name = one["call"].rpartition("with_")[2] + (", text" if one["arguments"].get("codes") is False else "")
            name += f", {len(one['arguments']['current'])} files" if len(one["arguments"]["current"]) > 1 else ""
            answers[name] = one["result"]
    found = "; ".join(f"{name}: {answer}" for name, answer in answers.items())
    return (
        f"What they answered: {found}. `number0` is the column that moved. Loopline profiles both files here, with the "
        "engine `scipy`; a model comes with its reference profile, so that a window alone is read."
    )
