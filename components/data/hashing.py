"""Hash the rows of a table by their content: the same in every process, batch, order and table."""

import hashlib

import numpy as np
import pandas as pd
import pyarrow as pa


def row_hashes(batch: pa.RecordBatch) -> np.ndarray:
    """Hash rows so that equal rows hash alike, in whatever batch and order of columns they come.

    Args:
        batch: Rows of any types; a value of another type is another value.

    Returns:
        A 64-bit hash of each row, uint64, shape (rows,).
    """
    columns = {}
    for number in sorted(range(batch.num_columns), key=batch.schema.names.__getitem__):
        values = _plain(batch.column(number))
        if pa.types.is_integer(values.type):
            # Pandas holds integers as floats in a batch that has a gap and not in others, and hashes them differently.
            columns[f"gap {number}"] = values.is_null().to_numpy(zero_copy_only=False)
            values = values.fill_null(0)
        columns[f"value {number}"] = values.to_pandas()
    # Without a copy the columns of one type are not put together into one block, which took a third of the time.
    return pd.util.hash_pandas_object(pd.DataFrame(columns, copy=False), index=False).to_numpy()


def seeded(hashes: np.ndarray, seed: int) -> np.ndarray:
    """Mix a seed into hashes, so that each seed ranks the same rows differently.

    The mixing is the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): one to one, so distinct hashes stay
    distinct.

    Args:
        hashes: 64-bit hashes, shape (rows,).
        seed: Any integer.

    Returns:
        Other 64-bit hashes, uint64, shape (rows,).
    """
    salt = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:8], "big")
    mixed = hashes ^ np.uint64(salt)
    mixed ^= mixed >> np.uint64(30)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= mixed >> np.uint64(27)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _plain(values: pa.Array) -> pa.Array:
    """Turn what pandas would hold as Python objects into types that hash alike with and without gaps."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_boolean(values.type):
        return values.cast(pa.int8())
    if pa.types.is_date(values.type):
        return values.cast(pa.timestamp("ms"))
    if pa.types.is_decimal(values.type):
        return values.cast(pa.string())
    if pa.types.is_nested(values.type) or pa.types.is_time(values.type):
        return pa.array([repr(value) for value in values.to_pylist()], pa.string())
    return values
