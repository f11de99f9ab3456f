"""What the traffic of a model is compared with: the profile and the rows that travel with it."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.profile import as_floats
from loopline.components.data.schema import Schema
from loopline.components.data.tables import check_columns, read_table
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest
from loopline.components.monitoring.bins import Bins

PROFILE, ROWS = "reference-profile.json", "reference-rows.parquet"


@dataclass(frozen=True)
class Watched:
    """One column that is compared.

    Attributes:
        name: The column's name.
        role: ``input`` or ``prediction``.
        kind: As in the schema.
        entry: Its entry in the reference profile.
    """

    name: str
    role: str
    kind: str
    entry: dict

    @property
    def is_text(self) -> bool:
        """Whether it holds categories; booleans are numbers in a profile."""
        return self.kind == "category"

    @property
    def present(self) -> int:
        """How many values the reference has."""
        return sum(self.levels.values()) if self.is_text else sum(self.entry["counts"])

    @property
    def center(self) -> float:
        """What the values of a number are summed up around: their mean at training."""
        return self.entry["mean"] or 0.0

    @property
    def levels(self) -> dict[str, int]:
        """The categories seen at training, with how often, by name."""
        return self.entry["counts"]

    @cached_property
    def bins(self) -> Bins:
        """The bins of a number."""
        return Bins.of(self.entry)

    @cached_property
    def counts(self) -> np.ndarray:
        """The reference's counts by bin, or by category with a zero at the end for those never seen."""
        return np.array([*self.levels.values(), 0], np.int64) if self.is_text else self.bins.counts_of(self.entry)

    @cached_property
    def _values(self) -> pa.Array:
        return pa.array(list(self.levels), pa.string())

    def encode(self, values: pa.Array) -> np.ndarray:
        """Turn text into positions in ``levels``: len(levels) for what is not there, -1 for missing; int32."""
        if pa.types.is_dictionary(values.type):
            codes = self.encode(values.dictionary)
            # Arrow may put nulls among the indices and null into the dictionary.
            indices = pc.fill_null(values.indices, -1).to_numpy(zero_copy_only=False)
            return np.append(codes, np.int32(-1))[indices]
        codes = pc.fill_null(pc.index_in(values, self._values), len(self.levels)).to_numpy(zero_copy_only=False)
        if values.null_count:
            codes = np.where(pc.is_null(values).to_numpy(zero_copy_only=False), -1, codes)
        return codes.astype(np.int32)


@dataclass(frozen=True)
class Reference:
    """What is compared with.

    Attributes:
        name: The model's name.
        digest: Its digest; empty where there is no model.
        features: The schema of its features.
        columns: What is compared: the features in order, then the predictions.
        rows: How many rows the profile was made of.
        sample: Rows of the reference by feature: single precision with NaN for missing, or int32 codes of categories.
    """

    name: str
    digest: str
    features: Schema
    columns: tuple[Watched, ...]
    rows: int
    sample: dict[str, np.ndarray] = field(repr=False)

    @property
    def inputs(self) -> list[Watched]:
        """The columns that are inputs."""
        return [column for column in self.columns if column.role == "input"]

    @property
    def predictions(self) -> list[Watched]:
        """The columns that are predictions."""
        return [column for column in self.columns if column.role == "prediction"]


def read_reference(model: str | Path) -> Reference:
    """Read what travels with a model.

    Args:
        model: The model directory.

    Returns:
        The reference.

    Raises:
        InputError: There is no model, or it has no reference.
    """
    model = Path(model)
    manifest = read_manifest(model)
    features = Schema.load(model / "schema.json").without(manifest.target)
    try:
        profile = json.loads((model / PROFILE).read_text(encoding="utf-8"))
        inputs = [Watched(one.name, "input", one.kind, profile["columns"][one.name]) for one in features.columns]
        scores = profile.get("scores", {}).get("columns", {})
        # One of two probabilities says all.
        wanted = manifest.output_names[1:] if manifest.task == "binary" else manifest.output_names
        outputs = [Watched(name, "prediction", "number", scores[name]) for name in wanted if name in scores]
        rows = profile["rows"]
    except (OSError, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"The {PROFILE} of the model in {model} cannot be used ({error!r}): train it anew.") from None
    if not (model / ROWS).is_file():
        raise InputError(f"The model in {model} has no {ROWS} to compare with: train it anew.")
    sample = encode_rows(read_table(model / ROWS, features.names), inputs)
    return Reference(manifest.name, manifest.digest, features, (*inputs, *outputs), rows, sample)


def encode_rows(rows: pa.Table | pa.RecordBatch, columns: list[Watched]) -> dict[str, np.ndarray]:
    """Turn rows into numbers as the traffic log has them.

    Args:
        rows: Rows with at least the columns.
        columns: The columns wanted.

    Returns:
        By name single-precision floats with NaN for missing, or int32 codes of categories with -1 for missing.

    Raises:
        InputError: A column is missing or of another type.
    """
    check_columns(rows.schema.names, [column.name for column in columns], "the rows to compare")
    return {column.name: encode_column(rows.column(column.name), column) for column in columns}


def encode_column(values: pa.Array | pa.ChunkedArray, column: Watched) -> np.ndarray:
    """Turn one column into numbers, as ``encode_rows`` does."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    try:
        if not column.is_text:
            return as_floats(values, np.float32)
        if not pa.types.is_dictionary(values.type):
            values = pc.cast(values, pa.string())
        return column.encode(values)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(
            f"Column {column.name!r} should be of kind {column.kind} but is {values.type} ({error}): collect the "
            "traffic with the schema of this model."
        ) from None
