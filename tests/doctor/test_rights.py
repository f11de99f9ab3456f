"""The table of rights against what the components do and what deploy/openshift grants."""

import json
import re
from pathlib import Path

import pytest
import yaml
from kubernetes_api import PLATFORM_ROLES
from mlflow_rights import rights_of
from mlflow_server import run_server
from registry_models import make_model

from loopline.components import STAGES
from loopline.components.environment import environment
from loopline.components.monitoring.state import read_history, read_service_state, record
from loopline.components.registry.annotate import annotate
from loopline.components.registry.fetch import fetch
from loopline.components.registry.register import register
from loopline.components.registry.store import open_store
from loopline.components.registry.versions import promote
from loopline.components.training.finish_sweep import finish_sweep
from loopline.components.training.space import read_space
from loopline.components.training.study import find_study
from loopline.components.training.sweep import plan_sweep
from loopline.pipelines import compile as pipelines
from loopline.pipelines.doctor.features import read_compiled, values
from loopline.pipelines.doctor.rights import COMPONENTS, LAUNCH, METRICS, MLFLOW, PIPELINES, Right, needs_of
from loopline.pipelines.spec import compiled_folder

_ROOT = Path(__file__).parents[2]
_ACCOUNT = "pipeline-runner-dspa"
_ROLES = (MLFLOW, PIPELINES, METRICS)
_NEEDS = [LAUNCH, *(need for needs in COMPONENTS.values() for need in needs)]


def _granted() -> list[tuple[str, dict]]:
    """Return what deploy/openshift lets the steps' account do, wherever its files are: kind of binding and rule.

    A role is one of its own, or one that the platform's operators make.
    """
    files = sorted((_ROOT / "deploy" / "openshift").rglob("*.yaml"))
    documents = [
        d for file in files for d in yaml.safe_load_all(file.read_text(encoding="utf-8")) if isinstance(d, dict)
    ]
    roles = {(kind, name): rules for (kind, _, name), rules in PLATFORM_ROLES.items()}
    roles |= {
        (d["kind"], d["metadata"]["name"]): d["rules"] for d in documents if d.get("kind") in ("Role", "ClusterRole")
    }
    found = []
    for binding in documents:
        if str(binding.get("kind")).endswith("RoleBinding"):
            reference = (binding["roleRef"]["kind"], binding["roleRef"]["name"])
            if any((s["kind"], s["name"]) == ("ServiceAccount", _ACCOUNT) for s in binding["subjects"]):
                assert reference in roles, f"a role that nobody makes: {reference}"
                found += [(binding["kind"], rule) for rule in roles[reference]]
    return found


def _resource(right: Right) -> str:
    return f"{right.resource}/{right.subresource}" if right.subresource else right.resource


def _allows(rule: dict, right: Right) -> bool:
    named = right.name in rule.get("resourceNames", [right.name])
    return (
        named
        and right.verb in rule["verbs"]
        and right.group in rule["apiGroups"]
        and _resource(right) in rule["resources"]
    )


def test_the_table_knows_only_components_that_there_are():
    assert set(COMPONENTS) <= set(STAGES)
    assert {pipeline.name for pipeline in read_compiled(compiled_folder())} == set(pipelines.PIPELINES)


def test_every_role_of_the_table_is_needed():
    assert {need.role for need in _NEEDS} == set(_ROLES)


@pytest.mark.parametrize("name", COMPONENTS)
def test_deploy_grants_what_the_steps_need(name):
    for need in COMPONENTS[name]:
        for right in need.rights:
            kinds = [kind for kind, rule in _granted() if _allows(rule, right)]
            assert need.role.binding in kinds, f"deploy/openshift lets {_ACCOUNT} not {right.verb} {right.object}"


def test_deploy_grants_the_steps_no_resource_that_none_needs():
    needed = {
        (right.group, _resource(right)) for needs in COMPONENTS.values() for need in needs for right in need.rights
    }
    # What comes with the platform's own roles, and nothing of Loopline asks for.
    needed |= {("mlflow.kubeflow.org", "datasets"), ("", "namespaces")}
    # Of the component training, which is by choice: train_distributed says itself what it lacks (tests/training).
    needed |= {("trainer.kubeflow.org", "trainjobs"), ("trainer.kubeflow.org", "trainingruntimes")}
    needed |= {("", "pods"), ("", "pods/log")}
    given = {
        (group, resource) for _, rule in _granted() for group in rule["apiGroups"] for resource in rule["resources"]
    }
    assert given <= needed


@pytest.mark.parametrize("need", _NEEDS, ids=range(len(_NEEDS)))
def test_the_platforms_roles_allow_what_is_asked_for(need):
    role = need.role
    [rules] = [found for (kind, _, name), found in PLATFORM_ROLES.items() if (kind, name) == (role.kind, role.name)]
    for right in need.rights:
        assert any(_allows(rule, right) for rule in rules), right


def test_steps_that_read_a_guarded_servers_secret_are_in_the_table():
    """And the other way round: who has a right has the address of what it is for."""
    for pipeline in read_compiled(compiled_folder()):
        needs = needs_of(pipeline)
        for label in pipeline.spec["deploymentSpec"]["executors"]:
            base, _, number = label.removeprefix("exec-").rpartition("-")
            name = (base if base and number.isdigit() else label.removeprefix("exec-")).replace("-", "_")
            path = f"platforms.kubernetes.deploymentSpec.executors.{label}.secretAsEnv.*.secretName"
            read = set(values(pipeline.platform, path))
            wanted = {need.role.secret for need in needs.get(name, ()) if need.role.secret}
            assert wanted <= read, (pipeline.name, name)
            guarded = read & {"loopline-mlflow"}
            assert guarded <= wanted, f"{name} of {pipeline.name} reads {guarded}: put it into COMPONENTS"


def _asked(log: str) -> set[tuple[str, str]]:
    """Return what a server's log says was asked of it, as resources and verbs."""
    requests = re.findall(r'"([A-Z]+) (\S+) HTTP', log)
    return {rights_of(f"{method} {path}") for method, path in requests} - {("", "")}


def test_the_rights_for_mlflow_are_those_that_the_components_use(tmp_path):
    """The components' own logic against a real server, whose log tells the requests."""
    trained = make_model(tmp_path / "trained")
    log = tmp_path / "server.log"
    with run_server(tmp_path) as (uri, _), environment({"MLFLOW_TRACKING_URI": uri}):

        def using(act) -> set[tuple[str, str]]:
            before = log.read_text()
            act()
            return _asked(log.read_text().removeprefix(before))

        used = {
            "register_model": using(lambda: register(trained.model, trained.metrics, trained.report, "late")),
            "promote_model": using(lambda: promote("late", 1)),
            "annotate_model": using(lambda: annotate("late", 0, {"window_end": "2026-01-01"})),
            "load_model": using(lambda: fetch(tmp_path / "fetched", "late")),
        }
        decision = {
            "verdict": "wait", "model_digest": "sha256:1", "reasons": [], "drift_score": None,
            "window": {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-02T00:00:00+00:00"},
            "metric": {"name": "log_loss", "value": None},
        }  # fmt: skip
        service = tmp_path / "service.json"
        service.write_text('{"state": {}}')

        def decide() -> None:
            read_history("late", "2026-02-01T00:00:00+00:00")
            record("late", "key", decision, {"service.json": service})
            read_history("late", "2026-02-01T00:00:00+00:00")

        workers = []

        def run_trial() -> None:
            with open_store() as store:
                study = find_study(store, workers[0].sweep)
                study.bury(0)
                trial = study.claim(1, 0)
                study.begin(trial, {"max_depth": 3})
                study.complete(trial, {"log_loss": 0.5}, 10)
            (tmp_path / "ran").write_text(
                json.dumps({"sweep": workers[0].sweep, "task": "binary", "target": "late", "rows": 10})
            )

        def plan() -> None:
            workers.extend(plan_sweep("tried", read_space("", "", 1), 1))

        used["plan_sweep"] = using(plan)
        used["run_trials"] = using(run_trial)
        used["finish_sweep"] = using(lambda: finish_sweep([tmp_path / "ran"], tmp_path / "sweep.html"))
        used["decide_retraining"] = using(decide)
        used["check_service"] = using(lambda: read_service_state("late", "2026-01-02T00:00:00+00:00"))
    for name, asked in used.items():
        granted = {
            (r.resource, r.verb) for need in COMPONENTS[name] for r in need.rights if r.group == "mlflow.kubeflow.org"
        }
        assert asked == granted, name
