"""From a figure that a run of monitoring pushed to the run that an alert starts: with the real programs in between.

Pushgateway, Prometheus and Alertmanager are real, and so are the rules, the settings of Alertmanager and the filters of
the events. The operator, Tekton's listener and the pipeline server are stand-ins, as a cluster is needed for them.
"""

import contextlib
import http.server
import json
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
import requests
import yaml
from alert_rules import groups, need
from deploy_sites import one
from manifest_schemas import ROOT, InvalidManifestError, build, check, need_crds, need_kustomize
from monitoring_prometheus import needs_prometheus, needs_pushgateway, pushgateway, running
from openshift_manifests import FOLDER, built
from pipeline_server import TOKEN, pipeline_server
from tekton import SECRETS, run_parameters, run_task

from loopline.components.monitoring.gauges import JOB, push
from loopline.pipelines.sites.ports import free_port
from loopline.pipelines.spec import compiled_folder

CONFIGS = {
    "site": ROOT / "deploy" / "config-repo" / "alerting" / "alertmanager.yaml",
    "monitoring": FOLDER / "components" / "events" / "alertmanager.yaml",
}
BEARER = {"Authorization": f"Bearer {SECRETS['alertmanager']}"}
SINCE = "2026-11-24T14:00:00.123Z"


@pytest.fixture(scope="module")
def manifests():
    need_kustomize()
    return built(components=("events", "watch"))


def _config(place: str) -> dict:
    documents = yaml.safe_load_all(CONFIGS[place].read_text())
    return next(d for d in documents if d["kind"] == "AlertmanagerConfig")


def _as_operator(config: dict, namespace: str, url: str = "", hasten: bool = False) -> dict:
    """Write the configuration of Alertmanager that the operator makes of a resource.

    Args:
        config: The resource.
        namespace: Where it is: its route gets the alerts of that namespace alone.
        url: Where events go instead.
        hasten: Whether to send at once.
    """
    spec = config["spec"]
    route, (receiver,) = spec["route"], spec["receivers"]
    (hook,) = receiver["webhookConfigs"]
    credentials = hook["httpConfig"]["authorization"]
    assert credentials["credentials"]["name"] == "loopline-webhooks"
    named = {"type": credentials["type"], "credentials": SECRETS[credentials["credentials"]["key"]]}
    matchers = [f'{m["name"]}{m["matchType"]}"{m["value"]}"' for m in route["matchers"]]
    times = {"groupWait": "group_wait", "groupInterval": "group_interval", "repeatInterval": "repeat_interval"}
    return {
        "route": {
            "receiver": "default",
            "routes": [
                {
                    "receiver": route["receiver"],
                    "matchers": [f'namespace="{namespace}"', *matchers],
                    "group_by": route["groupBy"],
                    "continue": True,
                    **{name: "1s" if hasten else route[key] for key, name in times.items()},
                }
            ],
        },
        "receivers": [
            {"name": "default"},
            {
                "name": receiver["name"],
                "webhook_configs": [
                    {
                        "url": url or hook["url"],
                        "send_resolved": hook["sendResolved"],
                        "http_config": {"authorization": named},
                    }
                ],
            },
        ],
    }


@pytest.mark.parametrize("place", CONFIGS)
def test_alertmanager_accepts_its_settings(place, tmp_path):
    need("amtool")
    file = tmp_path / "alertmanager.yaml"
    file.write_text(yaml.safe_dump(_as_operator(_config(place), "loopline")))
    done = subprocess.run(["amtool", "check-config", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["namespace=loopline", "loopline_starts=monitoring"], "loopline-events"),
        (["namespace=loopline", "loopline_starts=training"], "loopline-events"),
        (["namespace=loopline", "loopline_starts=delivery"], "default"),
        (["namespace=loopline"], "default"),
        (["namespace=elsewhere", "loopline_starts=monitoring"], "default"),
    ],
)
def test_only_alerts_that_ask_for_a_run_come_to_the_listener(tmp_path, labels, receiver):
    need("amtool")
    file = tmp_path / "alertmanager.yaml"
    file.write_text(yaml.safe_dump(_as_operator(_config("monitoring"), "loopline")))
    words = ["amtool", "config", "routes", "test", f"--config.file={file}", *labels]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout.strip() == receiver, done.stdout + done.stderr


def test_the_two_settings_are_the_same():
    assert _config("site")["spec"] == _config("monitoring")["spec"]
    url = _config("site")["spec"]["receivers"][0]["webhookConfigs"][0]["url"]
    assert url == "http://el-loopline.loopline.svc.cluster.local:8080/"


def test_the_component_of_a_site_is_valid(tmp_path):
    need_kustomize()
    need_crds()
    overlay = tmp_path / "sites" / "edge"
    overlay.mkdir(parents=True)
    shutil.copytree(CONFIGS["site"].parent, tmp_path / "alerting")
    (overlay / "kustomization.yaml").write_text("namespace: loopline-edge\ncomponents: [../../alerting]\n")
    (config,) = build(overlay)
    check(config)
    assert config["metadata"]["namespace"] == "loopline-edge"
    route = config["spec"]["route"]
    route["groupby"] = route.pop("groupBy")
    with pytest.raises(InvalidManifestError):
        check(config)


def _alert(starts: str = "monitoring", model: str = "flights", status: str = "firing", count: int = 1) -> dict:
    """Return what Alertmanager sends (https://prometheus.io/docs/alerting/latest/configuration/#webhook_config)."""
    labels = {"alertname": "LooplineMonitoringOverdue", "model": model, "loopline_starts": starts}
    alert = {"status": status, "labels": labels, "startsAt": SINCE, "fingerprint": "3f2a9c1be0d45678"}
    return {"version": "4", "status": status, "alerts": [alert] * count}


def test_an_alert_starts_the_pipeline_that_the_settings_name(manifests):
    (parameters,) = run_parameters(manifests, _alert(), BEARER).values()
    assert parameters["pipeline"] == "monitoring"
    assert parameters["name"] == "flights"
    assert parameters["event"] == f"alert LooplineMonitoringOverdue 3f2a9c1be0d45678 since {SINCE}"
    assert float(parameters["cooldown-h"]) == 6
    started = run_parameters(manifests, _alert("training"), BEARER)
    assert list(started) == ["alert-training"]
    assert started["alert-training"]["pipeline"] == "", "the pipeline monitoring retrains by itself"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (_alert(), {}),
        (_alert(), {"Authorization": "Bearer guessed"}),
        (_alert(), {"Authorization": "Bearer"}),
        (_alert(status="resolved"), BEARER),
        (_alert("delivery"), BEARER),
        (_alert(count=2), BEARER),
        (_alert(model="$(id)"), BEARER),
        (_alert(model="../flights"), BEARER),
        (_alert(model=""), BEARER),
    ],
)
def test_other_notifications_start_nothing(manifests, body, headers):
    assert run_parameters(manifests, body, headers) == {}


class Listener(http.server.ThreadingHTTPServer):
    """Does with an event what Tekton's listener does with it: filters, bindings, and the task.

    Attributes:
        bodies: What came.
        done: The tasks that ran.
    """

    def __init__(self, manifests: list[dict], folder: Path):
        super().__init__(("127.0.0.1", 0), _Events)
        self.manifests, self.folder = manifests, folder
        self.bodies: list[dict] = []
        self.done: list[subprocess.CompletedProcess] = []

    def take(self, body: dict, headers: dict):
        self.bodies.append(body)
        for parameters in run_parameters(self.manifests, body, headers).values():
            task = one(self.manifests, "Task", "loopline-start-run")
            declared = {p["name"] for p in task["spec"]["params"]}
            given = {name: value for name, value in parameters.items() if name in declared}
            volumes = {"/var/run/loopline/runs": self.folder}
            self.done.append(run_task(task, given, self.folder / f"run-id-{len(self.done)}", volumes))


class _Events(http.server.BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.take(body, dict(self.headers))
        self.send_response(202)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def _listener(manifests: list[dict], folder: Path):
    folder.mkdir()
    (parameters,) = (m["data"] for m in manifests if m["kind"] == "ConfigMap")
    for name, text in parameters.items():
        (folder / name).write_text(text)
    server = Listener(manifests, folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def _alertmanager(folder: Path, config: dict):
    folder.mkdir()
    (folder / "alertmanager.yaml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus-alertmanager", f"--config.file={folder}/alertmanager.yaml", f"--storage.path={folder}/data"]
    command += [f"--web.listen-address={address}", "--cluster.listen-address="]
    with running(command, f"http://{address}", folder / "log"):
        yield address


@contextlib.contextmanager
def _prometheus(folder: Path, gateway: str, alertmanagers: list[str]):
    """Run Prometheus with the rules of monitoring, which do not wait here, as the operator has it read them."""
    chosen = groups("monitoring")
    for group in chosen:
        for rule in group["rules"]:
            rule.pop("for", None)
            rule["labels"] = rule.get("labels", {}) | {"namespace": "loopline"}
    folder.mkdir()
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": chosen}))
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
        "rule_files": ["rules.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": alertmanagers}]}]},
        "scrape_configs": [
            {
                "job_name": "loopline-pushgateway",
                "honor_labels": True,
                "static_configs": [{"targets": [gateway.removeprefix("http://")]}],
            }
        ],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
    with running([*command, f"--web.listen-address={address}"], f"http://{address}", folder / "log") as url:
        yield url


def _wait_until(met, seconds: float = 180.0):
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.1)


@needs_prometheus
@needs_pushgateway
def test_a_model_that_nobody_watches_is_watched_again(manifests, tmp_path, monkeypatch):
    """Two Alertmanagers of a cluster tell of it again and again: one run is started, with the model's parameters."""
    need("prometheus-alertmanager")
    monkeypatch.setenv("HOME", str(tmp_path))
    with contextlib.ExitStack() as world:
        server, variables = world.enter_context(pipeline_server(tmp_path))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        server.hold("monitoring", (compiled_folder() / "monitoring.yaml").read_text())
        listener = world.enter_context(_listener(manifests, tmp_path / "runs"))
        url = f"http://127.0.0.1:{listener.server_address[1]}/"
        config = _as_operator(_config("monitoring"), "loopline", url, hasten=True)
        alertmanagers = [world.enter_context(_alertmanager(tmp_path / f"am-{i}", config)) for i in range(2)]
        gateway = world.enter_context(pushgateway(tmp_path))
        prometheus = world.enter_context(_prometheus(tmp_path / "prometheus", gateway, alertmanagers))

        monkeypatch.setenv("PROMETHEUS_PUSHGATEWAY_URL", gateway)
        ended = "loopline_monitoring_last_window_timestamp_seconds"
        assert push(JOB, {"model": "flights"}, {ended: time.time() - 27 * 3600, "loopline_model_skill": -0.1})
        _wait_until(lambda: len(listener.done) >= 2)

        assert all(done.returncode == 0 for done in listener.done), [done.stderr for done in listener.done]
        (run,) = (r for r in server.runs if r["state"] == "PENDING")
        assert {body["alerts"][0]["labels"]["alertname"] for body in listener.bodies} == {"LooplineMonitoringOverdue"}
        assert run["display_name"].startswith("monitoring: alert LooplineMonitoringOverdue ")
        parameters = run["runtime_config"]["parameters"]
        assert (parameters["name"], parameters["target"]) == ("flights", "late")
        assert TOKEN not in "".join(done.stdout + done.stderr for done in listener.done)
        firing = requests.get(f"{prometheus}/api/v1/alerts", timeout=5).json()["data"]["alerts"]
        assert {alert["labels"]["alertname"] for alert in firing} == {"LooplineMonitoringOverdue", "LooplineSkillLost"}

        push(JOB, {"model": "flights"}, {ended: time.time(), "loopline_model_skill": 0.3})
        _wait_until(lambda: not requests.get(f"{prometheus}/api/v1/alerts", timeout=5).json()["data"]["alerts"])
