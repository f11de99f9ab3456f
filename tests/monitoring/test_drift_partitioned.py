"""Drift over the pieces of a window: the verdict of the window as a whole, through the compiled pipeline."""

import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest
from monitoring_models import START, make_events, make_model, write_traffic
from registry_models import make_model as make_registered

from loopline.components.errors import InputError
from loopline.components.monitoring.collect import collect
from loopline.components.monitoring.drift import DriftSettings, detect
from loopline.components.monitoring.slices import cut_window, read_slice
from loopline.components.monitoring.window import Window
from loopline.components.registry.register import register
from loopline.components.registry.versions import promote
from loopline.pipelines.compile import compile_pipeline
from loopline.pipelines.engine import run_pipeline


@pytest.mark.parametrize(
    ("minutes", "length", "pieces", "cuts"),
    [
        (0, 24, 24, 24),
        (0, 24, 5, 5),
        (30, 3, 24, 4),
        (30, 3, 1, 1),
        (0, 0.5, 24, 1),
        (59, 24 * 365, 100, 100),
    ],
)
def test_pieces_cover_the_window_and_meet_at_full_hours(minutes, length, pieces, cuts):
    start = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    window = Window(start, start + timedelta(hours=length))
    found = [read_slice(text) for text in cut_window(window, pieces)]
    assert len(found) == cuts
    assert (found[0].start, found[-1].end) == (window.start, window.end)
    for before, after in itertools.pairwise(found):
        assert before.end == after.start == after.start.replace(minute=0, second=0, microsecond=0)


def test_what_is_no_piece_is_refused():
    with pytest.raises(InputError, match="pieces is 0: allow one at least"):
        cut_window(Window(START, START + timedelta(hours=1)), 0)
    with pytest.raises(InputError, match="window '2026-03-01' is none: write its start and end"):
        read_slice("2026-03-01")


@pytest.fixture
def champion(tmp_path):
    """A trained model as the registered champion; its figures are another's, which drift does not look at."""
    model = make_model(tmp_path / "trained")
    _, metrics, report = make_registered(tmp_path / "other").paths()
    promote("flights", register(model, metrics, report, "flights"))
    return model


def test_the_verdict_is_that_of_the_whole_window(champion, tmp_path):
    log = tmp_path / "log"
    # More rows than the sample holds, one empty hour in the middle, and another site that sees something else.
    write_traffic(log, champion, make_events(9_000, 5), hours=3)
    write_traffic(
        log, champion, make_events(3_000, 6, shift=1.0), hours=2, site="cloud", start=START + timedelta(hours=4)
    )
    window = Window(START + timedelta(minutes=20), START + timedelta(hours=6))
    file = tmp_path / "drift-partitioned.yaml"
    file.write_text(compile_pipeline("drift-partitioned"))
    arguments = {
        "name": "flights",
        "traffic": str(log),
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
    }
    run = run_pipeline(file, {**arguments, "engine": "scipy", "pieces": 4})
    assert sum(step.startswith("summarize-traffic") for step in run.seconds) == 3
    collect(champion, tmp_path / "rows", "flights", str(log), window)
    whole = detect(champion, tmp_path / "rows", DriftSettings(engine="scipy"))
    assert whole.summary.rows > len(whole.summary.sample.priorities) == 10_000
    assert run.outputs == {"Output": whole.verdict} == {"Output": "drift"}
    [found] = [
        values
        for path in run.folder.rglob("drift")
        if path.is_file() and "verdict" in (values := json.loads(path.read_text()))
    ]
    # Every p-value and effect, to the last digit: they come from the counts and the sample, which add up exactly.
    assert found == json.loads(json.dumps(whole.to_dict()))
