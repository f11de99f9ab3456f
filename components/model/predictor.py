"""Predict with a model directory, whatever the format of the model in it."""

import functools
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.profile import as_floats
from loopline.components.data.schema import Column, Schema
from loopline.components.data.tables import check_columns
from loopline.components.documents import reading
from loopline.components.errors import InputError
from loopline.components.model.directory import Manifest, read_manifest

#: A score of the same model in another format or on another machine may differ by ATOL + RTOL * |score|: single
#: precision, summed over some hundred trees.
RTOL, ATOL = 1e-4, 1e-5


#: A skops file, which is a ZIP archive, may unpack to this many times its size, or to so many bytes if that is more.
_MOST_TIMES, _FREE_BYTES = 200, 256 * 2**20


class Predictor:
    """A loaded model.

    Args:
        manifest: The model's manifest.
        schema: Its schema: features and target.
        score: The function from feature columns, as ``feature_columns`` gives them, to scores.
    """

    def __init__(self, manifest: Manifest, schema: Schema, score):
        self.manifest = manifest
        self.schema = schema
        self.features = schema.without(manifest.target)
        self._score = score

    def predict(self, table: pa.Table | pa.RecordBatch) -> np.ndarray:
        """Predict each row.

        Args:
            table: Rows with at least the model's features.

        Returns:
            For classification the probabilities of ``manifest.classes``, shape (rows, classes); for regression the
            predicted values, shape (rows,). Single precision.

        Raises:
            InputError: A feature is missing or has the wrong type.
        """
        if table.num_rows == 0:
            shape = (0, len(self.manifest.classes)) if self.manifest.is_classification else (0,)
            return np.zeros(shape, np.float32)
        return self.score(feature_columns(table, self.features))

    def score(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Predict each row of columns that are already as the model takes them.

        Args:
            columns: By name an array of shape (rows,), as ``feature_columns`` gives them, of one row or more.

        Returns:
            What ``predict`` gives.
        """
        scores = np.asarray(self._score(columns), np.float32)
        return scores if self.manifest.is_classification else scores.reshape(-1)

    def labels(self, scores: np.ndarray) -> list:
        """Return the most probable class of each row.

        Args:
            scores: What ``predict`` gave.

        Returns:
            One of ``manifest.classes`` for each row.
        """
        return [self.manifest.classes[i] for i in scores.argmax(axis=1)]


def load_predictor(path: str | Path, threads: int = 0) -> Predictor:
    """Load the model of a model directory.

    Args:
        path: The directory.
        threads: Threads that an ONNX model may use for one prediction; 0 for one a core.

    Returns:
        The model, ready to predict.

    Raises:
        InputError: There is no model, or its format is unknown.
    """
    return open_predictor(path, read_manifest(path), threads)


def open_predictor(path: str | Path, manifest: Manifest, threads: int = 0) -> Predictor:
    """Load a model whose manifest is at hand, as it is while the directory is being written.

    Args:
        path: The model directory.
        manifest: Its manifest.
        threads: Threads that an ONNX model may use for one prediction; 0 for one a core.

    Returns:
        The model, ready to predict.

    Raises:
        InputError: The format is unknown.
    """
    path = Path(path)
    schema = Schema.load(path / "schema.json")
    onnx = functools.partial(_load_onnx, threads=threads)
    loaders = {"onnx": onnx, "xgboost": _load_xgboost, "skops": _load_skops, "joblib": _load_joblib}
    if manifest.format not in loaders:
        raise InputError(f"Model format {manifest.format!r} is unknown: use one of {', '.join(loaders)}.")
    features = schema.without(manifest.target)
    with reading(
        path / manifest.file, f"a model of format {manifest.format}", "fetch the model again, or train it anew"
    ):
        score = loaders[manifest.format](path / manifest.file, manifest, features)
    return Predictor(manifest, schema, score)


def agree(scores: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Compare scores of the same rows that should be the same but for rounding.

    Args:
        scores: What ``predict`` gave, or a model server.
        expected: What it should have given; the same shape.

    Returns:
        For each score whether it is within the tolerance; never where one is NaN.
    """
    return np.abs(scores - expected) <= ATOL + RTOL * np.abs(expected)


def feature_columns(table: pa.Table | pa.RecordBatch, features: Schema) -> dict[str, np.ndarray]:
    """Return a table's features the way every model format takes them.

    Args:
        table: Rows with at least these features.
        features: The features' schema.

    Returns:
        By name an array of shape (rows,): single-precision floats with NaN for missing, or for text ``str`` objects
        with the empty string for missing.

    Raises:
        InputError: A feature is missing or has the wrong type.
    """
    check_columns(table.schema.names, features.names, "the rows to predict")
    columns = {}
    for column in features.columns:
        values = table.column(column.name)
        with _naming_type(column):
            if column.kind == "category":
                columns[column.name] = np.asarray(
                    pc.fill_null(pc.cast(values, pa.string()), "").to_numpy(False), object
                )
            else:
                columns[column.name] = as_floats(values, np.float32)
    return columns


def encode_columns(columns: dict[str, np.ndarray], features: Schema) -> np.ndarray:
    """Turn feature columns into one matrix, text as the position of its category.

    Args:
        columns: What ``feature_columns`` gave.
        features: The features' schema, with closed categories.

    Returns:
        Single-precision floats, shape (rows, features); NaN where a value is missing or a category unknown.
    """
    rows = len(next(iter(columns.values())))
    matrix = np.empty((rows, len(features.columns)), np.float32)
    for position, column in enumerate(features.columns):
        values = columns[column.name]
        if column.kind == "category":
            values = as_floats(_category_codes(pa.array(values, pa.string()), column), np.float32)
        matrix[:, position] = values
    return matrix


def encode_table(table: pa.Table | pa.RecordBatch, features: Schema) -> np.ndarray:
    """Turn a table's features into one matrix; text never becomes Python objects on the way.

    Args:
        table: Rows with at least these features.
        features: The features' schema, with closed categories.

    Returns:
        What ``encode_columns`` gives for ``feature_columns``.

    Raises:
        InputError: A feature is missing or has the wrong type.
    """
    check_columns(table.schema.names, features.names, "the rows to predict")
    matrix = np.empty((table.num_rows, len(features.columns)), np.float32)
    for position, column in enumerate(features.columns):
        values = table.column(column.name)
        with _naming_type(column):
            if column.kind == "category":
                values = _category_codes(pc.cast(values, pa.string()), column)
            matrix[:, position] = as_floats(values, np.float32)
    return matrix


def _category_codes(values: pa.Array | pa.ChunkedArray, column: Column) -> pa.Array | pa.ChunkedArray:
    """Return the position of each value among the categories; null when it is none of them."""
    return pc.index_in(values, pa.array(column.categories or (), pa.string()))


@contextmanager
def _naming_type(column: Column) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"Feature {column.name!r} should be of kind {column.kind}: {error}.") from None


def as_frame(columns: dict[str, np.ndarray]):
    """Return feature columns as the pandas DataFrame that a scikit-learn pipeline takes."""
    import pandas as pd

    return pd.DataFrame(columns)


def _load_onnx(file: Path, manifest: Manifest, features: Schema, threads: int = 0):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is raised, and said there
    options.intra_op_num_threads = threads
    # A thread that has nothing to do sleeps instead of taking the core that another process could use.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    output = "probabilities" if manifest.is_classification else "prediction"
    _check_tensors(session, output, features)
    # A tensor of a million strings costs more than the prediction: go through the rows in pieces.
    step = 65_536

    def score(columns: dict[str, np.ndarray]) -> np.ndarray:
        rows = len(next(iter(columns.values())))
        pieces = (
            {name: values[start : start + step].reshape(-1, 1) for name, values in columns.items()}
            for start in range(0, rows, step)
        )
        return np.concatenate([session.run([output], piece)[0] for piece in pieces])

    return score


def _check_tensors(session, output: str, features: Schema) -> None:
    """Refuse an ONNX model that takes or gives something else than its directory says.

    Raises:
        ValueError: It does.
    """
    wanted = {
        column.name: "tensor(string)" if column.kind == "category" else "tensor(float)" for column in features.columns
    }
    found = {one.name: one.type for one in session.get_inputs()}
    if found != wanted:
        other = next(name for name in (*wanted, *found) if wanted.get(name) != found.get(name))
        raise ValueError(f"its input {other!r} is {found.get(other)} where schema.json says {wanted.get(other)}")
    if output not in [one.name for one in session.get_outputs()]:
        raise ValueError(f"it has no output {output!r}")


def _load_xgboost(file: Path, manifest: Manifest, features: Schema):
    import xgboost

    booster = xgboost.Booster(model_file=str(file))
    if booster.num_features() != len(features.columns):
        raise ValueError(f"it takes {booster.num_features()} features and schema.json has {len(features.columns)}")
    return lambda columns: score_booster(booster, encode_columns(columns, features), manifest.task)


def score_booster(booster, matrix: np.ndarray, task: str) -> np.ndarray:
    """Predict with a bare XGBoost booster.

    Args:
        booster: The ``xgboost.Booster``.
        matrix: What ``encode_columns`` gave.
        task: ``binary``, ``multiclass`` or ``regression``.

    Returns:
        Probabilities of shape (rows, classes) or values of shape (rows,).
    """
    scores = booster.inplace_predict(matrix, validate_features=False)
    return np.column_stack([1 - scores, scores]) if task == "binary" else scores


def _load_skops(file: Path, manifest: Manifest, features: Schema):
    from skops.io import get_untrusted_types, load

    with zipfile.ZipFile(file) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > max(_FREE_BYTES, _MOST_TIMES * file.stat().st_size):
        raise ValueError(f"it unpacks to {unpacked:,} bytes, more than {_MOST_TIMES} times its size")
    # Types of scikit-learn itself are code of an installed, pinned package; anything else is refused by skops.
    trusted = [name for name in get_untrusted_types(file=file) if name.startswith("sklearn.") or name == "numpy.dtype"]
    return _sklearn_scorer(load(file, trusted=trusted), manifest)


def _load_joblib(file: Path, manifest: Manifest, features: Schema):
    import joblib

    return _sklearn_scorer(joblib.load(file), manifest)


def _sklearn_scorer(pipeline, manifest: Manifest):
    if manifest.is_classification:
        return lambda columns: pipeline.predict_proba(as_frame(columns))
    return lambda columns: pipeline.predict(as_frame(columns))
