"""Windows of time, and the sentences about those that make no sense."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from loopline.components.errors import InputError
from loopline.components.monitoring.window import Window, read_window

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end", "hours", "expected"),
    [
        ("2026-11-24T00:00:00+00:00", "2026-11-24T12:00:00+00:00", 0, Window(NOON - timedelta(hours=12), NOON)),
        ("", "2026-11-24T12:00:00Z", 24, Window(NOON - timedelta(hours=24), NOON)),
        ("", "2026-11-24T14:00:00+02:00", 0.5, Window(NOON - timedelta(minutes=30), NOON)),
        (" 2026-11-24 ", "2026-11-24T12:00", 7, Window(NOON.replace(hour=0), NOON)),
    ],
)
def test_windows_are_in_utc(start, end, hours, expected):
    window = read_window(start, end, hours)
    assert window == expected
    assert window.start.utcoffset() == timedelta(0)
    assert read_window(*window.to_dict().values(), 0) == window


def test_a_window_without_an_end_ends_now():
    before = datetime.now(UTC)
    window = read_window("", "", 24)
    assert before <= window.end <= datetime.now(UTC)
    assert window.end - window.start == timedelta(hours=24)


@pytest.mark.parametrize(
    ("start", "end", "hours", "words"),
    [
        ("yesterday", "", 24, "start 'yesterday' is no instant: write it like"),
        ("", "2026-13-01", 24, "end '2026-13-01' is no instant"),
        ("0001-01-01T00:00+14:00", "", 24, "is no instant"),
        ("", "", 0, "hours is 0: give"),
        ("", "", -3, "hours is -3"),
        ("", "", math.nan, "hours is nan"),
        ("", "", math.inf, "hours is inf"),
        ("", "", 1e300, "hours is 1e[+]300"),
        ("2026-11-25", "2026-11-24", 24, "not after its start 2026-11-25"),
        ("2026-11-24", "2026-11-24", 24, "not after its start"),
    ],
)
def test_nonsense_gets_one_sentence(start, end, hours, words):
    with pytest.raises(InputError, match=words):
        read_window(start, end, hours)
