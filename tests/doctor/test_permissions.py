"""What the pipelines' steps may do on a cluster, against a stand-in that decides as Kubernetes does.

``tests/kubernetes_api.py`` says what the stand-in holds to.
"""

import base64
import re

import pytest
from doctor_runs import doctor
from kubernetes_api import NAMESPACE, kubernetes_api, service_account, write_kubeconfig

_SERVERS = {"MLflow", "pipeline server"}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster in which ana is an administrator of the namespace, and the steps' account may do nothing."""
    with kubernetes_api(tmp_path) as (api, variables):
        api.bind("admin", "ana")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield api


def _command(mend: str) -> str:
    return re.search(r"`(oc create [^`]+)`", mend)[1]


def test_what_is_missing_is_mended_by_the_commands_that_are_told(cluster):
    examined = doctor("permissions")
    missing = {finding["title"]: finding for finding in examined.all("problem")}
    assert set(missing) == _SERVERS
    mlflow = missing["MLflow"]
    assert "; get, list, create, update registeredmodels.mlflow.kubeflow.org. So " in mlflow["seen"]
    assert (
        "promote_model, register_model, run_trials, update_model_card, write_model_card (in batch-scoring, capacity, "
        in mlflow["seen"]
    )
    assert "deploy/openshift allows the same" in mlflow["mend"]
    server = missing["pipeline server"]["seen"]
    assert "get, create datasciencepipelinesapplications/api.datasciencepipelinesapplications.opendatahub.io" in server
    assert "So trigger_pipeline (in monitoring) will fail" in server
    for finding in missing.values():
        cluster.run(_command(finding["mend"]))
    mended = doctor("permissions")
    assert mended.status == 0
    assert {finding["title"] for finding in mended.all("ok")} == _SERVERS | {"this account"}


def test_only_who_needs_what_is_missing_is_named(cluster):
    cluster.roles["ClusterRole", "", "mlflow-operator-mlflow-integration"] = [
        {
            "apiGroups": ["mlflow.kubeflow.org"], "resources": ["experiments", "registeredmodels"],
            "verbs": ["get", "list", "update"],
        }
    ]  # fmt: skip
    cluster.run(_command(doctor("permissions").of("MLflow")["mend"]))
    seen = doctor("permissions").of("MLflow")["seen"]
    assert seen == (
        "pipeline-runner-dspa may not create experiments.mlflow.kubeflow.org; create "
        "registeredmodels.mlflow.kubeflow.org. So decide_retraining, plan_sweep, register_model "
        "(in monitoring, retraining, sweep, training, training-partitioned, training-sklearn) will fail"
    )


def test_metrics_are_asked_for_where_prometheus_is_named(cluster):
    assert "no secret loopline-prometheus names a Prometheus" in doctor("permissions").of("metrics")["seen"]
    cluster.put("", "secrets", "loopline-prometheus", data={"url": _encoded("https://thanos")})
    assert "only an administrator may" in doctor("permissions").of("metrics")["seen"]
    cluster.bind("system:auth-delegator", "ana", "ClusterRoleBinding")
    missing = doctor("permissions").of("metrics")
    assert missing["state"] == "problem"
    assert "create prometheuses/api.monitoring.coreos.com k8s" in missing["seen"]
    cluster.run(_command(missing["mend"]))
    assert doctor("permissions").of("metrics")["state"] == "ok"
    cluster.put("", "secrets", "loopline-prometheus", data={"url": _encoded("x"), "token": _encoded("token-canary")})
    assert "has token, with which steps ask" in doctor("permissions").of("metrics")["seen"]


def test_a_login_of_its_own_for_mlflow_needs_no_role(cluster):
    data = {"MLFLOW_TRACKING_USERNAME": _encoded("robot"), "MLFLOW_TRACKING_PASSWORD": _encoded("pass-canary")}
    cluster.put("", "secrets", "loopline-mlflow", data=data)
    examined = doctor("permissions")
    assert examined.of("MLflow")["state"] == "skipped"
    assert "MLFLOW_TRACKING_USERNAME" in examined.of("MLflow")["seen"]
    assert "canary" not in examined.output
    assert [finding["title"] for finding in examined.all("problem")] == ["pipeline server"]


def test_an_account_that_may_not_submit_is_told_how(cluster, tmp_path):
    cluster.users["token-of-bench"] = service_account("bench")
    write_kubeconfig(tmp_path, cluster, "token-of-bench", tmp_path / "api.pem")
    examined = doctor("permissions")
    refused = examined.of("this account")
    assert refused["state"] == "problem"
    assert "get, create, delete datasciencepipelinesapplications/api" in refused["seen"]
    assert "only an administrator may" in examined.of("MLflow")["seen"]
    cluster.run(_command(refused["mend"]))
    assert doctor("permissions").of("this account")["state"] == "ok"


def test_a_step_may_ask_for_itself(cluster, tmp_path):
    write_kubeconfig(tmp_path, cluster, "token-of-steps", tmp_path / "api.pem")
    examined = doctor("permissions")
    assert {finding["title"] for finding in examined.all("problem")} >= _SERVERS
    asked = [path for path in cluster.asked if "subjectaccessreviews" in path]
    assert all("/selfsubjectaccessreviews" in path for path in asked)


def test_the_account_of_the_steps_has_to_be_there(cluster):
    examined = doctor("permissions", "--service-account", "runner")
    assert examined.of("steps")["seen"] == f"there is no service account runner in {NAMESPACE}"
    assert "--service-account" in examined.of("steps")["mend"]


def test_a_wrong_token_is_told_without_showing_it(cluster, tmp_path):
    write_kubeconfig(tmp_path, cluster, "token-canary", tmp_path / "api.pem")
    examined = doctor("permissions", "cluster", "secrets")
    assert "refuses the token" in examined.of("API")["seen"]
    assert "`oc login`" in examined.of("API")["mend"]
    assert "canary" not in examined.output
    assert examined.status == 0, "a kubeconfig that lies around on a laptop is no problem"


def test_a_cluster_that_is_away_is_a_warning_on_a_laptop(cluster, tmp_path):
    cluster.server_address = ("127.0.0.1", 9)
    write_kubeconfig(tmp_path, cluster, "token-of-ana", tmp_path / "api.pem")
    examined = doctor("cluster", "permissions", "secrets")
    assert {finding["state"] for finding in examined.findings} == {"warning"}
    assert "Connect to its network" in examined.of("API")["mend"]


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
