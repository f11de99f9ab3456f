"""Score one partition of a table: read in a stream, predicted, written whole or not at all, and done only once."""

import hashlib
import json
import logging
import re
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.ahead import map_ahead
from loopline.components.data.casting import fit
from loopline.components.data.csv_format import CsvFormat
from loopline.components.data.ingest import as_parquet
from loopline.components.data.log_columns import DIGEST, NAME, VERSION
from loopline.components.data.schema import Schema
from loopline.components.data.sources import Source, safe_name
from loopline.components.data.streams import download
from loopline.components.data.tables import check_columns, naming_damage, open_parquet, read_batches
from loopline.components.data.writing import writing_table
from loopline.components.errors import AbsentError, InputError
from loopline.components.model.directory import Manifest
from loopline.components.model.predictor import Predictor, load_predictor
from loopline.components.parameters import split_names
from loopline.components.processors import processors
from loopline.components.scoring.destination import Written, open_destination
from loopline.components.scoring.partitions import content_identity, find_partition

logger = logging.getLogger("loopline")

#: Rows of one batch: enough for the model to be busy, few enough to hold one a thread beside the batch that is written.
_ROWS = 65_536
_MOST_THREADS = 8


@dataclass(frozen=True)
class Scored:
    """What came of a partition.

    Attributes:
        rows: Its rows.
        skipped: Whether it was done before, with the same content and model.
        uri: Where the predictions are; empty when the partition is a CSV without rows.
        dropped: Rows without a prediction, since a value cannot be what the model takes.
        unfit: Such values by column; empty when skipped.
    """

    rows: int
    skipped: bool
    uri: str
    dropped: int
    unfit: dict[str, int] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """The counts, flat."""
        return {"rows": self.rows, "dropped": self.dropped, "skipped": int(self.skipped)}


def score_partition(
    model: str | Path, uri: str, output: str, name: str = "", version: int = 0, keep: str = "", csv: str = "{}"
) -> Scored:
    """Predict every row of a partition and write the predictions beside its columns.

    The file's name holds the partition's name, a digest of where and what it is, and the model's digest: what is there
    was scored before and is left alone, and a partition or model that changed gets a file of its own. A row with a
    value that its column cannot hold, such as text for a number, stays and has no prediction.

    Args:
        model: The model directory.
        uri: One CSV or Parquet file, what ``list_partitions`` gave.
        output: Where to: a folder or ``s3://bucket/prefix``; under LOOPLINE_HOME when empty.
        name: The model's registered name; its own when empty.
        version: Its registered version; 0 when it is not registered.
        keep: Comma-separated columns to keep of the partition; all when empty.
        csv: JSON that says how CSV is written, where its first lines do not tell: see ``CsvFormat``.

    Returns:
        What came of it.

    Raises:
        InputError: The partition lacks a feature, no row of it fits, or something cannot be read or written.
    """
    form = CsvFormat.parse(csv)
    # Batches are predicted side by side, each on one thread: then fitting, reading and writing keep no core waiting.
    predictor = load_predictor(model, threads=1)
    name = name or predictor.manifest.name
    kept = split_names(keep)
    destination = open_destination(output, name)
    source = find_partition(uri)
    with tempfile.TemporaryDirectory(prefix=".scoring-", dir=destination.workspace) as aside:
        source = _at_hand(source, Path(aside))
        identity = content_identity(source)
        file = _file_name(source, identity, predictor.manifest, version, kept, csv if form != CsvFormat() else "")
        written = destination.find(file, predictor.manifest.output_names[0])
        if written:
            logger.info("%s was scored before: %s", safe_name(source.name), written.uri)
            return Scored(written.rows, True, written.uri, written.dropped)
        # Text stays text: a code of digits is no number.
        declared = {column.name: pa.string() for column in predictor.features.columns if column.kind == "category"}
        try:
            table = as_parquet(source, Path(aside), declared=declared, form=form)
        except AbsentError:
            logger.warning("%s has no rows", safe_name(source.name))
            return Scored(0, False, "", 0)
        marks = {NAME: name, VERSION: str(version or "")}
        finished = Path(aside) / "predictions.parquet"
        with naming_damage(safe_name(source.name)):
            rows, dropped, unfit = _write(table, finished, predictor, kept, marks, source.name)
        return _scored(destination.publish(finished, file, rows, dropped), unfit)


def _at_hand(source: Source, folder: Path) -> Source:
    """Fetch what comes over HTTPS: only its content says whether it is what was scored before."""
    if source.path or source.name.startswith("s3://"):
        return source
    copy, _ = download(source, folder)
    return Source(source.name, partial(copy.open, "rb"), copy)


def _scored(written: Written, unfit: Counter) -> Scored:
    logger.info("%s rows to %s, %s without prediction", f"{written.rows:,}", written.uri, f"{written.dropped:,}")
    return Scored(written.rows, False, written.uri, written.dropped, dict(sorted(unfit.items())))


def _file_name(source: Source, identity: str, manifest: Manifest, version: int, kept: list[str], csv: str) -> str:
    stem = PurePosixPath(urlsplit(source.name).path).name.split(".")[0]
    stem = re.sub(r"[^\w-]+", "-", stem, flags=re.ASCII).strip("-_")[:80] or "partition"
    content = json.dumps([safe_name(source.name), identity, version, kept, *([csv] if csv else [])])
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return f"{stem}-{digest}-{manifest.digest.removeprefix('sha256:')[:16]}.parquet"


def _write(
    table: Path, finished: Path, predictor: Predictor, kept: list[str], marks: dict[str, str], name: str
) -> tuple[int, int, Counter]:
    """Write the predictions of a table; returns its rows, those without prediction, and the values that did not fit."""
    with open_parquet(table) as file:
        present = file.schema_arrow
    features, marks = predictor.features, {**marks, DIGEST: predictor.manifest.digest}
    check_columns(present.names, [*features.names, *kept], safe_name(name))
    kept = kept or present.names
    outputs = predictor.manifest.output_names
    _check_names(present.names, kept, features.names, [*outputs, *marks], name)
    schema = pa.schema(
        [present.field(column) for column in kept]
        + [(column, pa.string()) for column in marks]
        + [(column, pa.float32()) for column in outputs]
    )

    def score(batch: pa.RecordBatch) -> tuple[pa.Table, int, Counter]:
        rows, usable, unfit = _fit_features(batch, features)
        scores = _predict(rows, usable, predictor)
        stamped = [pa.repeat(pa.scalar(value), batch.num_rows) for value in marks.values()]
        columns = [*(batch.column(column) for column in kept), *stamped, *scores]
        return pa.table(columns, schema=schema), int((~usable).sum()), unfit

    batches = read_batches(table, list(dict.fromkeys([*kept, *features.names])), _ROWS)
    # A model that is not ONNX brings threads of its own.
    threads = min(processors(), _MOST_THREADS) if predictor.manifest.format == "onnx" else 1
    dropped, unfit = 0, Counter()
    with writing_table(finished, schema) as sink:
        for scored, lost, wrong in map_ahead(score, batches, threads, "score"):
            sink.write(scored)
            dropped += lost
            unfit += wrong
        if sink.rows and dropped == sink.rows:
            worst = max(unfit, key=unfit.get)
            raise InputError(
                f"No row of {safe_name(name)} can be scored: feature {worst!r} should be of kind "
                f"{features[worst].kind} and is {present.field(worst).type}; give the columns the model was trained on."
            )
    return sink.rows, dropped, unfit


def _check_names(present: list[str], kept: list[str], features: list[str], added: list[str], name: str) -> None:
    """Refuse columns that are there twice, or would be."""
    twice = [column for column in (*kept, *features) if present.count(column) > 1]
    if twice:
        raise InputError(f"{safe_name(name)} has more than one column named {twice[0]!r}: rename one of them.")
    taken = [column for column in kept if column in added]
    if taken:
        raise InputError(
            f"Column {taken[0]!r} of {safe_name(name)} has the name of a column of predictions: rename it, or leave it "
            "out with keep."
        )


def _fit_features(batch: pa.RecordBatch, features: Schema) -> tuple[pa.RecordBatch, np.ndarray, Counter]:
    """Return the features as the model takes them, which rows hold nothing that they cannot be, and what does."""
    columns, usable, unfit = [], np.ones(batch.num_rows, bool), Counter()
    for column in features.columns:
        values = batch.column(column.name)
        fitted, _ = fit(values, column.feature_type)
        wrong = np.asarray(pc.and_(fitted.is_null(), values.is_valid()))
        if pa.types.is_floating(fitted.type):
            wrong = wrong | np.asarray(pc.is_inf(fitted).fill_null(False))
        if wrong.any():
            unfit[column.name] += int(wrong.sum())
            usable &= ~wrong
        columns.append(fitted)
    return pa.record_batch(columns, names=features.names), usable, unfit


def _predict(rows: pa.RecordBatch, usable: np.ndarray, predictor: Predictor) -> list[pa.Array]:
    """Return the predicted columns, null for the rows that cannot be predicted."""
    scores = predictor.predict(rows if usable.all() else rows.filter(pa.array(usable)))
    whole = np.zeros((len(usable), len(predictor.manifest.output_names)), np.float32)
    whole[usable] = scores.reshape(len(scores), whole.shape[1])
    return [pa.array(np.ascontiguousarray(column), mask=~usable) for column in whole.T]
