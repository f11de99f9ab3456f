"""A namespace with Kubeflow Trainer, as far as one training job needs it; a real one needs a cluster.

It serves the Kubernetes API over https to an account that may do exactly what `deploy/openshift/components/training`
allows, has the training runtime of that folder, and takes TrainJobs that fit the models of Trainer's own API. A pod is
a process: with the command of the job and the environment of the runtime, of its secret and of the step image alone.
"""

import contextlib
import datetime
import json
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import yaml
from manifest_schemas import check
from openshift_manifests import FOLDER, documents, permissions
from pipeline_server.certificate import make_certificate

NAMESPACE = "loopline"
STEP_IMAGE = "registry.example.com/loopline-step@sha256:" + "5" * 64
_TRAINER = "trainer.kubeflow.org"
_STEPS = "pipeline-runner-dspa"
#: API group, namespace, resource, name and log of a path.
_PATH = r"/(?:api/v1|apis/([^/]+)/v1alpha1)(?:/namespaces/([^/]+))?/(\w+)(?:/([^/]+))?(/log)?"


class TrainingCluster(ThreadingHTTPServer):
    """A server with a namespace.

    Attributes:
        allowed: What the step's account may do: (API group, resource, verb).
        runtimes: Training runtimes by name.
        secrets: Secrets by name: variables and their values.
        unschedulable: Why no pod finds a node; empty where they do.
        jobs: TrainJobs by name.
        created: Every TrainJob that was created.
        pods: Pods by name.
        log: What was asked, as verb and path.
    """

    daemon_threads = True

    def __init__(self, folder: Path):
        super().__init__(("127.0.0.1", 0), _Handler)
        manifests = documents(FOLDER / "components" / "training")
        self.allowed = permissions(manifests, _STEPS)
        self.runtimes = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "TrainingRuntime"}
        self.secrets: dict[str, dict[str, str]] = {}
        self.unschedulable = ""
        self.jobs: dict[str, dict] = {}
        self.created: list[dict] = []
        self.pods: dict[str, Pod] = {}
        self.log: list[str] = []
        self.folder = folder

    def create(self, job: dict) -> dict:
        """Take a TrainJob and start its pods."""
        check(job)
        self.created.append(job)
        name = job["metadata"]["name"]
        created = datetime.datetime.now(datetime.UTC).isoformat()
        job["metadata"] |= {"namespace": NAMESPACE, "creationTimestamp": created, "uid": name}
        self.jobs[name] = job
        runtime = self.runtimes[job["spec"]["runtimeRef"]["name"]]
        for index in range(job["spec"]["trainer"]["numNodes"]):
            pod = Pod(self, job, runtime, index)
            self.pods[pod.name] = pod
        return job

    def delete(self, name: str) -> None:
        """Delete a TrainJob with its pods."""
        del self.jobs[name]
        for pod in [pod for pod in self.pods.values() if pod.job == name]:
            pod.kill()
            del self.pods[pod.name]

    def read(self, name: str) -> dict:
        """Return a TrainJob as its controller leaves it."""
        codes = [pod.code for pod in self.pods.values() if pod.job == name]
        ended = "Failed" if any(codes) else "Complete" if codes and None not in codes else ""
        now = datetime.datetime.now(datetime.UTC).isoformat()
        told = {"status": "True", "reason": "JobSet", "message": f"jobset {ended}", "lastTransitionTime": now}
        conditions = [{"type": ended, **told}]
        return self.jobs[name] | ({"status": {"conditions": conditions}} if ended else {})


class Pod:
    """A pod of a job: a process, unless no node takes it."""

    def __init__(self, cluster: TrainingCluster, job: dict, runtime: dict, index: int):
        self.job = job["metadata"]["name"]
        self.name = f"{self.job}-node-0-{index}-x{index}"
        self.reason = ""
        self._cluster, self._index, self._trainer = cluster, index, job["spec"]["trainer"]
        self.process = None
        self.output = cluster.folder / f"{self.name}.log"
        (replicated,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
        (container,) = replicated["template"]["spec"]["template"]["spec"]["containers"]
        self.output.write_text("")
        if cluster.unschedulable:
            return
        variables = {entry["name"]: entry["value"] for entry in container.get("env", [])}
        for entry in container["envFrom"]:
            variables |= cluster.secrets.get(entry["secretRef"]["name"], {})
        assert not set(variables) & {"JOB_COMPLETION_INDEX"}
        command = [*self._trainer["command"], *self._trainer["args"]]
        assert command[0] == "python"
        with open(self.output, "w") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command[1:]],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PYTHONUNBUFFERED": "1", **variables, "JOB_COMPLETION_INDEX": str(index)},
                cwd=cluster.folder,
            )

    @property
    def code(self) -> int | None:
        """The exit status, None while there is none; above 128 for a signal, as Kubernetes has it."""
        code = self.process.poll() if self.process else None
        return 128 - code if code is not None and code < 0 else code

    def kill(self) -> None:
        """End the process."""
        if self.process:
            self.process.kill()
            self.process.wait()

    def to_dict(self) -> dict:
        """Return the pod as Kubernetes shows it."""
        labels = {
            "jobset.sigs.k8s.io/jobset-name": self.job,
            "jobset.sigs.k8s.io/replicatedjob-name": "node",
            "batch.kubernetes.io/job-completion-index": str(self._index),
        }
        return {
            "metadata": {"name": self.name, "namespace": NAMESPACE, "labels": labels},
            "spec": {"containers": [{"name": "node", "image": self._trainer.get("image", "")}]},
            "status": self._status(),
        }

    def _status(self) -> dict:
        if self.process is None:
            unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
            return {"phase": "Pending", "conditions": [unscheduled | {"message": self._cluster.unschedulable}]}
        code = self.code
        if code is None:
            return {"phase": "Running", "containerStatuses": [_container({"running": {}})]}
        reason = self.reason or ("Completed" if code == 0 else "Error")
        state = {"terminated": {"exitCode": code, "reason": reason}}
        return {"phase": "Failed" if code else "Succeeded", "containerStatuses": [_container(state)]}


def _container(state: dict) -> dict:
    return {"name": "node", "image": "i", "imageID": "i", "ready": True, "restartCount": 0, "state": state}


@contextlib.contextmanager
def training_cluster(folder: Path) -> Iterator[tuple[TrainingCluster, dict[str, str]]]:
    """Run a cluster; yields it and the environment with which a step finds it."""
    folder.mkdir(exist_ok=True)
    key, certificate = make_certificate(folder, "127.0.0.1", "kubernetes")
    cluster = TrainingCluster(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    cluster.socket = context.wrap_socket(cluster.socket, server_side=True)
    thread = threading.Thread(target=cluster.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield cluster, {"KUBECONFIG": str(_write_kubeconfig(folder, cluster, certificate)), "KFP_POD_NAME": "step"}
    finally:
        for pod in cluster.pods.values():
            pod.kill()
        cluster.shutdown()
        cluster.server_close()
        thread.join()


def _write_kubeconfig(folder: Path, cluster: TrainingCluster, certificate: Path) -> Path:
    server = {"server": f"https://127.0.0.1:{cluster.server_address[1]}", "certificate-authority": str(certificate)}
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "c", "cluster": server}],
        "users": [{"name": "u", "user": {"token": "token-of-the-step"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
    }  # fmt: skip
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


class _Handler(BaseHTTPRequestHandler):
    server: TrainingCluster

    def do_GET(self):
        self._serve("get")

    def do_POST(self):
        self._serve("create")

    def do_DELETE(self):
        self._serve("delete")

    def _serve(self, verb: str):
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = re.fullmatch(_PATH, parts.path)
        group, namespace, resource, name, log = found.groups()
        if verb == "get" and not name:
            verb = "list"
        self.server.log.append(f"{verb} {resource}")
        if namespace != NAMESPACE or (group or "", resource + (log or ""), verb) not in self.server.allowed:
            return self._answer({"kind": "Status", "message": f"may not {verb} {resource}"}, 403)
        if resource == "pods":
            return self._pods(name, log, parse_qs(parts.query))
        if verb == "create":
            return self._answer(self.server.create(json.loads(body)), 201)
        known = self.server.runtimes if resource == "trainingruntimes" else self.server.jobs
        if name not in known:
            return self._answer({"kind": "Status", "message": f"{name} not found"}, 404)
        if verb == "delete":
            self.server.delete(name)
            return self._answer({"kind": "Status", "status": "Success"})
        return self._answer(known[name] if known is self.server.runtimes else self.server.read(name))

    def _pods(self, name: str | None, log: str | None, query: dict):
        if name == "step":
            containers = [{"name": "wait", "image": "argo"}, {"name": "main", "image": STEP_IMAGE}]
            return self._answer({"metadata": {"name": name}, "spec": {"containers": containers}})
        if log:
            return self._send(self.server.pods[name].output.read_bytes(), "text/plain")
        wanted = re.match(r"jobset.sigs.k8s.io/jobset-name=([^,]+)", query["labelSelector"][0])[1]
        items = [pod.to_dict() for pod in self.server.pods.values() if pod.job == wanted]
        return self._answer({"kind": "PodList", "items": items})

    def _answer(self, value: dict, status: int = 200):
        self._send(json.dumps(value).encode(), "application/json", status)

    def _send(self, body: bytes, kind: str, status: int = 200):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
