"""What a step reads off a TrainJob and its pods, and what it says of the Kubernetes API's refusals."""

import os
from types import SimpleNamespace

import pytest
from kubernetes.client import ApiClient, ApiException, V1Pod

from loopline.components.errors import InputError, TemporaryError
from loopline.components.training.distributed import certificates
from loopline.components.training.distributed.cluster import explain, judge
from loopline.components.training.distributed.jobs import State


def _pod(phase: str, **status) -> V1Pod:
    """A pod as the client reads it."""
    value = {"metadata": {"name": "p"}, "spec": {"containers": []}, "status": {"phase": phase, **status}}
    return ApiClient()._ApiClient__deserialize(value, "V1Pod")


def _container(state: dict, last: dict | None = None) -> list[dict]:
    found = {"name": "node", "image": "i", "imageID": "i", "ready": True, "restartCount": 0, "state": state}
    return [found | ({"lastState": last} if last else {})]


def _job(kind: str = "", **more) -> dict:
    return {"status": {"conditions": [{"type": kind, "status": "True", **more}]}} if kind else {}


ENDED = {"terminated": {"exitCode": 1, "reason": "Error"}}
PULL = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
RUNNING = _pod("Running", containerStatuses=_container({"running": {}}))


@pytest.mark.parametrize(
    ("job", "pods", "state"),
    [
        (_job(), [], State("waiting", "0 of 2 pods exist")),
        (_job("Suspended", message="waits in queue a"), [], State("waiting", "waits in queue a")),
        (
            _job(),
            [RUNNING, _pod("Pending", containerStatuses=_container(PULL))],
            State("waiting", "ImagePullBackOff: no such image"),
        ),
        (_job(), [RUNNING, RUNNING], State("running")),
        (_job("Complete"), [_pod("Succeeded"), _pod("Succeeded")], State("complete")),
        (_job("Failed", message="job was too long"), [], State("failed", "TrainJob: job was too long")),
        (
            _job(),
            [_pod("Failed", containerStatuses=_container(ENDED)), RUNNING],
            State("failed", "Pod p ended with status 1 (Error)"),
        ),
        (
            _job(),
            [
                _pod("Failed", containerStatuses=_container(ENDED)),
                _pod("Failed", containerStatuses=_container({"terminated": {"exitCode": 137, "reason": "Error"}})),
            ],
            State("failed", "Pod p was ended by signal 9"),
        ),
        (
            # Another runtime may start a container again: the job is lost all the same, its workers being strangers.
            _job(),
            [RUNNING, _pod("Running", containerStatuses=_container({"running": {}}, last=ENDED))],
            State("failed", "Pod p ended with status 1 (Error)"),
        ),
        (_job(), [_pod("Failed", reason="Evicted")], State("failed", "Pod p failed (Evicted)")),
    ],
)
def test_the_state_of_a_job(job, pods, state):
    assert judge(job, pods, 2) == state


def _wrapped(cause: Exception) -> Exception:
    """An error as the SDK raises it."""
    try:
        raise RuntimeError("Failed to create TrainJob: loopline/t") from cause
    except RuntimeError as error:
        return error


REFUSED = SimpleNamespace(status=422, reason="", data='{"message": "bad memory"}', getheaders=dict)


@pytest.mark.parametrize(
    ("cause", "kind", "sentence"),
    [
        (ApiException(403), InputError, "Cannot create TrainJobs: this step's account may not: add the component"),
        (ApiException(404), InputError, "Cannot create TrainJobs: there is none: add the component training"),
        (
            ApiException(
                http_resp=SimpleNamespace(status=422, reason="", data='{"message": "bad memory"}', getheaders=dict)
            ),
            InputError,
            "Cannot create TrainJobs: the Kubernetes API answers 422 (bad memory).",
        ),
        (ApiException(503, "Unavailable"), TemporaryError, "the Kubernetes API answers 503 (Unavailable)."),
        (OSError("no route"), TemporaryError, "Cannot create TrainJobs (RuntimeError: Failed to create TrainJob"),
    ],
)
def test_refusals_of_the_api(cause, kind, sentence):
    error = explain(_wrapped(cause), "create TrainJobs")
    assert type(error) is kind
    assert sentence in str(error)


def test_mounted_authorities_are_trusted_besides_the_usual_ones(tmp_path, monkeypatch):
    monkeypatch.setattr(certificates, "MOUNTED_AUTHORITIES", tmp_path)
    certificates.trust_mounted(tmp_path)
    assert "AWS_CA_BUNDLE" not in os.environ
    (tmp_path / "ca-bundle.crt").write_text("of the cluster")
    (tmp_path / "loopline-ca.crt").write_text("of the pipelines")
    monkeypatch.setenv("AWS_CA_BUNDLE", "")
    certificates.trust_mounted(tmp_path)
    with open(os.environ["AWS_CA_BUNDLE"]) as file:
        text = file.read()
    assert "BEGIN CERTIFICATE" in text and text.endswith("of the cluster\nof the pipelines")
    monkeypatch.setenv("AWS_CA_BUNDLE", "named")
    certificates.trust_mounted(tmp_path)
    assert os.environ["AWS_CA_BUNDLE"] == "named"
