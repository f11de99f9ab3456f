"""From a target column to classes and their positions: the one place where training and evaluation read labels."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from loopline.components.data.schema import kind_of
from loopline.components.errors import InputError

#: An integer column with more distinct values than this is a quantity, not a label.
MAX_INTEGER_CLASSES = 20

Column = pa.Array | pa.ChunkedArray


def infer_task(column: Column) -> str:
    """Say what kind of prediction a target column asks for.

    Args:
        column: The target, shape (rows,); missing values are ignored.

    Returns:
        ``binary`` or ``multiclass`` for text, booleans and integers of at most ``MAX_INTEGER_CLASSES`` distinct values;
        ``regression`` for other numbers. Floats are always ``regression``.

    Raises:
        InputError: The column holds fewer than two distinct values, or timestamps.
    """
    column, kind = _plain(column)
    distinct = pc.count_distinct(column, mode="only_valid").as_py()
    if distinct < 2:
        raise InputError(f"The target has {distinct} distinct value(s): give a column with at least two.")
    if kind == "number" or (kind == "integer" and distinct > MAX_INTEGER_CLASSES):
        return "regression"
    return "binary" if distinct == 2 else "multiclass"


def find_classes(column: Column) -> list:
    """List the classes of a target column.

    Args:
        column: The target, shape (rows,); missing values are ignored.

    Returns:
        The distinct values, sorted, all text, all integers or all booleans; whole floats are given as integers, since
        integers that passed through pandas with a missing value among them arrive as floats.

    Raises:
        InputError: The column holds fractions or timestamps.
    """
    column, kind = _plain(column)
    if kind == "number":
        column = _whole(column)
    return sorted(pc.unique(pc.drop_null(column)).to_pylist())


def class_positions(column: Column, classes: Sequence) -> np.ndarray:
    """Turn labels into the positions of their classes.

    Args:
        column: The target, shape (rows,), without missing values.
        classes: The classes in the order of the probabilities: text, integers or booleans.

    Returns:
        Integers of shape (rows,), 0 for the first class.

    Raises:
        InputError: A label is missing, is none of the classes, or is of another kind than they are.
    """
    column, kind = _plain(column)
    if column.null_count:
        raise InputError(f"The target is missing in {column.null_count:,} row(s): leave out rows without a label.")
    wanted = pa.array(list(classes))
    expected = kind_of(wanted.type)
    if kind == "number" and expected == "integer":
        column, kind = _whole(column), "integer"
    if kind != expected and len(column):
        raise InputError(
            f"The target holds values of kind {kind} but the classes {_show(classes)} are of kind {expected}: "
            "convert the column the way it was at training."
        )
    positions = pc.index_in(column.cast(wanted.type), wanted)
    if positions.null_count:
        unseen = pc.unique(column.filter(pc.is_null(positions))).to_pylist()
        raise InputError(
            f"The target holds {_show(unseen)}, which is not among the classes {_show(classes)}: "
            "leave these rows out or train with them."
        )
    return positions.to_numpy().astype(np.int64)


def is_labeled(column: Column) -> np.ndarray:
    """Say which rows have a label.

    Args:
        column: The target, shape (rows,).

    Returns:
        Booleans of shape (rows,), False where the value is null or not a number.
    """
    return np.asarray(_plain(column)[0].is_valid())


def _plain(column: Column) -> tuple[pa.Array, str]:
    """Return the column in one piece, without dictionary encoding and with NaN as null, and its kind."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        # Some versions of pyarrow give a chunked array back when there is no chunk.
        column = column if isinstance(column, pa.Array) else pa.concat_arrays(column.chunks)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = kind_of(column.type)
    if kind == "timestamp":
        raise InputError("The target holds timestamps: predict a number, for example the days until then.")
    if kind == "number":
        column = column.cast(pa.float64(), safe=False)
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    elif kind == "category":
        column = column.cast(pa.string())
    elif kind == "integer":
        column = column.cast(pa.int64())
    return column, kind


def _whole(column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        fraction = next(value for value in column.drop_null().to_pylist() if not float(value).is_integer())
        raise InputError(
            f"The target holds the fraction {fraction}, which is no class: use regression or labels."
        ) from None


def _show(values: Sequence) -> str:
    shown = ", ".join(repr(value) for value in list(values)[:10])
    return shown + (f" and {len(values) - 10} more" if len(values) > 10 else "")
