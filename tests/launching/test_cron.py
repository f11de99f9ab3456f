"""Cron expressions: read as the server's parser reads them, told in words, and refused where they would surprise."""

import random
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from pipeline_server.controller import GoCron

from loopline.components.errors import InputError
from loopline.pipelines.launching.cron import Cron
from loopline.pipelines.launching.timing import Timing

BERLIN = ZoneInfo("Europe/Berlin")


def times(text: str, after: str, count: int, zone: ZoneInfo = BERLIN) -> list[str]:
    moment, found = datetime.fromisoformat(after).replace(tzinfo=zone), []
    for _ in range(count):
        moment = Cron.parse(text).first_after(moment, zone)
        found.append(f"{moment:%a %d %b %H:%M:%S %Z}")
    return found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 0 2 * * *", "every day at 02:00"),
        ("30 5 2,14 * * ?", "every day at 02:05:30 and 14:05:30"),
        ("0 0 * * * *", "every hour"),
        ("0 10 * * * *", "every hour at minute 10"),
        ("0 */15 * * * *", "every 15 minutes"),
        ("0 0/20 8-17 * * MON-fri", "every 20 minutes from 08:00 to 17:59, Monday to Friday"),
        ("0 0 */2 * * *", "every 2 hours from 00:00"),
        ("0 30 1/6 * * *", "every day at 01:30, 07:30, 13:30 and 19:30"),
        ("0 0 6 * * 1,3,5", "every Monday, Wednesday and Friday at 06:00"),
        ("0 0 6 * * sun", "every Sunday at 06:00"),
        ("0 0 6 1,15 * *", "on the 1st and 15th of every month at 06:00"),
        ("0 0 6 2 jan,jul *", "on the 2nd of January and July at 06:00"),
        ("0 0 6 * mar-may *", "every day in March to May at 06:00"),
        ("0 0 6 13 * fri", "on the 13th of every month and every Friday at 06:00"),
        ("0 0 6 */10 * fri", "on the 1st, 11th, 21st and 31st of every month where it is a Friday at 06:00"),
        ("@weekly", "every Sunday at 00:00"),
        ("@yearly", "on the 1st of January at 00:00"),
    ],
)
def test_words(text, words):
    assert Timing.read(text).words == words


@pytest.mark.parametrize(
    ("text", "words"), [("6h", "every 6 hours"), ("1d", "every day"), ("90m", "every 1 hour and 30 minutes")]
)
def test_words_of_periods(text, words):
    assert Timing.read(every=text).words == words


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0 2 * * *", 'would run every hour at minute 2. To run every day at 02:00 write "0 0 2 * * *".'),
        ("*/5 * * * *", 'would run 12 times a minute. To run every 5 minutes write "0 */5 * * * *".'),
        ("30 4 * * 1-5", 'To run Monday to Friday at 04:30 write "0 30 4 * * 1-5".'),
        ("0 3 1 * *", 'would run every day at 01:03. To run on the 1st of every month at 03:00 write "0 0 3 1 * *".'),
        ("0 24 * * *", "has five fields, and the server reads seconds first"),
        ("0 0 2 * *  ? *", "has 7 fields: write six without the year: second, minute, hour,"),
        ("0 0 2", "has 3 fields: write six: second,"),
        ("* 0 2 * * *", "would run more than once a minute: write one second, like 0, in the first field"),
        ("0 60 2 * * *", "the minute is '60' but must be 0 to 59"),
        ("0 0 24 * * *", "the hour is '24' but must be 0 to 23"),
        ("0 0 2 0 * *", "the day of the month is '0' but must be 1 to 31"),
        ("0 0 2 * 13 *", "the month is '13' but must be 1 to 12, or jan to dec"),
        ("0 0 2 * * 7", "the weekday '7' is not known to the server: Sunday is 0 or sun"),
        ("0 0 2 * * 5-7", "the weekday '5-7' is not known to the server"),
        ("0 0 2 L * *", "the day of the month is 'L' but must be"),
        ("0 0 5-2 * * *", "the hour '5-2' ends before it begins"),
        ("0 0 1,,2 * * *", "the hour is ''"),
        ("0 0 */0 * * *", "the step '0' of the hour '*/0' must be a whole number from 1 on"),
        ("0 0 1/2/3 * * *", "the step '2/3' of the hour"),
        ("0 0 1-2-3 * * *", "the hour is '2-3' in '1-2-3'"),
        ("0 0 -1 * * *", "the hour is ''"),
        ("0 0 2 30 feb *", "never comes about: no month it names has such a day"),
        ("TZ=Europe/Berlin 0 0 2 * * *", "names a time zone, and the server knows its own alone"),
        ("@every 1h", "is not known: write --every 6h"),
        ("@reboot", "is not known: write six fields"),
        ("  ", "A schedule needs its times"),
    ],
)
def test_what_would_be_read_otherwise_is_refused(text, sentence):
    with pytest.raises(InputError) as raised:
        Timing.read(text)
    assert sentence in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["10s", "soon", "0h", "6", "h", "-6h", "6h 6h", "1.5h", "9" * 30 + "d", "99999999999h", "367d"]
)
def test_periods_that_cannot_be_read_are_refused(text):
    with pytest.raises(InputError, match="Period"):
        Timing.read(every=text)
    with pytest.raises(InputError, match="either --cron"):
        Timing.read("0 0 2 * * *", text)


def test_clocks_are_set_forward_and_back():
    """In Berlin 02:30 does not come on 29 March 2026, and twice on 25 October, as in Go."""
    assert times("0 30 2 * * *", "2026-03-27 12:00", 3) == [
        "Sat 28 Mar 02:30:00 CET", "Mon 30 Mar 02:30:00 CEST", "Tue 31 Mar 02:30:00 CEST",
    ]  # fmt: skip
    assert times("0 30 2 * * *", "2026-10-24 12:00", 3) == [
        "Sun 25 Oct 02:30:00 CEST", "Sun 25 Oct 02:30:00 CET", "Mon 26 Oct 02:30:00 CET",
    ]  # fmt: skip
    assert times("0 0 */12 * * *", "2026-03-28 13:00", 3) == [
        "Sun 29 Mar 00:00:00 CET", "Sun 29 Mar 12:00:00 CEST", "Mon 30 Mar 00:00:00 CEST",
    ]  # fmt: skip


@pytest.mark.parametrize("zone", ["Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo", "UTC"])
def test_zones_off_the_hour(zone):
    zone = ZoneInfo(zone)
    found = list(islice(Timing(Cron.parse("0 45 1 * * *"), 0, datetime(2026, 3, 1, tzinfo=UTC)).times(
        datetime(2026, 3, 1, tzinfo=UTC), zone), 60))  # fmt: skip
    assert {(moment.hour, moment.minute) for moment in found} == {(1, 45)}
    assert len({moment.date() for moment in found}) >= 59


def _random_field(draw: random.Random, low: int, high: int, names: list[str]) -> str:
    def number() -> str:
        value = draw.randint(low - (draw.random() < 0.02), high + (draw.random() < 0.02))
        return draw.choice([names[value - low], names[value - low].upper()]) if (
            names and low <= value <= high and draw.random() < 0.3
        ) else str(value)  # fmt: skip

    def part() -> str:
        span = draw.choice(["*", "?", number(), number(), f"{number()}-{number()}"])
        return f"{span}/{draw.randint(0, 9)}" if draw.random() < 0.25 else span

    return ",".join(part() for _ in range(draw.choice([1, 1, 1, 2, 3])))


def test_it_agrees_with_the_servers_parser_on_anything_like_an_expression():
    """Both read thousands of expressions; the other reader is written for the tests, apart from ours."""
    draw, agreed, refused = random.Random(7), 0, 0
    months, days = "jan feb mar apr may jun jul aug sep oct nov dec", "sun mon tue wed thu fri sat"
    bounds = [(0, 59, ""), (0, 23, ""), (1, 31, ""), (1, 12, months), (0, 6, days)]
    for _ in range(4000):
        fields = [str(draw.randint(0, 59)), *(_random_field(draw, low, high, n.split()) for low, high, n in bounds)]
        text = " ".join(fields)
        try:
            theirs = GoCron(text)
        except ValueError:
            theirs = None
        try:
            ours, problem = Cron.parse(text), ""
        except InputError as error:
            ours, problem = None, str(error)
        if ours is None:
            assert theirs is None or "never comes about" in problem, text
            refused += 1
            continue
        assert theirs is not None, text
        found = [ours.second, ours.minute, ours.hour, ours.day, ours.month, ours.weekday]
        assert [field.values for field in found] == theirs.values, text
        assert [field.star for field in found] == theirs.stars, text
        agreed += 1
    assert agreed > 1000 and refused > 300, (agreed, refused)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "America/New_York"])
def test_its_times_are_the_servers(zone):
    """Over the days on which clocks are changed, against a reader that looks at every minute."""
    draw, zone, compared = random.Random(3), ZoneInfo(zone), 0
    for begin in (datetime(2026, 3, 6, tzinfo=UTC), datetime(2026, 10, 20, tzinfo=UTC)):
        until = begin + timedelta(days=30)
        for _ in range(25):
            minute, hour = draw.choice(["*/20", "30", "0", "5,35"]), draw.choice(["*", "1-3", "2"])
            day, weekday = draw.choice(["*", "*", "*/2", "29"]), draw.choice(["*", "*", "0", "1-5", "sat,sun"])
            text = f"{draw.randint(0, 59)} {minute} {hour} {day} * {weekday}"
            moment = begin
            for _ in range(6):
                theirs = GoCron(text).first_after(moment, zone, until)
                ours = Cron.parse(text).first_after(moment, zone)
                if theirs is None:
                    assert ours is None or ours > until
                    break
                assert ours.astimezone(UTC) == theirs, (text, moment)
                moment, compared = theirs, compared + 1
    assert compared > 200
