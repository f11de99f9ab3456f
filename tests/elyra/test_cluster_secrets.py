"""Secrets of a namespace that reach a step through the Kubernetes API, here one that stands in for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kubernetes_secrets import NAMESPACE, TOKEN, kubernetes_api

from loopline.components import cluster_secrets
from loopline.components.cluster_secrets import MOUNTED, SECRETS
from loopline.components.cluster_secrets import cluster_secrets as taken
from loopline.components.delivery.credentials import load_credentials
from loopline.components.errors import InputError, TemporaryError
from loopline.pipelines.sites.ports import free_port

SECRET = "s3cr3t-value"


@pytest.fixture
def api(tmp_path, monkeypatch):
    """This process is in a pod whose API server holds what the test puts into it."""
    with kubernetes_api(tmp_path) as (server, account, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(cluster_secrets, "ACCOUNT", account)
        yield server


def test_keys_become_variables_for_as_long_as_the_step_runs(api, caplog):
    caplog.set_level("INFO", "loopline")
    api.secrets["loopline-mlflow"] = {"MLFLOW_TRACKING_URI": "https://mlflow", "MLFLOW_TRACKING_TOKEN": SECRET}
    api.secrets["loopline-git"] = {"username": "bot", "password": SECRET, "note": "of no matter"}
    with taken(["loopline-mlflow", "loopline-git", "loopline-s3"]):
        assert os.environ["MLFLOW_TRACKING_TOKEN"] == os.environ["GIT_PASSWORD"] == SECRET
        assert os.environ["GIT_USERNAME"] == "bot"
        assert "AWS_ACCESS_KEY_ID" not in os.environ
    assert "MLFLOW_TRACKING_TOKEN" not in os.environ and "GIT_PASSWORD" not in os.environ
    assert "secret loopline-git sets GIT_USERNAME, GIT_PASSWORD" in caplog.text
    assert SECRET not in caplog.text and TOKEN not in caplog.text


def test_the_environment_comes_first(api, monkeypatch):
    api.secrets["loopline-sites"] = {"token": SECRET}
    monkeypatch.setenv("LOOPLINE_SITE_TOKEN", "of the pod")
    with taken(["loopline-sites"]):
        assert os.environ["LOOPLINE_SITE_TOKEN"] == "of the pod"
    assert api.asked == []


def test_one_key_of_a_secret(api):
    api.secrets["loopline-signing"] = {"cosign.key": SECRET, "cosign.pub": "public"}
    with taken(["loopline-signing/cosign.pub"]):
        assert os.environ["COSIGN_PUBLIC_KEY"] == "public"
        assert "COSIGN_PRIVATE_KEY" not in os.environ


def test_the_registrys_login_is_a_file_that_nobody_else_reads(api, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    login = {"auths": {"registry.example.com": {"username": "bot", "password": SECRET}}}
    api.secrets["loopline-registry"] = {".dockerconfigjson": json.dumps(login)}
    with taken(["loopline-registry"]):
        file = Path(os.environ["REGISTRY_AUTH_FILE"])
        assert load_credentials("registry.example.com", "models/late").password == SECRET
        assert file.parent.stat().st_mode & 0o077 == 0
    assert not file.exists()
    monkeypatch.setenv("REGISTRY_AUTH_FILE", "of the pod")
    with taken(["loopline-registry"]):
        assert os.environ["REGISTRY_AUTH_FILE"] == "of the pod"


def test_a_secret_that_may_not_be_read_is_said_and_left_out(api, caplog):
    api.secrets["loopline-s3"] = {"AWS_ACCESS_KEY_ID": SECRET}
    api.statuses = [403]
    with taken(["loopline-s3"]):
        assert "AWS_ACCESS_KEY_ID" not in os.environ
    assert f"let it `get` secrets in namespace {NAMESPACE}" in caplog.text


def test_an_api_that_is_away_for_a_moment_is_asked_again(api):
    api.secrets["loopline-sites"] = {"token": SECRET}
    api.statuses = [503, 429]
    with taken(["loopline-sites"]):
        assert os.environ["LOOPLINE_SITE_TOKEN"] == SECRET
    api.statuses = [503] * 9
    with pytest.raises(TemporaryError, match="Secret loopline-sites cannot be read: the Kubernetes API answers 503"):
        taken(["loopline-sites"]).__enter__()


def test_an_api_that_is_not_there(api, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(free_port()))
    with pytest.raises(TemporaryError, match="the Kubernetes API does not answer"):
        taken(["loopline-sites"]).__enter__()


def test_a_server_that_is_not_the_clusters_gets_no_token(api):
    """Its certificate is signed by another authority than the pod knows."""
    other = cluster_secrets.ACCOUNT.with_name("other")
    other.mkdir()
    with kubernetes_api(other) as (server, _, variables):
        os.environ.update(variables)
        with pytest.raises(TemporaryError, match="SSLError"):
            taken(["loopline-sites"]).__enter__()
        assert server.asked == []


def test_what_is_no_text_and_a_pod_without_an_account_are_said(api):
    api.secrets["loopline-sites"] = {"token": SECRET}
    (cluster_secrets.ACCOUNT / "token").unlink()
    with pytest.raises(InputError, match="mount the service account's token, or set the variables"):
        taken(["loopline-sites"]).__enter__()


def test_outside_a_pod_nothing_is_asked():
    with taken([*SECRETS, *MOUNTED]):
        pass


@pytest.mark.parametrize("name", ["loopline", "loopline-s3/AWS_PROFILE"])
def test_unknown_secrets_are_refused(name):
    with pytest.raises(InputError, match="There is no secret 'loopline"):
        taken([name]).__enter__()


def test_a_step_uses_the_model_store_that_a_secret_names(api, tmp_path):
    """The program, in a process of its own: real MLflow, whose database is where the secret says."""
    store = tmp_path / "store.db"
    api.secrets["loopline-mlflow"] = {"MLFLOW_TRACKING_URI": f"sqlite:///{store}", "MLFLOW_TRACKING_TOKEN": SECRET}
    start = (
        "import sys; from pathlib import Path; from loopline.components import cluster_secrets, command; "
        f"cluster_secrets.ACCOUNT = Path({str(cluster_secrets.ACCOUNT)!r}); sys.exit(command.main(sys.argv[1:]))"
    )
    words = ["load_model", "--name", "flights", "--missing", "absent", "--model", str(tmp_path / "model")]
    words += ["--secrets", "loopline-mlflow,loopline-s3"]
    done = subprocess.run([sys.executable, "-c", start, *words], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "absent\n"), done.stderr
    assert store.is_file()
    assert SECRET not in done.stderr and TOKEN not in done.stderr
