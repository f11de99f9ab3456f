"""Turn columns into the types that are wanted, whatever wrote them, and say what did not fit."""

import pyarrow as pa
import pyarrow.compute as pc

_NUMBER = r"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*$"


def fit(values: pa.ChunkedArray | pa.Array, wanted: pa.DataType) -> tuple[pa.ChunkedArray | pa.Array, int]:
    """Turn values into another type, those that have no place in it into null.

    Args:
        values: Any values.
        wanted: Text, a boolean, an integer, a float or an instant.

    Returns:
        The values in the wanted type, and how many were lost.
    """
    if values.type == wanted:
        return values, 0
    fitted = _cast(values, wanted)
    return fitted, fitted.null_count - values.null_count


def _cast(values, wanted: pa.DataType):
    type_ = values.type
    if pa.types.is_dictionary(type_):
        return _cast(values.cast(type_.value_type), wanted)
    if pa.types.is_large_string(type_):
        return _cast(values.cast(pa.string()), wanted)
    if pa.types.is_string(wanted) and not pa.types.is_nested(type_) and not pa.types.is_binary(type_):
        return values.cast(wanted)
    if pa.types.is_timestamp(wanted) and pa.types.is_timestamp(type_):
        # An instant without a zone is UTC.
        values = values if type_.tz else pc.assume_timezone(values, "UTC")
        return values.cast(wanted, safe=False)
    if pa.types.is_string(type_) and pa.types.is_boolean(wanted):
        known = pc.match_substring_regex(values, "^(true|false|[01])$", ignore_case=True)
        return pc.if_else(known, values, None).cast(wanted)
    if pa.types.is_string(type_) and (pa.types.is_floating(wanted) or pa.types.is_integer(wanted)):
        known = pc.match_substring_regex(values, _NUMBER)
        return _from_floats(pc.utf8_trim_whitespace(pc.if_else(known, values, None)).cast(pa.float64()), wanted)
    if _is_number(type_) and (_is_number(wanted) or pa.types.is_boolean(wanted)):
        if pa.types.is_integer(type_) and pa.types.is_integer(wanted):
            return _from_integers(values, wanted)
        return _from_floats(values.cast(pa.float64(), safe=False), wanted)
    return pa.nulls(len(values), wanted)


def _from_integers(values, wanted: pa.DataType):
    wrapped = values.cast(wanted, safe=False)
    same = pc.equal(wrapped.cast(values.type, safe=False), values)
    return pc.if_else(pc.and_(same, pc.equal(pc.sign(wrapped), pc.sign(values))), wrapped, None)


def _from_floats(values, wanted: pa.DataType):
    if pa.types.is_floating(wanted):
        return values.cast(wanted, safe=False)
    if pa.types.is_boolean(wanted):
        return pc.if_else(pc.is_in(values, value_set=pa.array([0.0, 1.0])), values, None).cast(wanted)
    signed = pa.types.is_signed_integer(wanted)
    beyond = 2.0 ** (wanted.bit_width - signed)
    inside = pc.and_(pc.less(values, beyond), pc.greater_equal(values, -beyond if signed else 0.0))
    whole = pc.and_(pc.equal(values, pc.floor(values)), inside)
    return pc.if_else(whole, values, None).cast(wanted)


def _is_number(type_: pa.DataType) -> bool:
    return (
        pa.types.is_integer(type_)
        or pa.types.is_floating(type_)
        or pa.types.is_boolean(type_)
        or pa.types.is_decimal(type_)
    )
