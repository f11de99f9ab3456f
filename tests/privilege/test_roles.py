"""The Roles that are shipped grant what the code asks for and nothing else; docs/security-privilege.md says who asks.

The code runs against servers: a real MLflow, and stand-ins for the pipeline server, for Kubernetes with Trainer and for
a site's proxy, which need a cluster. What a request asks for is what the platform's proxies make of it, read in their
sources: kube-rbac-proxy turns GET into ``get`` and POST into ``create`` on one resource; for MLflow see mlflow_rights.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import deploy_sites
import mlflow_server
import pytest
from delivery_registry import Handler, run_server
from manifest_schemas import ROOT, need_kustomize
from mlflow_rights import rights_of
from openshift_manifests import COMPONENTS, NEWEST, PLATFORM_ROLES, built
from pipeline_server import pipeline_server
from recorded_requests import Request, recording
from registry_models import make_model
from training_cluster import training_cluster

from loopline.components import pipeline_server as pipeline_client
from loopline.components.delivery.inference import is_ready
from loopline.components.environment import environment
from loopline.components.monitoring.state import record
from loopline.components.monitoring.trigger import trigger
from loopline.components.registry import register as registering
from loopline.components.registry.store import open_store
from loopline.components.training.distributed.cluster import ClusterJob
from loopline.components.training.distributed.exchange import open_exchange
from loopline.components.training.space import read_space
from loopline.components.training.study import Study, find_study
from loopline.components.training.sweep import plan_sweep
from loopline.deploy import start_delivery, start_run
from loopline.pipelines.spec import compiled_folder

DOCS = ROOT / "docs" / "security-privilege.md"
STEPS, TEKTON, CHECKER = "pipeline-runner-dspa", "loopline-delivery", "model-checker"
_MLFLOW = "mlflow.kubeflow.org"
#: Asked by the SDK of Kubeflow Trainer in another namespace, and not needed: it goes on without an answer.
_IN_VAIN = {"configmaps", "clustertrainingruntimes"}


@dataclass(frozen=True, order=True)
class Right:
    """What an account may do.

    Attributes:
        account: The service account.
        group: The API group.
        resource: The resource.
        name: The one object; empty for all.
        verb: The verb.
    """

    account: str
    group: str
    resource: str
    name: str
    verb: str


def _granted() -> set[Right]:
    """Return what the Roles of all overlays and of a site grant by their bindings."""
    found = set()
    for manifests in (built(NEWEST, COMPONENTS), deploy_sites.built("edge")):
        roles = {m["metadata"]["name"]: m["rules"] for m in manifests if m["kind"] == "Role"}
        bindings = [m for m in manifests if m["kind"] == "RoleBinding" and m["roleRef"]["kind"] == "Role"]
        assert {binding["roleRef"]["name"] for binding in bindings} == set(roles), "a Role that nobody has"
        for binding in bindings:
            (subject,) = binding["subjects"]
            for rule in roles[binding["roleRef"]["name"]]:
                found |= {
                    Right(subject["name"], group, resource, name, verb)
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                    for name in rule.get("resourceNames", [""])
                    for verb in rule["verbs"]
                }
    return found


class Asked:
    """What was asked for, and by which functions."""

    def __init__(self):
        self.rights: dict[Right, set[str]] = {}

    def add(self, requests: Iterable[Request], read: Callable[[Request], Right | None]) -> None:
        """Note what requests ask for."""
        for request in requests:
            if right := read(request):
                self.rights.setdefault(right, set()).add(request.functions[0])


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    need_kustomize()
    found, folder = Asked(), tmp_path_factory.mktemp("asked")
    _start_pipelines(found, folder / "pipelines")
    _train(found, folder / "training")
    _delete_in_mlflow(found, folder / "mlflow")
    _call_a_model(found)
    return found.rights


def _start_pipelines(found: Asked, folder) -> None:
    folder.mkdir()
    given = {"uri": "x.csv", "target": "late", "name": "flights"}
    words = [f"--parameter={name}={value}" for name, value in given.items()]

    def ask(account: str, *acts: Callable[[], object]) -> None:
        def read(request: Request) -> Right:
            verb = {"GET": "get", "POST": "create", "DELETE": "delete", "PUT": "update"}[request.method]
            kind = "datasciencepipelinesapplications"
            return Right(account, f"{kind}.opendatahub.io", f"{kind}/api", "dspa", verb)

        with recording() as requests:
            for act in acts:
                act()
        found.add(requests, read)

    with pipeline_server(folder) as (server, variables), environment(variables), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_client, "SETTLE_S", 0.0)
        server.hold("training", (compiled_folder() / "training.yaml").read_text())
        ask(STEPS, lambda: trigger("training", given, "an event", cooldown_h=1.0))
        result = str(folder / "run-id")
        ask(
            TEKTON,
            lambda: start_run.main(["start", "--pipeline=training", *words, "--event=another", f"--result={result}"]),
            lambda: start_delivery.main(["start", "--parameter=name=flights", "--event=a tag", f"--result={result}"]),
            lambda: start_delivery.main(["wait", (folder / "run-id").read_text(), "--poll-s=0.1"]),
        )
        assert len(server.runs) == 3


def _train(found: Asked, folder) -> None:
    """Start a job, start it again as the retry of a step does, and end it when its pods have failed."""

    def read(request: Request) -> Right | None:
        path = re.fullmatch(
            r"/(?:api/v1|apis/([^/]+)/\w+)(?:/namespaces/[^/]+)?/(\w+)(?:/([^/]+))?(/log)?", request.path
        )
        if path is None or path[2] in _IN_VAIN:
            return None
        verb = {"POST": "create", "DELETE": "delete"}.get(request.method, "get" if path[3] else "list")
        return Right(STEPS, path[1] or "", path[2] + (path[4] or ""), "", verb)

    with (
        training_cluster(folder) as (cluster, variables),
        environment(variables),
        pytest.MonkeyPatch.context() as patch,
        recording() as requests,
    ):
        # The client reads the variable once, when it is imported.
        patch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", variables["KUBECONFIG"])
        for unschedulable in ("no node", ""):
            cluster.unschedulable = unschedulable
            job = ClusterJob("train-1", open_exchange(str(folder / "place")), 2, "1Gi", "1", "loopline")
            job.prepare()
            job.start()
            assert job.state().phase == ("waiting" if unschedulable else "running")
        for pod in cluster.pods.values():
            pod.kill()
        assert job.state().phase == "failed"
        job.stop()
        assert not cluster.jobs
    found.add(requests, read)


def _delete_in_mlflow(found: Asked, folder) -> None:
    """Lose the races that are the reason why something is deleted."""
    folder.mkdir()
    trained = make_model(folder / "trained")
    service = folder / "service.json"
    service.write_text('{"state": {}}')
    decision = {
        "verdict": "wait", "model_digest": "sha256:1", "reasons": [], "drift_score": None,
        "window": {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-02T00:00:00+00:00"},
        "metric": {"name": "log_loss", "value": None},
    }  # fmt: skip

    def read(request: Request) -> Right | None:
        resource, verb = rights_of(f"{request.method} {request.path}")
        right = Right(STEPS, _MLFLOW, resource, "", verb)
        by_the_platform = (_MLFLOW, resource, verb) in PLATFORM_ROLES["mlflow-operator-mlflow-integration"]
        return None if by_the_platform or not resource else right

    with (
        mlflow_server.run_server(folder) as (uri, _),
        environment({"MLFLOW_TRACKING_URI": uri}),
        pytest.MonkeyPatch.context() as patch,
        recording() as requests,
    ):
        assert registering.register(*trained.paths(), "late") == 1
        with patch.context() as blind:
            blind.setattr(registering, "find_digest", _blind_once(registering.find_digest, []))
            assert registering.register(*trained.paths(), "late") == 1
        record("late", "key", decision, {"service.json": service})
        record("late", "key", {**decision, "verdict": "alert"}, {"service.json": service})
        [worker] = plan_sweep("tried", read_space("", "", 1), 1)
        with open_store() as store:
            study = find_study(store, worker.sweep)
            study.claim(1, 0)
            with patch.context() as blind:
                blind.setattr(Study, "trials", _blind_once(Study.trials, []))
                assert study.claim(1, 0) is None
    found.add(requests, read)


def _blind_once(look: Callable, seen: object) -> Callable:
    """Look a moment too early the first time, as one who comes second does."""
    looks = []

    def blind(*arguments):
        looks.append(arguments)
        return seen if len(looks) == 1 else look(*arguments)

    return blind


def _call_a_model(found: Asked) -> None:
    """Whoever calls a protected model is asked for its token, and the proxy asks for `get` on its InferenceService."""
    tokens = []

    class Proxy(Handler):
        def do_GET(self) -> None:
            tokens.append(self.headers["Authorization"])
            self.send(200, b"{}")

    with run_server(Proxy) as host, environment({"LOOPLINE_SITE_TOKEN": "of-model-checker"}), recording() as requests:
        assert is_ready(f"http://{host}", "flights")
    assert set(tokens) == {"Bearer of-model-checker"}
    found.add(requests, lambda _: Right(CHECKER, "serving.kserve.io", "inferenceservices", "model", "get"))


def test_nothing_is_granted_that_is_not_asked_for(asked):
    assert _granted() - set(asked) == set()


def test_nothing_is_asked_for_that_is_not_granted(asked):
    assert set(asked) - _granted() == set()


def test_the_docs_say_who_asks(asked):
    rows = [
        f"| `{right.account}` | {right.verb} | `{right.resource}`{f' `{right.name}`' if right.name else ''} | "
        f"{', '.join(f'`{function}`' for function in sorted(functions))} |"
        for right, functions in sorted(asked.items())
    ]
    assert "\n".join(rows) in DOCS.read_text(), "\n".join(["put this into the docs:", *rows])


def test_the_docs_name_the_platforms_roles():
    need_kustomize()
    bound = {
        m["roleRef"]["name"]
        for m in built(NEWEST, COMPONENTS)
        if m["kind"].endswith("RoleBinding") and m["roleRef"]["kind"] == "ClusterRole"
    }
    assert bound == set(PLATFORM_ROLES)
    text = DOCS.read_text()
    assert all(f"`{name}`" in text for name in bound)
