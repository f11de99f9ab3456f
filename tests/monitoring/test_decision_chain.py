"""Decisions about what the steps before really write: traffic of a real model, collected, tested and measured."""

from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from monitoring_models import FEATURES, START, make_events, write_traffic

from loopline.components.data.extend import extend
from loopline.components.data.tables import write_table
from loopline.components.monitoring.collect import collect
from loopline.components.monitoring.decide import decide
from loopline.components.monitoring.drift import DriftSettings, detect
from loopline.components.monitoring.evidence import read_evidence
from loopline.components.monitoring.performance import measure
from loopline.components.monitoring.policy import Policy
from loopline.components.monitoring.service import HEALTHY, Service, SiteService
from loopline.components.monitoring.slo import Slo
from loopline.components.monitoring.window import Window

WINDOW = Window(START, START + timedelta(hours=2))


@pytest.fixture
def watch(trained, tmp_path):
    """Log events, run the steps on them, and decide."""

    def run(events, truth=True):
        model, log = trained(), tmp_path / "log"
        if events is not None:
            known = write_traffic(log, model, events)
            write_table(tmp_path / "truth.parquet", known)
        counts, drift, performance, service = (
            tmp_path / name for name in ("counts", "drift", "performance", "service")
        )
        log.mkdir(exist_ok=True)
        traffic = tmp_path / "traffic.parquet"
        collect(
            model, traffic, "flights", str(log), WINDOW, truth=str(tmp_path / "truth.parquet") if truth else ""
        ).save(counts)
        detect(model, traffic, DriftSettings(engine="scipy")).save(drift)
        measure(model, traffic).save(performance)
        sites = {"edge": SiteService(HEALTHY, requests=400)}
        Service(HEALTHY, "400 requests within the objectives.", "metrics", WINDOW.to_dict(), sites, Slo()).save(service)
        return decide(read_evidence(counts, drift, performance, service), [], Policy())

    return run


def thousandfold(events):
    position = events.schema.get_field_index("distance")
    return events.set_column(position, "distance", pc.multiply(events.column("distance"), 1000.0))


@pytest.mark.parametrize(
    ("events", "truth", "verdict", "signals"),
    [
        (make_events(2_000, seed=5), True, "wait", ("ok", "none", "steady")),
        (make_events(2_000, seed=6, flipped=True), True, "retrain", ("ok", "none", "worse")),
        (make_events(2_000, seed=7, flipped=True), False, "wait", ("ok", "none", "unknown")),
        (thousandfold(make_events(2_000, seed=8)), True, "alert", ("broken", "broken", "worse")),
        (None, False, "wait", ("empty", "too_few", "unknown")),
    ],
    ids=["as trained", "flipped", "flipped, no truth yet", "another unit", "no traffic"],
)
def test_a_window_of_real_traffic_gets_its_verdict(watch, events, truth, verdict, signals):
    found = watch(events, truth)
    assert found.verdict == verdict, (found.reasons, found.alerts)
    assert tuple(found.signals[name] for name in ("data", "drift", "performance")) == signals
    if verdict == "alert":
        assert any("distance" in alert for alert in found.alerts)


def test_collected_traffic_extends_the_history(watch, tmp_path):
    watch(make_events(1_000, seed=5))
    history = make_events(3_000, seed=1)
    write_table(tmp_path / "history.parquet", history)
    out = tmp_path / "extended.parquet"
    found = extend(tmp_path / "history.parquet", tmp_path / "traffic.parquet", out, "late")
    table = pq.read_table(out)
    assert (found.rows, found.added, table.num_rows) == (4_000, 1_000, 4_000)
    assert table.schema.names == [*FEATURES, "late", "loopline_time"]
    assert table.schema.field("hour").type == pa.int64()
    assert table.column("late").null_count == 0
