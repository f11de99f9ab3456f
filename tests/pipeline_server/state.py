"""What a pipeline server holds."""

import itertools
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from zoneinfo import ZoneInfo

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from . import argo, controller
from .argo import Scenario

#: What the real server calls a refusal, by its status.
CONFLICT, NOT_FOUND, REFUSED = 409, 404, 400
_BUSY = {"PENDING", "RUNNING", "CANCELING"}


class Refusal(Exception):
    """The server refuses a request."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


@dataclass
class Fault:
    """Something that goes wrong at a request.

    Attributes:
        method: The request's method.
        path: A pattern that its path ends with.
        times: How often.
        taken: Whether the server has done what was asked nevertheless.
    """

    method: str
    path: str
    times: int = 1
    taken: bool = False


class PipelineServer(ThreadingHTTPServer):
    """A server with an account's token, pipelines, experiments, runs and recurring runs.

    Attributes:
        pipelines: The pipelines that are held; see ``hold``.
        versions: Their versions, each with its specification.
        runs: Each run as it was asked for, with its id, state and time.
        recurring: Each recurring run in the same way.
        asked: Method, path and query of every request.
        violations: What was asked that the API does not know.
        states: The states that a run goes through, one a question; the last one stays.
        scenario: What becomes of runs instead, step by step.
        artifacts: What OpenShift AI tells of artifacts; None for a server that does not.
        failures: How many of the next questions are answered with status 503.
        faults: What else goes wrong.
        before: What to do before a request is taken, once, by its method and the end of its path: another client's
            request comes in between.
        before_run: The same before each run.
        forbidden: Whether the token is good for looking alone.
        orphans: Whether deleting a recurring run can leave its run alone, as servers after KFP 2.15 can.
        page: How many entries an answer has at most.
        clock: Tells the time.
        zone: The time zone of cron schedules.
    """

    daemon_threads = True

    def __init__(self, handler, address: tuple[str, int]):
        super().__init__(address, handler)
        self.lock = threading.RLock()
        self.pipelines: list[dict] = []
        self.versions: list[dict] = []
        self.experiments: list[dict] = []
        self.runs: list[dict] = []
        self.recurring: list[dict] = []
        self.asked: list[tuple[str, str, dict]] = []
        self.violations: list[str] = []
        self.states = ["SUCCEEDED"]
        self.scenario: Scenario | None = None
        self.artifacts: list[dict] | None = None
        self.failures = 0
        self.faults: list[Fault] = []
        self.before: dict[tuple[str, str], Callable] = {}
        self.before_run = lambda: None
        self.forbidden = False
        self.orphans = True
        self.page = 2
        self.clock = lambda: datetime.now(UTC)
        self.zone = ZoneInfo("UTC")
        self._looks: dict[str, int] = {}
        self._numbers = itertools.count(1)

    def posted(self, path: str) -> int:
        """Return how often something was posted to a path."""
        return sum(method == "POST" and asked.endswith(path) for method, asked, _ in self.asked)

    def hold(self, name: str, compiled: str, version: str = "1"):
        """Hold a version of a pipeline, as if somebody had imported the compiled YAML."""
        with self.lock:
            held = next((p for p in self.pipelines if p["display_name"] == name), None)
            held = held or self.add_pipeline({"display_name": name})
            made = self.add_version(held["pipeline_id"], version, compiled)
            made["created_at"] = _text(self.clock() + timedelta(seconds=len(self.versions) - 1))

    def add_pipeline(self, body: dict) -> dict:
        """Take a pipeline."""
        name = body.get("name") or body["display_name"]
        if any(p["name"] == name for p in self.pipelines):
            raise Refusal(CONFLICT, f"The name {name} already exists. Please specify a new name")
        added = {"pipeline_id": f"pipeline-{len(self.pipelines)}", "name": name, "created_at": self._now()}
        self.pipelines.append({"display_name": name} | body | added)
        return self.pipelines[-1]

    def add_version(self, pipeline_id: str, name: str, compiled: str) -> dict:
        """Take a version of a pipeline."""
        self.one("pipelines", "pipeline_id", pipeline_id)
        if any((v["pipeline_id"], v["name"]) == (pipeline_id, name) for v in self.versions):
            raise Refusal(CONFLICT, "Failed to create a pipeline version")
        try:
            spec, *platform = yaml.safe_load_all(compiled)
            json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
        except (yaml.YAMLError, json_format.ParseError, ValueError) as error:
            raise Refusal(REFUSED, f"invalid pipeline spec: {error}") from None
        self.versions.append(
            {
                "pipeline_id": pipeline_id,
                "pipeline_version_id": f"version-{len(self.versions)}",
                "name": name,
                "display_name": name,
                "created_at": self._now(),
                "pipeline_spec": {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec,
            }
        )
        return self.versions[-1]

    def add_experiment(self, body: dict) -> dict:
        """Take an experiment."""
        if any(e["display_name"] == body["display_name"] for e in self.experiments):
            raise Refusal(CONFLICT, f"Experiment {body['display_name']} already exists")
        added = {"experiment_id": f"experiment-{len(self.experiments)}", "created_at": self._now()}
        self.experiments.append(body | added)
        return self.experiments[-1]

    def add_run(self, body: dict) -> dict:
        """Take a run as it is."""
        added = {"run_id": f"run-{len(self.runs)}", "state": "PENDING", "created_at": self._now()}
        self.runs.append(body | added)
        return self.runs[-1]

    def add_recurring(self, body: dict) -> dict:
        """Take a recurring run."""
        trigger = body["trigger"]
        if not 1 <= int(body["max_concurrency"]) <= 10:
            raise Refusal(REFUSED, "The max concurrency must be at least 1 and at most 10")
        if cron := trigger.get("cron_schedule"):
            try:
                controller.GoCron(cron["cron"])
            except ValueError as error:
                raise Refusal(REFUSED, f"Schedule cron is not a valid cron string: {error}") from None
        elif int(trigger["periodic_schedule"]["interval_second"]) < 1:
            raise Refusal(REFUSED, "Found invalid period schedule interval")
        status = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[body["mode"]]
        added = {"recurring_run_id": f"recurring-{next(self._numbers)}", "status": status, "created_at": self._now()}
        self.recurring.append(body | added)
        return self.recurring[-1]

    def delete_recurring(self, recurring_id: str, policy: str) -> None:
        """Let a recurring run go; its run in progress goes with it, unless it is to be left alone and can be."""
        self.recurring.remove(self.one("recurring", "recurring_run_id", recurring_id))
        if not (self.orphans and policy == "ORPHAN"):
            for run in self.runs:
                if run.get("recurring_run_id") == recurring_id and run["state"] in _BUSY:
                    run["state"] = "FAILED"

    def control(self) -> list[dict]:
        """Do what the controller of recurring runs does every few seconds; returns the runs that it starts."""
        started, now = [], self.clock()
        for held in self.recurring:
            own = [run for run in self.runs if run.get("recurring_run_id") == held["recurring_run_id"]]
            busy = sum(run["state"] in _BUSY for run in own)
            if held["status"] != "ENABLED" or busy >= int(held["max_concurrency"]):
                continue
            last = max((controller.utc(run["scheduled_at"]) for run in own), default=None)
            due = controller.next_time(held, last, now, self.zone)
            if due is None or due > now:
                continue
            kept = ("experiment_id", "pipeline_version_reference", "runtime_config", "recurring_run_id")
            body = {name: held[name] for name in kept if name in held}
            started.append(self.add_run(body | {"display_name": held["display_name"], "scheduled_at": _text(due)}))
        return started

    def one(self, kind: str, key: str, value: str) -> dict:
        """Return what is held under an id."""
        found = next((entry for entry in getattr(self, kind) if entry[key] == value), None)
        if found is None:
            raise Refusal(NOT_FOUND, f"{kind} {value} not found")
        return found

    def spec_of(self, run: dict) -> dict:
        """Return the pipeline of a run: its own, or that of the version which it names."""
        if "pipeline_spec" in run:
            return run["pipeline_spec"]
        reference = run["pipeline_version_reference"]
        held = [v for v in self.versions if reference.items() <= v.items()]
        if not held:
            raise Refusal(REFUSED, f"there is no version {reference}")
        return held[0]["pipeline_spec"]

    def look_at(self, run: dict) -> dict:
        """Return a run as it is now, with its steps; each look takes it a step further."""
        if self.scenario is None:
            if run["state"] != "CANCELING":
                run["state"] = self.states.pop(0) if len(self.states) > 1 else self.states[0]
            return run
        asked = self._looks.setdefault(run["run_id"], 0)
        self._looks[run["run_id"]] += 1
        run["state"] = self.scenario.run_state(asked)
        if run["state"] in argo.OVER:
            run.setdefault("finished_at", self._now())
        nodes = argo.workflow_nodes(
            self.workflow(run), self._pipeline_of(run), self.scenario.frame(asked), self.scenario.attempts
        )
        # The answer is in the order of the nodes' ids, which is none.
        nodes.sort(key=lambda node: argo.node_id(self.workflow(run), node.name))
        details = [
            {
                "run_id": run["run_id"],
                "task_id": f"task-{argo.fnv1a(node.name)}",
                "display_name": node.display_name,
                "create_time": run["created_at"],
                "start_time": run["created_at"],
                "end_time": self._now() if node.state in argo.OVER else "1970-01-01T00:00:00Z",
                "state": node.state,
            }
            | ({"child_tasks": [{"pod_name": child} for child in node.children]} if node.children else {})
            for node in nodes
        ]
        return run | {"run_details": {"task_details": details}}

    def log_of(self, run: dict, pod: str) -> str:
        """Return what a step has printed so far, by the pod that it ran in."""
        asked = self._looks.get(run["run_id"], 1) - 1
        for step, state in self.scenario.frame(asked).items():
            attempts = self.scenario.attempts.get(step, 1)
            pods = argo.pods(self.workflow(run), self._pipeline_of(run), step, attempts)
            if state in ("RUNNING", "SUCCEEDED", "FAILED") and pod in pods:
                if pod != pods[-1]:
                    return "an earlier attempt\n"
                lines = self.scenario.logs.get(step, [])
                shown = lines if state != "RUNNING" else lines[: (len(lines) + 1) // 2]
                return "".join(f"{line}\n" for line in shown)
        raise Refusal(500, f"Failed to read logs from pod {pod} due to error fetching the pod")

    def workflow(self, run: dict) -> str:
        """Return the name of a run's workflow."""
        return f"{self._pipeline_of(run)['pipelineInfo']['name']}-x{run['run_id'].rpartition('-')[2]}zkp"

    def _pipeline_of(self, run: dict) -> dict:
        spec = self.spec_of(run)
        return spec.get("pipeline_spec", spec)

    def _now(self) -> str:
        return _text(self.clock())


def check_run(body: dict, spec: dict) -> None:
    """Refuse a run unless its pipeline can be read, and the parameters are those it asks for, in their types."""
    try:
        pipeline = json_format.ParseDict(spec.get("pipeline_spec", spec), pipeline_spec_pb2.PipelineSpec())
    except json_format.ParseError as error:
        raise Refusal(REFUSED, f"invalid pipeline spec: {error}") from None
    asked = pipeline.root.input_definitions.parameters
    given = body.get("runtime_config", {}).get("parameters", {})
    unknown = set(given) - set(asked)
    missing = {n for n, p in asked.items() if not p.is_optional and not p.HasField("default_value")} - set(given)
    if unknown or missing:
        raise Refusal(REFUSED, f"unknown parameters {sorted(unknown)}, missing parameters {sorted(missing)}")
    kinds = pipeline_spec_pb2.ParameterType.ParameterTypeEnum
    for name, value in given.items():
        types = _JSON_TYPES[kinds.Name(asked[name].parameter_type)]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise Refusal(REFUSED, f"parameter {name} is {value!r}")
    if len(json.dumps(given)) > 10_000:
        raise Refusal(REFUSED, "The input parameter length exceed maximum size of 10000.")


_JSON_TYPES = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int,),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}


def _text(time: datetime) -> str:
    return re.sub(r"\.\d+", "", time.astimezone(UTC).isoformat()).replace("+00:00", "Z")
