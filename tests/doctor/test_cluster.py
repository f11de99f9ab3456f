"""Names and secrets on a cluster, against a stand-in for its API (``tests/kubernetes_api.py``)."""

import base64
import json
from pathlib import Path

import pytest
import yaml
from doctor_runs import doctor
from kubernetes_api import NAMESPACE, kubernetes_api, service_account, write_kubeconfig

from loopline.pipelines.doctor.cluster import RUNTIMES
from loopline.pipelines.settings import MOUNTED, SECRETS

_ROOT = Path(__file__).parents[2]
_DSPA = "datasciencepipelinesapplications"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A cluster in which ana is an administrator of the namespace."""
    with kubernetes_api(tmp_path) as (api, variables):
        api.bind("admin", "ana")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield api


def _server(cluster, name: str, ready: str = "True", message: str = "") -> None:
    conditions = [{"type": "Ready", "status": ready, "message": message}]
    cluster.put(f"{_DSPA}.opendatahub.io", _DSPA, name, status={"conditions": conditions})


def _secret(cluster, name: str, kind: str = "Opaque", **values: str) -> None:
    data = {key.replace("__", "."): base64.b64encode(value.encode()).decode() for key, value in values.items()}
    cluster.put("", "secrets", name, data=data, type=kind)


def test_who_asks_is_said(cluster):
    seen = doctor("cluster").of("API")["seen"]
    assert seen.startswith("https://127.0.0.1:")
    assert seen.endswith("Kubernetes v1.32.6, as ana")


def test_the_pipeline_server_has_to_be_called_dspa(cluster):
    none = doctor("cluster").of("pipeline server")
    assert none["state"] == "problem"
    assert none["seen"] == f"there is none in {NAMESPACE}, and it has to be called dspa"
    _server(cluster, "pipelines")
    other = doctor("cluster").of("pipeline server")
    assert other["seen"] == f"{NAMESPACE} has pipelines, and it has to be called dspa"
    assert "DataSciencePipelinesApplication dspa" in other["mend"]
    _server(cluster, "dspa", "False", "the database is not reachable")
    waiting = doctor("cluster").of("pipeline server")
    assert waiting["state"] == "warning"
    assert "the database is not reachable" in waiting["seen"]
    assert f"`oc describe dspa dspa -n {NAMESPACE}`" in waiting["mend"]
    _server(cluster, "dspa")
    assert doctor("cluster").of("pipeline server")["seen"] == f"dspa in {NAMESPACE}, ready"


def test_serving_runtimes_are_named_as_in_the_configuration_repository(cluster):
    files = (_ROOT / "deploy" / "config-repo" / "runtimes").rglob("serving-runtime.yaml")
    assert {yaml.safe_load(file.read_text())["metadata"]["name"] for file in files} == set(RUNTIMES)
    assert "none of loopline-mlserver" in doctor("cluster").of("serving runtimes")["seen"]
    cluster.put("serving.kserve.io", "servingruntimes", "mlserver-runtime")
    assert doctor("cluster").of("serving runtimes")["seen"] == f"mlserver-runtime in {NAMESPACE}"


def test_what_may_not_be_read_is_skipped(cluster, tmp_path):
    write_kubeconfig(tmp_path, cluster, "token-of-steps", tmp_path / "api.pem")
    examined = doctor("cluster", "secrets")
    assert examined.of("API")["seen"].endswith(f"as {service_account('pipeline-runner-dspa')}")
    assert {f["title"] for f in examined.all("skipped")} == {"pipeline server", "serving runtimes", "secrets"}
    assert examined.status == 0


@pytest.mark.parametrize("text", [b"clusters: [", b"\xff\xfe"])
def test_a_login_that_cannot_be_read_is_said(tmp_path, text):
    (tmp_path / "config").write_bytes(text)
    seen = doctor("cluster", KUBECONFIG=str(tmp_path / "config")).of("API")
    assert seen["state"] == "warning"
    assert "access to the cluster cannot be read" in seen["seen"]


def test_another_namespace_is_looked_at(cluster):
    cluster.bind("admin", "ana", "ClusterRoleBinding")
    _server(cluster, "dspa")
    assert "there is none in other" in doctor("cluster", "--namespace", "other").of("pipeline server")["seen"]


def test_an_authority_that_is_unknown_is_told(cluster, tmp_path):
    from delivery_registry import make_certificate

    other, _ = make_certificate(tmp_path / "other.pem")
    write_kubeconfig(tmp_path, cluster, "token-of-ana", other)
    seen = doctor("cluster").of("API")["seen"]
    assert "is not trusted" in seen
    config = yaml.safe_load((tmp_path / "kubeconfig").read_text())
    config["clusters"][0]["cluster"] |= {"insecure-skip-tls-verify": True}
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    assert "is not trusted" in doctor("cluster").of("API")["seen"], "the token would go to whoever listens"


def test_secrets_show_their_keys_and_never_a_value(cluster):
    examined = doctor("secrets")
    assert {finding["title"] for finding in examined.all("skipped")} == {*SECRETS, *MOUNTED}
    assert "read by batch-scoring, capacity, delivery" in examined.of("loopline-s3")["seen"]
    _secret(cluster, "loopline-s3", AWS_ACCESS_KEY_ID="id-canary", AWS_SECRET_ACCESS_KEY="key-canary")
    _secret(cluster, "loopline-git", "kubernetes.io/basic-auth", username="u-canary", password="p-canary")
    _secret(cluster, "loopline-registry", "kubernetes.io/dockerconfigjson", __dockerconfigjson="{}canary")
    found = doctor("secrets")
    assert found.of("loopline-s3")["seen"] == "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
    assert found.of("loopline-git")["state"] == "ok"
    assert found.of("loopline-registry")["state"] == "ok"
    assert "canary" not in found.output
    assert base64.b64encode(b"id-canary").decode() not in found.output


@pytest.mark.parametrize(
    ("name", "values", "state", "seen", "mend"),
    [
        ("loopline-s3", {"AWS_ACCESS_KEY_ID": "x"}, "problem", "AWS_SECRET_ACCESS_KEY is missing", "Add the key"),
        ("loopline-git", {"username": "x"}, "problem", "password is missing", "Add the key password"),
        ("loopline-git", {"password": "x\n"}, "warning", "line break, as `echo` writes it: password", "printf %s"),
        ("loopline-sites", {"token": ""}, "warning", "empty: token", "Fill it"),
        ("loopline-mlflow", {"MLFLOW_TRACKING_URL": "x"}, "warning", "meant MLFLOW_TRACKING_URI?", "Rename"),
        ("loopline-registry", {"config": "x"}, "problem", "of type Opaque with config", "docker-registry"),
        ("loopline-prometheus", {"url": "x", "note": "y"}, "ok", "url; not read: note", ""),
        ("loopline-signing", {"cosign__key": "-----BEGIN\nx\n-----END\n"}, "ok", "cosign.key", ""),
    ],
)
def test_what_is_wrong_with_a_secret_is_told(cluster, name, values, state, seen, mend):
    _secret(cluster, name, **values)
    found = doctor("secrets").of(name)
    assert found["state"] == state
    assert seen in found["seen"]
    assert mend in found["mend"]
    if state != "ok":
        assert name in found["mend"]


@pytest.mark.parametrize(
    ("fields", "release"),
    [
        ({"apiServer": {"properties": {"workspace": {}}}}, "3.3"),
        ({"apiServer": {"properties": {"workspace": {}, "resourceTTL": {}}}}, "3.4"),
        ({"apiServer": {"properties": {"resourceTTL": {}}}, "mlflow": {}}, "3.5"),
    ],
)
def test_the_release_is_known_by_the_fields_of_its_pipeline_servers(cluster, tmp_path, fields, release):
    from pipeline_server import pipeline_server

    schemas = {"io.DataSciencePipelinesApplication": {"properties": {"spec": {"properties": fields}}}}
    cluster.openapi = {"openapi": "3.0.0", "components": {"schemas": schemas}}
    with pipeline_server(tmp_path) as (_, variables):
        found = doctor("kfp", **variables).of("version")
    assert f"OpenShift AI {release}" in found["seen"]
    assert found["state"] == ("problem" if release == "3.3" else "ok")


def test_the_fields_are_those_of_the_releases_own_definitions():
    from manifest_schemas import CRDS

    from loopline.pipelines.doctor.features import values
    from loopline.pipelines.doctor.kfp import _FIELDS

    for release in _FIELDS:
        file = CRDS / f"dspa-rhoai-{release}.yaml"
        if not file.is_file():
            pytest.skip(f"there is no {file}")
        definition = yaml.safe_load(file.read_text())
        [spec] = values(definition, "spec.versions.*.schema.openAPIV3Schema.properties.spec")
        found = [
            name for name, path in _FIELDS.items() if list(values(spec, "properties." + ".properties.".join(path)))
        ]
        assert found[0] == release
    assert json.dumps(list(_FIELDS)) == '["3.5", "3.4", "3.3"]', "the newest is looked for first"
