"""Values in other types: what has a place there, and what is lost."""

import pyarrow as pa
import pytest

from loopline.components.data.casting import fit


@pytest.mark.parametrize(
    ("values", "wanted", "expected"),
    [
        (pa.array([0.0, 200.0, 255.0, 256.0, -1.0, 0.5]), pa.uint8(), [0, 200, 255, None, None, None]),
        (pa.array([-128.0, 127.0, 128.0, -129.0]), pa.int8(), [-128, 127, None, None]),
        (pa.array([2.0**64, 2.0**63]), pa.uint64(), [None, 2**63]),
        (pa.array([3_000_000_000, 5], pa.uint32()), pa.int32(), [None, 5]),
        (pa.array([-1, 5, None], pa.int32()), pa.uint32(), [None, 5, None]),
        (pa.array([2**64 - 1, 2**63, 2**63 - 1], pa.uint64()), pa.int64(), [None, None, 2**63 - 1]),
        (pa.array([-1, 2**62 + 1], pa.int64()), pa.uint64(), [None, 2**62 + 1]),
        (pa.array([300, -1, 255], pa.int64()), pa.uint8(), [None, None, 255]),
        (pa.chunked_array([[-1, 3], [4]], pa.int16()), pa.uint16(), [None, 3, 4]),
    ],
)
def test_whole_numbers_keep_to_the_range_of_their_type(values, wanted, expected):
    fitted, lost = fit(values, wanted)
    assert fitted.type == wanted
    assert fitted.to_pylist() == expected
    assert lost == expected.count(None) - values.null_count
