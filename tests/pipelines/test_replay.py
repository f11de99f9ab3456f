"""Sending rows to sites: real model servers answer, and what is not answered is counted and not lost."""

import datetime
import threading

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from delivery_models import train_small
from serving_models import IMAGE, release
from site_relay import SiteRelay
from training_tables import make_table

from loopline.components.delivery.model_server import serve
from loopline.components.errors import InputError
from loopline.components.model.predictor import agree
from loopline.pipelines.replay.control import score_control
from loopline.pipelines.replay.request import Request
from loopline.pipelines.replay.send import send
from loopline.pipelines.sites.ports import free_port

NAME = "small-late"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    trained = train_small(tmp_path_factory.mktemp("trained"))
    return release(trained, tmp_path_factory.mktemp("released") / "models", 3)


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    return tmp_path_factory.mktemp("traffic")


@pytest.fixture(scope="module")
def server(model, logged):
    traffic = {"LOOPLINE_TRAFFIC_URI": str(logged), "LOOPLINE_TRAFFIC_FLUSH_S": "0.1"}
    with serve(model, LOOPLINE_SITE="edge", LOOPLINE_IMAGE_DIGEST=IMAGE, **traffic) as running:
        yield running


def make_requests(days=3, hours=4, rows=5, sites=("edge",), tag="a") -> list[Request]:
    requests = []
    for day in range(1, days + 1):
        for hour in range(hours):
            for site in sites:
                table = make_table(rows, len(requests))
                rows_ = table.select(["size", "count", "color"])
                name = f"2013-06-{day:02}T{hour:02}-{site}-{tag}"
                date = datetime.date(2013, 6, day)
                requests.append(Request(name, site, date, rows_, table.column("late").to_numpy()))
    return requests


@pytest.mark.parametrize("connections", [1, 3])
def test_answers_are_those_of_the_served_model_in_the_order_of_the_requests(server, model, connections):
    requests = make_requests(tag=f"order{connections}")
    sent = send(requests, {"edge": server.url}, NAME, connections)
    assert [reply.request.id for reply in sent.replies] == [request.id for request in requests]
    assert agree(sent.scores, score_control(model, requests)).all()
    assert np.array_equal(sent.truth, np.concatenate([request.truth for request in requests]))
    assert sent.days.tolist() == [request.day for request in requests for _ in range(5)]
    rows = sent.rows.to_pydict()
    assert list(zip(rows["request_id"], rows["row"], strict=True)) == [
        (request.id, row) for request in requests for row in range(5)
    ]
    assert set(rows["site"]) == {"edge"} and set(rows["version"]) == {"3"} and set(rows["image_digest"]) == {IMAGE}
    site = sent.sites["edge"]
    assert (site.requests, site.failed, site.retried, site.problem) == (12, 0, 0, "")
    assert site.versions == {"3": 60} and site.images == {IMAGE: 60}
    assert 0 < site.p50_ms <= site.p99_ms


def test_the_window_holds_every_row_that_was_logged(server, logged):
    requests = make_requests(days=2, tag="window")
    sent = send(requests, {"edge": server.url}, NAME)
    deadline = datetime.datetime.now() + datetime.timedelta(seconds=10)
    mine = pa.table({"loopline_request_id": []})
    while mine.num_rows < 40 and datetime.datetime.now() < deadline:
        table = ds.dataset(sorted(logged.rglob("*.parquet"))).to_table() if any(logged.rglob("*.parquet")) else mine
        if table.num_rows:
            mine = table.filter(pa.compute.match_substring(table["loopline_request_id"], "-window"))
    times = mine["loopline_time"].to_pylist()
    assert len(times) == 40
    assert sent.start <= min(times) and max(times) < sent.end
    assert set(mine["loopline_request_id"].to_pylist()) == {request.id for request in requests}


def test_a_day_begins_when_the_day_before_is_answered_everywhere(server):
    requests = make_requests(days=4, hours=2, sites=("edge", "slow"))
    with SiteRelay(server.url) as near, SiteRelay(server.url) as far:
        seen = []

        def watched():
            for request in requests:
                seen.append((len(near.requests), len(far.requests)))
                yield request

        sent = send(watched(), {"edge": near.url, "slow": far.url}, NAME)
    assert len(sent.answered) == len(requests)
    for position, asked in enumerate(seen):
        # The first request of a day is drawn to find that the day before is complete, which then is sent.
        days_before = position // 4 - (position % 4 == 0 and position > 0)
        assert asked == (2 * days_before, 2 * days_before)


def test_a_site_that_is_away_for_a_moment_loses_nothing(server):
    requests = make_requests(days=1, hours=3)
    with SiteRelay(server.url) as relay:
        relay.away = True
        back = threading.Timer(0.3, lambda: setattr(relay, "away", False))
        back.start()
        sent = send(requests, {"edge": relay.url}, NAME, waits_s=[0.05] * 100)
        back.join()
    site = sent.sites["edge"]
    assert (site.requests, site.failed) == (3, 0)
    assert site.retried >= 1
    assert "HTTP 503" in site.problem


def test_a_dead_site_is_counted_and_does_not_hold_up_the_others(server):
    requests = make_requests(days=2, hours=3, sites=("edge", "cloud"))
    gone = f"http://127.0.0.1:{free_port()}"
    sent = send(requests, {"edge": server.url, "cloud": gone}, NAME, waits_s=(0.01, 0.01))
    assert {name: site.failed for name, site in sent.sites.items()} == {"edge": 0, "cloud": 6}
    cloud = sent.sites["cloud"]
    assert cloud.retried == 2  # all attempts are for the first request
    assert "No model server answers" in cloud.problem
    assert (cloud.p50_ms, cloud.p99_ms, cloud.versions) == (None, None, {})
    assert len(sent.scores) == len(sent.truth) == len(sent.days) == sent.rows.num_rows == 30
    assert {request.site for request in sent.requests} == {"edge"}


def test_a_request_that_is_refused_is_not_sent_again(server):
    requests = make_requests(days=1, hours=2)
    lacking = Request("lacking", "edge", requests[0].day, requests[0].rows.drop_columns("size"), requests[0].truth)
    sent = send([requests[0], lacking, requests[1]], {"edge": server.url}, NAME)
    assert [reply.attempts for reply in sent.replies] == [1, 1, 1]
    assert [reply.answer is None for reply in sent.replies] == [False, True, False]
    assert "HTTP 400: 'size' missing from the inputs" in sent.sites["edge"].problem
    assert (sent.sites["edge"].failed, sent.sites["edge"].retried) == (1, 0)


def test_nothing_of_a_day_with_an_unknown_site_is_sent(server):
    requests = make_requests(days=1, sites=("edge", "moon"))
    with SiteRelay(server.url) as relay:
        with pytest.raises(InputError, match="no URL for site moon"):
            send(requests, {"edge": relay.url}, NAME)
        assert relay.requests == []


def test_days_out_of_order_are_refused(server):
    with pytest.raises(InputError, match="2013-06-01 come after those of 2013-06-03"):
        send([*make_requests(), make_requests()[0]], {"edge": server.url}, NAME)


def test_no_request_is_no_row():
    sent = send([], {}, NAME)
    assert (len(sent.scores), len(sent.truth), len(sent.days), sent.rows.num_rows, sent.sites) == (0, 0, 0, 0, {})
    with pytest.raises(InputError, match="no requests to score"):
        score_control("nowhere", sent.requests)
