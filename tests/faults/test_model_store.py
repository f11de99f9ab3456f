"""Faults between steps and a real MLflow server with basic authentication, and deaths at every request that writes."""

import itertools

import pytest
from faults_chosen import chosen, deaths
from faults_model_store import CASES, Case
from faults_proxy import HttpProxy, TcpProxy
from faults_steps import Ended, Fault

#: Requests that change something, as the proxy tells them.
_WRITES = {"method": "POST|PUT|PATCH|DELETE", "path": r"^(?!.*/search)"}
_names = itertools.count(1)


@pytest.fixture
def make(world, mlflow):
    """Make a case of a component, with a name of its own in MLflow."""

    def case(component: str) -> Case:
        return CASES[component](world, mlflow, f"case-{next(_names)}", component)

    return case


def _settle(case: Case, ended: Ended) -> None:
    """A run under a fault succeeded, or told what is wrong in a sentence and succeeds when run again."""
    if ended.status == 0:
        case.check(True, ended)
    else:
        assert ended.sentence
        case.check(False)
    again = case.run()
    assert again.status == 0, again.said
    case.check(True, again)


@pytest.mark.parametrize("component", chosen("killed", CASES, always="register_model"))
def test_killed_after_any_request_that_writes(make, component):
    calls = ["nothing"]
    for death in deaths():
        case = make(component)
        ended = case.run(Fault(death=death, calls="requests" if component in _READING else "writes"))
        if not ended.killed:
            assert ended.status == 0, ended.said
            break
        calls.append(ended.calls[-1])
        case.check(False)
        again = case.run()
        assert again.status == 0, f"after {ended.calls[-1]}: {again.said}"
        case.check(True, again)
    assert len(calls) > 1, "there was nothing to be killed at"


#: What writes nothing is killed after every request.
_READING = ("load_model", "check_service")


@pytest.mark.parametrize(
    "component", chosen("lost", [name for name in CASES if name not in _READING], always="register_model")
)
def test_the_answer_to_any_request_that_writes_is_lost(make, component, mlflow):
    """The client asks again, and what it asks for was done already."""
    for lost in deaths():
        case = make(component)
        with HttpProxy(mlflow["MLFLOW_TRACKING_URI"]) as proxy:
            proxy.lose(times=1, skip=lost - 1, **_WRITES)
            ended = case.run(Fault(variables={"MLFLOW_TRACKING_URI": proxy.url}))
            if not proxy.met:
                break
        _settle(case, ended)
    assert lost > 1, "there was no answer to lose"


@pytest.mark.parametrize(
    ("status", "component"), [(status, name) for status in (429, 500, 503) for name in chosen(str(status), CASES)]
)
def test_a_server_that_is_busy_or_broken_for_a_while(make, component, status, mlflow):
    case = make(component)
    with HttpProxy(mlflow["MLFLOW_TRACKING_URI"]) as proxy:
        proxy.answer(status, times=2, retry_after="3600", **({} if component in _READING else _WRITES))
        _settle(case, case.run(Fault(variables={"MLFLOW_TRACKING_URI": proxy.url})))
        assert proxy.met


@pytest.mark.parametrize(
    ("status", "component"), [(status, name) for status in (429, 503) for name in chosen(f"always {status}", CASES)]
)
def test_a_server_that_stays_busy(make, component, status, mlflow):
    case = make(component)
    with HttpProxy(mlflow["MLFLOW_TRACKING_URI"]) as proxy:
        proxy.answer(status, retry_after="3600", **({} if component in _READING else _WRITES))
        ended = case.run(Fault(variables={"MLFLOW_TRACKING_URI": proxy.url}))
        assert f"is busy or away (status {status}): try again" in ended.sentence
        assert ended.status == 1
        _settle(case, ended)


@pytest.mark.parametrize("component", chosen("cut", CASES))
@pytest.mark.parametrize("way", ["up", "down"])
def test_the_connection_is_cut_in_the_middle(make, component, way, mlflow):
    case = make(component)
    with TcpProxy(mlflow["MLFLOW_TRACKING_URI"]) as proxy:
        proxy.cut(**{way: 2_000})
        ended = case.run(Fault(variables={"MLFLOW_TRACKING_URI": proxy.url}))
        assert proxy.connections
        _settle(case, ended)


@pytest.mark.parametrize("component", chosen("stall", CASES))
def test_a_server_that_goes_silent(make, component, mlflow):
    case = make(component)
    with TcpProxy(mlflow["MLFLOW_TRACKING_URI"]) as proxy:
        proxy.stall(down=1_500)
        ended = case.run(Fault(variables={"MLFLOW_TRACKING_URI": proxy.url}, seconds=1))
        assert "timed out" in ended.sentence
        _settle(case, ended)


@pytest.mark.parametrize("component", chosen("slow", CASES))
def test_a_slow_server(make, component, mlflow):
    case = make(component)
    with TcpProxy(mlflow["MLFLOW_TRACKING_URI"]) as proxy:
        proxy.slow(100_000)
        ended = case.run(Fault(variables={"MLFLOW_TRACKING_URI": proxy.url}))
        assert ended.status == 0, ended.said
        case.check(True, ended)


@pytest.mark.parametrize("component", chosen("down", CASES))
def test_down_and_back(make, component, mlflow):
    case = make(component)
    with TcpProxy(mlflow["MLFLOW_TRACKING_URI"]) as proxy:
        away = Fault(variables={"MLFLOW_TRACKING_URI": proxy.url})
        proxy.refuse()
        ended = case.run(away)
        assert "cannot be reached (Connection refused)" in ended.sentence and ended.status == 1
        case.check(False)
        proxy.heal()
        again = case.run(away)
        assert again.status == 0, again.said
        case.check(True, again)


@pytest.mark.parametrize("component", chosen("twice", CASES))
def test_two_at_once(make, component):
    case = make(component)
    for ended in case.twice():
        if ended.status:
            assert ended.sentence
    again = case.run()
    assert again.status == 0, again.said
    case.check(True, again)


@pytest.mark.parametrize("password", ["wrong-canary-77", ""])
def test_a_wrong_password_is_told_and_not_shown(make, password):
    case = make("register_model")
    ended = case.run(Fault(variables={"MLFLOW_TRACKING_PASSWORD": password}))
    assert "denies access" in ended.sentence and "canary" not in ended.said
    case.check(False)
