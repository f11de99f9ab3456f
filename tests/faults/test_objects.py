"""Faults between steps and a real S3 server (moto's), and a file server over HTTPS with a certificate of its own."""

import itertools

import pytest
from faults_chosen import chosen, deaths
from faults_objects import BUCKET, CASES, Case, Services, fill
from faults_proxy import HttpProxy, TcpProxy
from faults_steps import Fault
from faults_world import file_server, own_certificate, s3_client

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def services(world, s3):
    authority, both = own_certificate(world.folder)
    with file_server(world.folder) as files:
        found = Services(world, s3, s3_client(s3, BUCKET), files, both, authority)
        fill(found)
        yield found


@pytest.fixture
def make(services):
    """Make a case, with outputs of its own."""
    return lambda name: CASES[name](services, name.split()[0], next(_numbers))


def http(case: Case) -> HttpProxy:
    return HttpProxy(case.url, None if case.variable else case.services.certificate)


def _settle(case: Case, ended) -> None:
    """A run under a fault succeeded, or told what is wrong in a sentence and succeeds when run again."""
    if ended.status == 0:
        case.check(True, ended)
    else:
        assert "canary" not in ended.sentence
        case.check(False)
    again = case.run()
    assert again.status == 0, again.said
    case.check(True, again)


@pytest.mark.parametrize("name", chosen("killed", CASES, 2))
def test_killed_after_any_request(make, name):
    for death in deaths():
        case = make(name)
        ended = case.run(Fault(death=death, calls="requests"))
        if not ended.killed:
            assert ended.status == 0, ended.said
            break
        _settle(case, case.run())
    assert death > 1, "there was nothing to be killed at"


@pytest.mark.parametrize(
    ("status", "name"), [(status, name) for status in (429, 500, 503) for name in chosen(str(status), CASES)]
)
def test_a_server_that_is_busy_or_broken_for_a_while(make, name, status):
    """Two requests fail, and the answer asks to wait for an hour: the step asks again soon and succeeds."""
    case = make(name)
    with http(case) as proxy:
        proxy.answer(status, times=2, retry_after="3600")
        ended = case.run(url=proxy.url)
        assert proxy.met == 2
        assert ended.status == 0, ended.said
        case.check(True, ended)


@pytest.mark.parametrize(
    ("status", "name"), [(status, name) for status in (429, 503) for name in chosen(f"always {status}", CASES)]
)
def test_a_server_that_stays_busy(make, name, status):
    case = make(name)
    with http(case) as proxy:
        proxy.answer(status, retry_after="3600")
        ended = case.run(url=proxy.url)
        assert ended.status == 1 and str(status) in ended.sentence and "busy or away" in ended.sentence
        _settle(case, ended)


@pytest.mark.parametrize("name", chosen("lost", ["score_partition from S3 to S3"], 1))
def test_the_answer_to_a_write_is_lost(make, name):
    case = make(name)
    with http(case) as proxy:
        proxy.lose(times=1, method="PUT")
        ended = case.run(url=proxy.url)
        assert proxy.met == 1
        assert ended.status == 0, ended.said
        case.check(True, ended)


@pytest.mark.parametrize("name", chosen("cut", CASES))
def test_the_connection_is_cut_in_the_middle(make, name):
    case = make(name)
    with http(case) as server, TcpProxy(server.url) as proxy:
        # Of what is written where it writes, else of what is read.
        proxy.cut(**({"up": 4_000} if case.writes else {"down": 3_000}))
        ended = case.run(url=proxy.url)
        assert proxy.connections
        if not case.writes and case.expected:
            assert ended.status == 1, ended.said
        _settle(case, ended)


@pytest.mark.parametrize("name", chosen("half", [name for name, kind in CASES.items() if kind.expected], 2))
def test_half_an_answer_is_not_taken_for_all_of_it(make, name):
    case = make(name)
    with http(case) as proxy:
        proxy.halve(method="GET", path=r"\.(csv|parquet)")
        ended = case.run(url=proxy.url)
        assert proxy.met
        assert ended.status in (1, 2), "half a file was taken for a whole one"
        _settle(case, ended)


@pytest.mark.parametrize("name", chosen("stall", CASES))
def test_a_server_that_goes_silent(make, name):
    case = make(name)
    with http(case) as server, TcpProxy(server.url) as proxy:
        proxy.stall(**({"up": 4_000} if case.writes else {"down": 2_500}))
        ended = case.run(Fault(seconds=0.5), url=proxy.url)
        assert ended.status in (0, 1), ended.said
        _settle(case, ended)


@pytest.mark.parametrize("name", chosen("slow", CASES))
def test_a_slow_server(make, name):
    case = make(name)
    with http(case) as server, TcpProxy(server.url) as proxy:
        proxy.slow(300_000)
        ended = case.run(url=proxy.url)
        assert ended.status == 0, ended.said
        case.check(True, ended)


@pytest.mark.parametrize("name", chosen("down", CASES))
def test_down_and_back(make, name):
    case = make(name)
    with http(case) as server, TcpProxy(server.url) as proxy:
        proxy.refuse()
        ended = case.run(url=proxy.url)
        assert ended.status == 1 and ended.sentence
        case.check(False)
        proxy.heal()
        again = case.run(url=proxy.url)
        assert again.status == 0, again.said
        case.check(True, again)


def test_two_at_once_score_a_partition_once(make, services):
    case = make("score_partition from S3 to S3")
    runs = [("score_partition", Fault(variables=services.s3), None, case.inputs)] * 2
    for ended in services.world.steps.run_together(runs):
        assert ended.status == 0, ended.said
        case.check(True, ended)


def test_a_certificate_that_nobody_vouches_for(make, services):
    case = make("ingest_data over HTTPS")
    with http(case) as proxy:
        ended = case.run(Fault(variables={"SSL_CERT_FILE": ""}), url=proxy.url)
        assert "is not trusted: set SSL_CERT_FILE" in ended.sentence
        assert not proxy.requests, "nothing was asked of it"
