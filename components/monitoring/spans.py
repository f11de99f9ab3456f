"""Spans of time to look at a window by."""

import numpy as np

#: Lengths that people count time in, in seconds: a minute to four weeks.
_LENGTHS = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400, 28 * 86400)
#: The most spans of one window.
MOST = 16


def divide_time(time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divide rows into spans of one round length.

    Args:
        time: When, ``datetime64[us]`` in UTC, shape (rows,), at least one.

    Returns:
        The span of each row, shape (rows,), and the spans' starts and the last one's end, ``datetime64[s]``, one more
        than there are spans.
    """
    seconds = time.astype("datetime64[s]").astype(np.int64)
    first, last = int(seconds.min()), int(seconds.max())
    length = next((one for one in _LENGTHS if last // one - first // one < MOST), (last - first) // MOST + 1)
    start = first // length * length
    spans = (seconds - start) // length
    edges = start + length * np.arange(int(spans.max()) + 2)
    return spans, edges.astype("datetime64[s]")
