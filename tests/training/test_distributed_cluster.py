"""Training on the pods of a TrainJob, with data in S3: what is sent, what comes back, and what goes wrong."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from object_stores import running_store
from training_cluster import STEP_IMAGE, training_cluster
from training_tables import OTHERS

from loopline.components.model.directory import read_manifest

BUCKET = "loopline"
PROGRAM = """
import sys
from kfp.dsl.types import artifact_types
artifact_types._S3_LOCAL_MOUNT_PREFIX = artifact_types._MINIO_LOCAL_MOUNT_PREFIX = sys.argv[1]
from loopline.components.command import main
from loopline.components.training.distributed import train
train._MINUTE_S = 4
sys.exit(main(sys.argv[2:]))
"""


class Step:
    """A step of a run on the cluster: a process with its artifacts in S3, mounted where the engine mounts them."""

    def __init__(self, folder, store, cluster, variables):
        self.store, self.cluster, self.variables = store, cluster, variables
        self.mounts = folder / "mounts"
        self.model = self.mounts / BUCKET / "runs" / "1" / "model"
        self._told = {
            "inputs": {"artifacts": {name: self._artifact(name) for name in ("train", "validation", "schema")}},
            "outputs": {
                "artifacts": {name: self._artifact(name) for name in ("model", "metrics")},
                "outputFile": str(folder / "outputs.json"),
            },
        }

    def _artifact(self, name: str) -> dict:
        scheme = "minio" if name == "train" else "s3"  # the engine knows both
        return {"artifacts": [{"name": name, "uri": f"{scheme}://{BUCKET}/runs/1/{name}", "metadata": {}}]}

    def begin(self, **changes) -> subprocess.Popen:
        """Start the step."""
        values = {"target": "late", "exclude": OTHERS["late"], "rounds": 30, "cpu": "1", "start_minutes": 1, **changes}
        values |= {name: self.model.with_name(name) for name in ("train", "validation", "schema", "model", "metrics")}
        words = [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]
        words += ["--executor-input", json.dumps(self._told)]
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, f"{self.mounts}/", "train_distributed", *words],
            env={**os.environ, **self.variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, **changes) -> tuple[int, str]:
        """Run the step to its end; returns the exit status and what it said."""
        process = self.begin(**changes)
        said, _ = process.communicate(timeout=120)
        return process.returncode, said


@pytest.fixture
def step(tables, monkeypatch, tmp_path):
    with running_store(monkeypatch, BUCKET) as store, training_cluster(tmp_path / "cluster") as (cluster, variables):
        cluster.secrets["loopline-s3"] = {name: os.environ[name] for name in os.environ if name.startswith("AWS_")}
        step = Step(tmp_path, store, cluster, variables)
        step.model.parent.mkdir(parents=True)
        for name in ("train", "validation", "schema"):
            shutil.copy(getattr(tables, name), step.model.with_name(name))
            store.fput_object(BUCKET, f"runs/1/{name}", str(getattr(tables, name)))
        yield step


def _last(said: str) -> str:
    return said.strip().splitlines()[-1]


def test_a_job_trains_the_model(step):
    code, said = step.run()
    assert code == 0, said
    manifest = read_manifest(step.model)
    assert manifest.training["component"] == "train_distributed"
    assert manifest.training["workers"] == 2
    assert manifest.training["validation"]["roc_auc"] > 0.9
    assert "2 workers trained on 1,500 + 1,500 rows" in said
    (job,) = step.cluster.created
    trainer = job["spec"]["trainer"]
    assert job["spec"]["runtimeRef"] == {"name": "loopline", "kind": "TrainingRuntime"}
    assert trainer["image"] == STEP_IMAGE, "workers run another image than the step"
    assert trainer["numNodes"] == 2
    assert trainer["resourcesPerNode"]["limits"] == {"cpu": "1", "memory": "4Gi"}
    assert "hidden-secret" not in json.dumps(job) + said
    # Nothing is left: no job, no pod, no file of theirs beside the model.
    assert not step.cluster.jobs and not step.cluster.pods
    left = [item.object_name for item in step.store.list_objects(BUCKET, recursive=True)]
    assert left == ["runs/1/schema", "runs/1/train", "runs/1/validation"]


def test_a_pod_that_runs_out_of_memory(step):
    process = step.begin(rounds=100_000, early_stopping_rounds=0)
    pod = _training_pod(step, 1)
    pod.reason = "OOMKilled"
    pod.process.kill()
    began = time.monotonic()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert time.monotonic() - began < 45
    reason = f"Pod {pod.name} ran out of memory: raise memory, or workers for smaller shares."
    assert _last(said) == f"loopline: Training on several machines failed. {reason}"
    assert not step.cluster.jobs and not step.cluster.pods
    assert not step.model.exists()


def _training_pod(step, index: int):
    """Return a pod once both train."""
    for _ in range(600):
        pods = list(step.cluster.pods.values())
        if len(pods) == 2 and all("got rank" in pod.output.read_text() for pod in pods):
            return pods[index]
        time.sleep(0.1)
    raise AssertionError([pod.output.read_text() for pod in step.cluster.pods.values()])


def test_a_job_without_a_node(step):
    step.cluster.unschedulable = "0/3 nodes are available: 3 Insufficient memory."
    code, said = step.run()
    assert code == 1
    assert "did not start within 1 minute(s): Unschedulable: 0/3 nodes are available: 3 Insufficient memory." in said
    assert not step.cluster.jobs


def test_a_retry_replaces_the_job_of_a_step_that_was_killed(step):
    killed = step.begin(rounds=100_000, early_stopping_rounds=0)
    _training_pod(step, 0)
    killed.kill()
    killed.communicate()
    assert len(step.cluster.jobs) == 1
    # The same step again; only a training that ends is let through.
    (name,) = step.cluster.jobs
    retried = step.begin(rounds=100_000, early_stopping_rounds=0)
    for _ in range(600):
        if len(step.cluster.created) == 2:
            break
        time.sleep(0.1)
    assert list(step.cluster.jobs) == [name]
    retried.terminate()
    said, _ = retried.communicate(timeout=60)
    assert f"TrainJob {name} is there from an earlier try: it is replaced" in said
    assert retried.returncode == 143
    assert not step.cluster.jobs, "a step that is ended leaves its job behind"


@pytest.mark.parametrize(
    ("lost", "sentence"),
    [
        (("trainer.kubeflow.org", "trainjobs", "create"), "Cannot create TrainJobs: this step's account may not: add"),
        (
            ("trainer.kubeflow.org", "trainingruntimes", "get"),
            "Cannot use the training runtime 'loopline' of this",
        ),
    ],
)
def test_what_the_account_may_not(step, lost, sentence):
    step.cluster.allowed = step.cluster.allowed - {lost}
    code, said = step.run()
    assert code == 2
    assert f"loopline: {sentence}" in said
    assert "Traceback" not in said


def test_a_runtime_that_is_not_there(step):
    code, said = step.run(runtime="torch-distributed")
    assert code == 2
    assert "loopline: Cannot use the training runtime 'torch-distributed' of this namespace: " in _last(said)


def test_data_that_workers_cannot_read(step):
    step.store.remove_object(BUCKET, "runs/1/train")
    code, said = step.run()
    assert code == 2
    assert _last(said).startswith("loopline: Cannot read s3://loopline/runs/1/train: there is no such object")
