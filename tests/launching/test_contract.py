"""The server of the tests itself: it must refuse what the real one does not know, or the other tests say nothing."""

import os
from datetime import UTC, datetime, timedelta

import kfp
import pytest
import requests
from kfp.client import ServiceAccountTokenVolumeCredentials
from kfp_server_api import RecurringRunServiceApi
from pipeline_server import TOKEN, pipeline_server
from pipeline_server.contract import OPERATIONS, ContractError, check_value

from loopline.pipelines.spec import compiled_folder

RUN = {"display_name": "a run", "pipeline_spec": {}, "runtime_config": {"parameters": {}}}
RECURRING = RUN | {"mode": "ENABLE", "max_concurrency": "1", "trigger": {"cron_schedule": {"cron": "0 0 2 * * *"}}}


@pytest.mark.parametrize(
    ("method", "path", "body", "sentence"),
    [
        ("GET", "/jobs", None, "the API has no GET /apis/v2beta1/jobs"),
        ("PUT", "/runs", None, None),
        ("GET", "/runs?pagesize=3", None, "has no query parameter 'pagesize'"),
        ("GET", "/runs?page_size=many", None, "page_size: 'many' is no int"),
        ("GET", "/runs?page_size=1&page_size=2", None, "page_size is given 2 times"),
        ("GET", "/pipelines?experiment_id=1", None, "has no query parameter 'experiment_id'"),
        ('GET', '/runs?filter={"predicates":[{"op":1}]}', None, "has no field 'op'"),
        ("POST", "/runs", RUN | {"caching": False}, "V2beta1Run has no field 'caching'"),
        ("POST", "/runs", RUN | {"display_name": 3}, "display_name: 3 is no str"),
        ("POST", "/runs", RUN | {"runtime_config": {"params": {}}}, "V2beta1RuntimeConfig has no field 'params'"),
        ("POST", "/recurringruns", RECURRING | {"max_concurrency": "one"}, "max_concurrency: 'one' is no int64"),
        ("POST", "/recurringruns", RECURRING | {"no_catchup": "true"}, "no_catchup: 'true' is no bool"),
        ("POST", "/recurringruns", RECURRING | {"mode": "ON"}, "mode: 'ON' is no RecurringRunMode"),
        ("POST", "/recurringruns", RECURRING | {"trigger": {"cron": "* * * * * *"}}, "has no field 'cron'"),
        ("POST", "/pipelines/upload_version?name=a&pipelineid=b", {}, "takes the files ('uploadfile',)"),
    ],
)  # fmt: skip
def test_what_the_api_does_not_know_is_refused_and_fails_the_test(tmp_path, method, path, body, sentence):
    def ask():
        with pipeline_server(tmp_path) as (_, variables):
            answers.append(
                requests.request(
                    method, f"{variables['KF_PIPELINES_ENDPOINT']}/apis/v2beta1{path}", json=body, timeout=10,
                    headers={"Authorization": f"Bearer {TOKEN}"}, verify=variables["KF_PIPELINES_SSL_SA_CERTS"],
                )
            )  # fmt: skip

    answers = []
    if sentence is None:
        ask()
        assert answers[0].status_code == 501
        return
    with pytest.raises(AssertionError, match="the API does not know what it was asked"):
        ask()
    assert answers[0].status_code == 400
    assert sentence in answers[0].json()["error"]


def test_an_answer_that_the_client_does_not_know_is_refused_too():
    kinds = {operation.answer for operation in OPERATIONS}
    assert {"V2beta1Run", "V2beta1ListRecurringRunsResponse", "V2beta1PipelineVersion"} <= kinds
    check_value({"run_id": "r", "created_at": "2026-11-28T00:00:00Z", "state": "RUNNING"}, "V2beta1Run", "x")
    for wrong in ({"id": "r"}, {"state": "DONE"}, {"created_at": 5}, {"run_details": {"task_details": {}}}):
        with pytest.raises((ContractError, TypeError)):
            check_value(wrong, "V2beta1Run", "x")


@pytest.fixture
def client(server, tmp_path):
    """KFP's own client."""
    credentials = ServiceAccountTokenVolumeCredentials(path=str(tmp_path / "token"))
    authority = os.environ["KF_PIPELINES_SSL_SA_CERTS"]
    return kfp.Client(host=os.environ["KF_PIPELINES_ENDPOINT"], credentials=credentials, ssl_ca_cert=authority)


def test_kfps_own_client_uploads_and_schedules(server, client):
    """Five fields are taken, and read with seconds first: what the command line is there to prevent."""
    file = str(compiled_folder() / "training.yaml")
    pipeline = client.upload_pipeline(file, "mine")
    client.upload_pipeline_version(file, "two", pipeline_id=pipeline.pipeline_id)
    version = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions[0]
    now = datetime(2026, 11, 28, 12, tzinfo=UTC)
    server.clock = lambda: now
    parameters = {"uri": "a", "target": "b", "name": "c"}
    folder = client.create_experiment("mine")
    made = client.create_recurring_run(
        folder.experiment_id, "nightly", cron_expression="0 2 * * *", params=parameters, no_catchup=True,
        pipeline_id=pipeline.pipeline_id, version_id=version.pipeline_version_id, max_concurrency=1,
    )  # fmt: skip
    hours = []
    for minutes in range(0, 180, 5):
        server.clock = lambda minutes=minutes: now + timedelta(minutes=minutes)
        for run in server.control():
            hours.append(run["scheduled_at"])
            run["state"] = "SUCCEEDED"
    assert hours == ["2026-11-28T12:02:00Z", "2026-11-28T13:02:00Z", "2026-11-28T14:02:00Z"]
    client.disable_recurring_run(made.recurring_run_id)
    server.clock = lambda: now + timedelta(hours=9)
    assert server.control() == []
    client.enable_recurring_run(made.recurring_run_id)
    assert [run["scheduled_at"] for run in server.control()] == ["2026-11-28T20:02:00Z"], "the last one missed"


@pytest.mark.parametrize(
    ("orphans", "policy", "state"),
    [(False, "ORPHAN", "FAILED"), (True, "ORPHAN", "PENDING"), (True, "BACKGROUND", "FAILED")],
)
def test_a_run_ends_with_its_schedule_unless_it_may_stay(server, client, orphans, policy, state):
    server.orphans = orphans
    pipeline = client.upload_pipeline(str(compiled_folder() / "rollback.yaml"), "mine")
    version = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions[0]
    now = datetime.now(UTC)
    server.clock = lambda: now
    made = client.create_recurring_run(
        client.create_experiment("mine").experiment_id, "often", interval_second=60, params={"sites": "edge"},
        pipeline_id=pipeline.pipeline_id, version_id=version.pipeline_version_id,
    )  # fmt: skip
    server.clock = lambda: now + timedelta(minutes=2)
    (run,) = server.control()
    assert server.control() == [], "one at a time"
    api = RecurringRunServiceApi(client._recurring_run_api.api_client)
    api.recurring_run_service_delete_recurring_run(made.recurring_run_id, propagation_policy=policy)
    assert run["state"] == state
