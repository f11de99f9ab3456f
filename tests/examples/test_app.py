"""The flights app over a real model server: predictions, refusals, failover, and a model replaced under load."""

import asyncio
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from importlib import metadata
from pathlib import Path

import pyarrow as pa
import pytest
import requests
from flights_app import Relay, closed_address, running_app
from packaging.requirements import Requirement
from serving_models import IMAGE

from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest
from loopline.components.model.predictor import load_predictor
from loopline.examples.flights.app import sample, service
from loopline.examples.flights.app.flight import Flights
from loopline.examples.flights.app.service import SiteError
from loopline.examples.flights.app.settings import read_settings
from loopline.examples.flights.app.sites import Sites
from loopline.examples.flights.app.words import describe

ROOT = Path(__file__).parents[2]
FLIGHTS = Flights()


def some_flight(**changes) -> dict:
    return {**FLIGHTS.find("1")[0]["flight"], **changes}


def predict(app: str, site: str = "edge", **changes) -> requests.Response:
    return requests.post(f"{app}/api/predict", json={"site": site, "flight": some_flight(**changes)}, timeout=30)


def ask(services: dict[str, str], *names: str, model: str = "flights") -> list:
    """Ask sites one after the other, in one run of the client; an answer is the error where there is one."""

    async def run():
        sites, answers = Sites(services, model), []
        try:
            for name in names:
                try:
                    answers.append(await sites.predict(name, some_flight()))
                except SiteError as error:
                    answers.append(error)
        finally:
            await sites.close()
        return answers

    return asyncio.run(run())


@pytest.fixture
def relay(site):
    way = Relay(site.url)
    yield way
    way.close()


def test_the_sample_is_what_the_data_say():
    """As JSON: what is in the file is what ``sample`` would write today."""
    assert json.loads(sample.FILE.read_text(encoding="ascii")) == json.loads(json.dumps(sample.make_sample()))


def test_an_answer_is_the_models_and_names_who_gave_it(app, site, flights_models):
    model = flights_models[site.version]
    answer = predict(app).json()
    predictor = load_predictor(model)
    kinds = {column.name: column.kind for column in predictor.features.columns}
    fields = [(name, pa.string() if kind == "category" else pa.float64()) for name, kind in kinds.items()]
    row = {name: some_flight().get(name) for name in kinds}
    expected = predictor.predict(pa.Table.from_pylist([row], pa.schema(fields)))[0, -1]
    assert answer["probability"] == pytest.approx(float(expected), abs=1e-5)
    assert (answer["site"], answer["model_name"], answer["model_version"]) == ("edge", "flights", str(site.version))
    assert answer["model_digest"] == read_manifest(model).digest
    assert answer["image_digest"] == IMAGE
    assert answer["passed_over"] == []


def test_the_reasons_add_up_and_say_what_was_sent(app, site, flights_models):
    answer = predict(app, departure_minute=1150).json()
    parts = answer["contributions"]
    assert sorted(part["feature"] for part in parts) == sorted(
        load_predictor(flights_models[site.version]).features.names
    )
    assert answer["baseline"] + sum(part["contribution"] for part in parts) == pytest.approx(
        answer["probability"], abs=1e-4
    )
    sizes = [abs(part["contribution"]) for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    departure = next(part for part in parts if part["feature"] == "departure_minute")
    assert (departure["value"], departure["text"]) == (1150, "departs at 19:10")


def test_distance_and_arrival_follow_from_the_route(app):
    answer = predict(app, origin="EWR", dest="ORD", departure_minute=1430, distance=None, arrival_minute=None).json()
    values = {part["feature"]: part["value"] for part in answer["contributions"]}
    assert values["distance"] == 719
    assert values["arrival_minute"] == 81  # after midnight


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"carrier": "XX"}, "There is no carrier 'XX': use a code such as 9E, AA, AS."),
        ({"carrier": "\ud800"}, "There is no carrier '\\ud800'"),
        ({"dest": None}, "There is no dest None"),
        ({"dest": ["LAX"]}, "There is no dest ['LAX']"),
        ({"temp": "warm"}, "Temperature cannot be 'warm': give a number from -60 to 130 \u00b0F."),
        ({"temp": 10**400}, "Temperature cannot be 1000"),
        ({"humid": float("nan")}, "Humidity cannot be nan"),
        ({"wind_speed": True}, "Wind cannot be True"),
        ({"departure_minute": 1440}, "Departure cannot be 1440: give a whole number from 0 to 1439"),
        ({"weekday": 1.5}, "Weekday cannot be 1.5: give a whole number from 1 to 7."),
        ({"weekday": None}, "The flight's weekday is missing"),
        ({"tail": 1}, "A flight has no value 'tail'"),
        ({"origin": "LGA", "dest": "HNL", "distance": None}, "No flight went from LGA to HNL"),
    ],
)
def test_a_wrong_flight_gets_one_sentence(app, changes, said):
    body = json.dumps({"site": "edge", "flight": some_flight(**changes)})
    answer = requests.post(f"{app}/api/predict", data=body, timeout=30)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(said)
    assert len(answer.json()["detail"]) < 300


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "The request is not JSON"),
        (b"\xff{", "The request is not JSON"),
        (b"[" * 9000, "The request is not JSON"),
        (b"[]", "The request is not a JSON object"),
        (b'{"flight": 1}', "The flight is not a JSON object"),
        (b'{"flight": {}}', "There is no carrier None"),
        (b" " * 20_000, "The request is larger than 16,384 bytes"),
    ],
)
def test_a_wrong_request_gets_one_sentence(app, body, said):
    answer = requests.post(f"{app}/api/predict", data=body, timeout=30)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(said)


def test_other_wrong_words_get_one_sentence(app):
    assert predict(app, "mars").json() == {"detail": "There is no site 'mars': choose edge, cloud or nearest."}
    assert predict(app, 7).status_code == 422
    for query, said in (
        ("limit=-1", "The limit '-1'"),
        ("limit=x", "The limit 'x'"),
        ("dest=1", "There is no dest '1'"),
    ):
        answer = requests.get(f"{app}/api/flights?{query}", timeout=30)
        assert (answer.status_code, answer.json()["detail"].startswith(said)) == (422, True)


def test_flights_are_found(app):
    found = requests.get(f"{app}/api/flights?origin=EWR&carrier=UA&limit=3", timeout=30).json()
    assert len(found) == 3
    assert {(one["flight"]["origin"], one["flight"]["carrier"]) for one in found} == {("EWR", "UA")}
    assert len(requests.get(f"{app}/api/flights", timeout=30).json()) == sample.FLIGHTS


def test_a_site_that_is_down_is_one_sentence_and_the_others_go_on(app):
    answer = predict(app, "cloud")
    assert answer.status_code == 503
    assert answer.json() == {"detail": "cloud does not answer (nothing listens there)."}
    edge, cloud = requests.get(f"{app}/api/sites", timeout=30).json()["sites"]
    assert edge["ready"]
    assert cloud == {"site": "cloud", "ready": False, "reason": "cloud does not answer (nothing listens there)."}
    assert predict(app, "nearest").json()["site"] == "edge"


def test_nearest_goes_on_to_the_next_site(site):
    services = {"cloud": closed_address(), "edge": site.url}
    first, second = ask(services, "nearest", "nearest")
    assert (first[0], first[2]) == ("edge", ["cloud does not answer (nothing listens there)."])
    assert (second[0], second[2]) == ("edge", [])  # the one that failed is asked last
    [none] = ask({"cloud": closed_address(), "far": closed_address()}, "nearest")
    assert str(none).startswith("No site answers: cloud does not answer")


def test_a_site_without_the_model_says_so(site):
    [answer] = ask({"edge": site.url}, "edge", model="other")
    assert str(answer) == "edge has no model 'other' (HTTP 404): set LOOPLINE_MODEL to the one it has."


def test_a_site_that_hangs_does_not_hold_up_the_page(site, relay, monkeypatch):
    monkeypatch.setattr(service, "_PREDICT_S", 0.5)
    monkeypatch.setattr(service, "_STATUS_S", 0.5)
    relay.hang = True
    hung, passed = ask({"far": relay.url, "edge": site.url}, "far", "nearest")
    assert str(hung) == "far does not answer in time."
    assert passed[0] == "edge"


@pytest.mark.parametrize(("dropped", "answered"), [(1, True), (2, False)])
def test_a_dropped_connection_is_tried_once_more(relay, dropped, answered):
    """Through a relay that drops them, since no server can be told to close at just that moment."""

    async def run():
        one = service.Service("edge", relay.url, "flights")
        try:
            first = await one.predict(some_flight())
            made = relay.connections
            relay.drop = dropped
            return first, made, await one.predict(some_flight())
        finally:
            await one.close()

    if answered:
        first, made, second = asyncio.run(run())
        assert made == 1  # metadata and prediction share a connection
        assert relay.connections == 2
        assert second == first
    else:
        with pytest.raises(SiteError, match=r"^edge does not answer \(ServerDisconnectedError\)\.$"):
            asyncio.run(run())


def test_a_model_replaced_under_load_loses_no_request(app, site):
    """The versions take different features, in another order: each answer is right for the one that gave it."""
    answers, going = [], threading.Event()

    def load():
        with requests.Session() as session:
            while not going.wait(0.03):
                body = {"site": "edge", "flight": some_flight()}
                answers.append(session.post(f"{app}/api/predict", json=body, timeout=30))

    before, after = site.version, site.other
    expected = {str(before): predict(app).json()}
    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        site.replace(after)
        expected[str(after)] = predict(app).json()
    finally:
        going.set()
        for thread in threads:
            thread.join()
    assert [answer.text for answer in answers if answer.status_code != 200] == []
    found = [answer.json() for answer in answers]
    assert {answer["model_version"] for answer in found} == {str(before), str(after)}
    for answer in found:
        same = expected[answer["model_version"]]
        assert (answer["model_digest"], answer["contributions"]) == (same["model_digest"], same["contributions"])
    names = {part["feature"]: part for part in expected["4"]["contributions"]}
    assert "pressure" not in names
    assert (names["moon"]["value"], names["moon"]["text"]) == (None, "moon not known")
    assert (names["season"]["value"], names["season"]["text"]) == ("", "season not known")


def test_reasons_are_named_by_the_model_that_answered(site):
    """The model was described when it was another one, with the same features in another order."""

    async def run():
        one = service.Service("edge", site.url, "flights")
        try:
            expected, now = await one.predict(some_flight()), one._model
            one._model = dataclasses.replace(now, version="2", inputs=now.inputs[::-1])
            return expected, await one.predict(some_flight())
        finally:
            await one.close()

    expected, found = asyncio.run(run())
    assert found.contributions == expected.contributions


def canned(**changes) -> dict:
    """An answer of the protocol as a server might give it: no server of ours gives a wrong one."""
    outputs = [{"name": "probabilities", "data": [0.75, 0.25], "shape": [1, 2], "datatype": "FP32"}]
    return {"model_name": "flights", "model_version": "1", "outputs": outputs, **changes}


def test_a_server_without_contributions_is_enough():
    found = service._read_prediction("edge", canned(), {"temp": 1.0})
    assert (found.probability, found.contributions, found.baseline, found.model_digest) == (0.25, {}, None, "")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        canned(outputs=None),
        canned(outputs=[{"name": "probabilities", "data": []}]),
        canned(outputs=[{"name": "probabilities", "data": [0.2, float("nan")]}]),
        canned(outputs=[{"name": "probabilities", "data": [0.2, 7]}]),
        canned(outputs=[{"name": "prediction", "data": [12.0]}]),
        canned(
            outputs=[*canned()["outputs"], {"name": "contributions", "data": [1, 2]}, {"name": "baseline", "data": [0]}]
        ),
    ],
)
def test_what_is_no_prediction_is_not_shown_as_one(answer):
    with pytest.raises(SiteError, match="edge"):
        service._read_prediction("edge", answer, {"temp": 1.0})


@pytest.mark.parametrize(
    ("feature", "value", "words"),
    [
        ("carrier", "UA", "flies with United Air Lines Inc."),
        ("dest", "LAX", "goes to Los Angeles Intl (LAX)"),
        ("weekday", 7, "leaves on a Sunday"),
        ("weekday", "7", "leaves on a Sunday"),
        ("distance", 2475, "flies 2,475 miles"),
        ("wind_dir", 350, "wind from the north"),
        ("wind_speed", 8.05546, "wind 8.1 mph"),
        ("wind_gust", None, "no strong gusts reported"),
        ("precip", 0.0, "no rain or snow"),
        ("precip", 0.04, "rain or snow 0.04 in"),
        ("humid", 61.0, "humidity 61%"),
        ("pressure", None, "pressure not known"),
        ("moon", 0.5, "moon 0.5"),
    ],
)
def test_features_in_words(feature, value, words):
    assert describe(feature, value, FLIGHTS) == words


def test_the_token_goes_only_where_nobody_reads_it(monkeypatch):
    monkeypatch.setenv("LOOPLINE_SITE_TOKEN", "secret")
    sent = {"Authorization": "Bearer secret"}
    assert service._authorization("https://flights.example.com", False) == sent
    assert service._authorization("http://127.0.0.1:8080", True) == sent
    assert service._authorization("http://flights.example.com", False) == {}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "LOOPLINE_SERVICES is not set"),
        ({"LOOPLINE_SERVICES": "edge"}, "not a JSON object"),
        ({"LOOPLINE_SERVICES": "{}"}, "not a JSON object"),
        ({"LOOPLINE_SERVICES": '{"edge": "ftp://user:secret@x"}'}, "gives site 'edge' no http or https address"),
        ({"LOOPLINE_SERVICES": '{"nearest": "http://x"}'}, "gives site 'nearest'"),
        ({"LOOPLINE_SERVICES": '{"edge": "http://x:port"}'}, "gives site 'edge'"),
        ({"LOOPLINE_SERVICES": '{"edge": "http://x"}', "PORT": "http"}, "PORT is 'http'"),
    ],
)
def test_a_wrong_setting_gets_one_sentence(variables, said):
    with pytest.raises(InputError, match=said) as raised:
        read_settings(variables)
    assert "secret" not in str(raised.value)


def test_a_wrong_setting_ends_the_app(monkeypatch):
    done = subprocess.run([sys.executable, "-m", "loopline.examples.flights.app"], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr.decode().split(":")[:2]) == (
        2,
        ["flights app", " LOOPLINE_SERVICES is not set"],
    )
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    with pytest.raises(InputError, match=r"in /nowhere\.pem cannot be read .* name a PEM file"):
        service.trust()


def test_it_ends_when_told_to(tmp_path):
    with running_app({"edge": closed_address()}, tmp_path / "app.log") as (_, process):
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert "Traceback" not in (tmp_path / "app.log").read_text()


def test_the_container_holds_what_the_app_needs(tmp_path):
    """With the files that the Containerfile copies, and no package but its requirements and theirs."""
    folder = ROOT / "examples" / "flights" / "app"
    for line in (folder / "Containerfile").read_text().splitlines():
        if line.startswith("COPY") and "loopline/" in line:
            *sources, target = line.split()[1:]
            for source in sources:
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                place = tmp_path / target
                place.mkdir(parents=True, exist_ok=True)
                copy(ROOT / source, place, **({"dirs_exist_ok": True} if copy is shutil.copytree else {}))
    requirements = [
        line for line in (folder / "requirements.txt").read_text().splitlines() if line[:1] not in ("", "#")
    ]
    wanted = needed(*requirements) | {"loopline"}
    owners = metadata.packages_distributions()
    absent = [name for name, found in owners.items() if not wanted & {one.lower() for one in found}]
    script = (
        "import json, sys\n"
        "sys.modules.update(dict.fromkeys(json.load(sys.stdin)))\n"
        "import loopline.examples.flights.app.__main__ as app, loopline.components.errors as errors, uvicorn\n"
        "from loopline.examples.flights.app import server, settings\n"
        "server.make_app(settings.Settings({'edge': 'http://x'}))\n"
        "print(app.__file__, errors.__file__)"
    )
    # Without site the installed loopline is not found.
    variables = {"PYTHONPATH": os.pathsep.join((str(tmp_path), sysconfig.get_path("purelib")))}
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        input=json.dumps(absent),
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
    )
    assert done.returncode == 0, done.stderr
    assert all(word.startswith(str(tmp_path)) for word in done.stdout.split())
    assert {"kfp", "pandas", "numpy", "orjson"} <= set(absent)


def needed(*names: str) -> set[str]:
    """Return distributions and what they need in turn, without extras."""
    found, todo = set(), list(names)
    while todo:
        name = todo.pop().lower()
        if name not in found:
            found.add(name)
            wanted = [Requirement(text) for text in metadata.requires(name) or ()]
            todo += [one.name for one in wanted if not one.marker or one.marker.evaluate({"extra": ""})]
    return found | {name.replace("-", "_") for name in found}
