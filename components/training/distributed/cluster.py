"""The job on a cluster, by the Kubernetes back end of Kubeflow's SDK.

The SDK makes, deletes and reads out TrainJobs. Of how a job is it tells one word; why it waits or failed is in the
conditions of the job and of its pods, which are asked for with the SDK's own connection.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator

from loopline.components.errors import InputError, TemporaryError
from loopline.components.secrecy import hide
from loopline.components.training.distributed.exchange import Exchange
from loopline.components.training.distributed.jobs import State

#: What the jobs of this component are labeled with.
LABELS = {"app.kubernetes.io/part-of": "loopline", "app.kubernetes.io/component": "train-distributed"}
_TRAINJOBS = ("trainer.kubeflow.org", "v1alpha1")
#: Seconds: for one answer of the API, for an earlier job to be gone, and for an API that is away to come back.
_ANSWER_S, _GONE_S, _AWAY_S = 30, 180, 120
_POLL_S = 1
#: The status of a container that was ended by a signal is this and the signal's number.
_SIGNALED = 128

logger = logging.getLogger("loopline")


class ClusterJob:
    """A job of pods.

    Args:
        name: The TrainJob's name.
        place: What step and workers share, in S3.
        workers: How many there are.
        memory: Memory of each.
        cpu: CPUs of each.
        runtime: The training runtime: it says what a pod is given besides, such as the key of S3.
    """

    def __init__(self, name: str, place: Exchange, workers: int, memory: str, cpu: str, runtime: str):
        self._name, self._place, self._workers = name, place, workers
        self._resources = {"cpu": cpu, "memory": memory}
        self._runtime = runtime
        self._answered, self._last = time.monotonic(), State("waiting")
        self._client = self._connect()

    def prepare(self) -> None:
        """Delete an earlier TrainJob of the same name and wait until its pods are gone, too."""
        with self._explained("replace an earlier TrainJob"):
            if self._read_job() is not None:
                logger.info("TrainJob %s is there from an earlier try: it is replaced", self._name)
                self._client.delete_job(self._name)
        end = time.monotonic() + _GONE_S
        while self._is_there():
            if time.monotonic() > end:
                raise TemporaryError(
                    f"An earlier TrainJob {self._name} does not end: delete it and run the step again."
                )
            time.sleep(_POLL_S)

    def start(self) -> None:
        """Create the TrainJob."""
        from kubeflow.trainer import CustomTrainerContainer
        from kubeflow.trainer.options import Labels, Name, TrainerArgs, TrainerCommand

        with self._explained(f"use the training runtime {self._runtime!r} of this namespace"):
            runtime = self._client.get_runtime(self._runtime)
        trainer = CustomTrainerContainer(
            image=self._own_image(), num_nodes=self._workers, resources_per_node=self._resources
        )
        options = [
            Name(self._name),
            Labels(LABELS),
            TrainerCommand(["python", "-m", "loopline.components.training.distributed.worker"]),
            TrainerArgs([self._place.uri]),
        ]
        with self._explained("create TrainJobs"):
            self._client.train(runtime=runtime, trainer=trainer, options=options)
        logger.info("TrainJob %s: %d pods", self._name, self._workers)
        self._answered = time.monotonic()

    def state(self) -> State:
        """Return how the job is, by its conditions and its pods'.

        Raises:
            TemporaryError: The API has not answered for minutes.
        """
        try:
            job, pods = self._read_job(), self._read_pods()
        except Exception as error:  # of the client, of urllib3 or of the network
            if time.monotonic() - self._answered > _AWAY_S:
                raise TemporaryError(
                    f"The Kubernetes API has not answered for {_AWAY_S} s ({type(error).__name__}): run the step again."
                ) from None
            return self._last
        self._answered = time.monotonic()
        self._last = State("failed", f"Somebody deleted the TrainJob {self._name}")
        if job is not None:
            self._last = judge(job, pods, self._workers)
        return self._last

    def new_lines(self) -> list[str]:
        """Return nothing: logs are read at the end, when no line is read twice."""
        return []

    def stop(self) -> None:
        """Show the pods' logs and delete the job."""
        for worker in range(self._workers):
            with contextlib.suppress(Exception):
                for line in self._client.get_job_logs(self._name, step=f"node-{worker}"):
                    logger.info("worker %d: %s", worker, line)
        with contextlib.suppress(Exception):
            self._client.delete_job(self._name)

    def _connect(self):
        from kubeflow.common.types import KubernetesBackendConfig
        from kubeflow.trainer import TrainerClient

        # It warns when it may not read the control plane's version, which steps need not.
        logging.getLogger("kubeflow.trainer").setLevel(logging.ERROR)
        with self._explained("reach the Kubernetes API"):
            return TrainerClient(KubernetesBackendConfig())

    def _is_there(self) -> bool:
        with self._explained("read TrainJobs and pods"):
            return self._read_job() is not None or bool(self._read_pods())

    def _read_job(self) -> dict | None:
        from kubernetes.client import ApiException

        backend = self._client.backend
        try:
            return backend.custom_api.get_namespaced_custom_object(
                *_TRAINJOBS, backend.namespace, "trainjobs", self._name, _request_timeout=_ANSWER_S
            )
        except ApiException as error:
            if error.status != 404:
                raise
            return None

    def _read_pods(self) -> list:
        backend = self._client.backend
        selector = f"jobset.sigs.k8s.io/jobset-name={self._name}"
        return backend.core_api.list_namespaced_pod(
            backend.namespace, label_selector=selector, _request_timeout=_ANSWER_S
        ).items

    def _own_image(self) -> str:
        """Return the image of this step, so that workers run the same code; none where it cannot be told."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        backend, pod = self._client.backend, os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME", "")
        try:
            containers = backend.core_api.read_namespaced_pod(
                pod, backend.namespace, _request_timeout=_ANSWER_S
            ).spec.containers
            return next(container.image for container in containers if container.name == "main")
        except (ApiException, HTTPError, StopIteration):
            logger.info("the image of this step is not known: workers run that of runtime %s", self._runtime)
            return ""

    @contextlib.contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        """Turn what the SDK raises into one sentence."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            raise explain(error, action) from None


def explain(error: Exception, action: str) -> InputError:
    """Return the sentence for an error of the SDK, which wraps that of the API.

    Args:
        error: What the SDK raised.
        action: What could not be done.
    """
    from kubernetes.client import ApiException

    cause = error
    while cause is not None and not isinstance(cause, ApiException):
        cause = cause.__cause__
    advice = {
        401: "the service account's token is not taken: run the step on the cluster that it is for",
        403: "this step's account may not: add the component training to the namespace's overlay (deploy/openshift)",
        404: "there is none: add the component training to the namespace's overlay (deploy/openshift), and enable "
        "Kubeflow Trainer in OpenShift AI",
    }
    if cause is None:
        return TemporaryError(f"Cannot {action} ({type(error).__name__}: {hide(str(error))[:200]}).")
    if cause.status in advice:
        return InputError(f"Cannot {action}: {advice[cause.status]}.")
    kind = TemporaryError if not cause.status or cause.status >= 500 else InputError
    return kind(f"Cannot {action}: the Kubernetes API answers {cause.status} ({_message(cause)}).")


def _message(error) -> str:
    import json

    with contextlib.suppress(ValueError, TypeError):
        return hide(str(json.loads(error.body)["message"]))[:300]
    return str(error.reason)


def judge(job: dict, pods: list, workers: int) -> State:
    """Tell how a job is, and why.

    Args:
        job: The TrainJob.
        pods: Its pods, as the Kubernetes client gives them.
        workers: How many pods there shall be.

    Returns:
        The state.
    """
    conditions = {c["type"]: c for c in job.get("status", {}).get("conditions", []) if c.get("status") == "True"}
    # Who ran out of memory takes the others down with it, so that comes first.
    reason = _first(_why_killed, pods) or _first(_why_failed, pods)
    if reason or "Failed" in conditions:
        told = conditions.get("Failed", {})
        return State("failed", reason or f"TrainJob: {told.get('message') or told.get('reason') or 'Failed'}")
    if "Complete" in conditions:
        return State("complete")
    if sum(pod.status.phase in ("Running", "Succeeded") for pod in pods) >= workers:
        return State("running")
    suspended = conditions.get("Suspended", {}).get("message", "")
    return State("waiting", _first(_why_waiting, pods) or suspended or f"{len(pods)} of {workers} pods exist")


def _first(read: Callable, pods: list) -> str:
    return next(filter(None, map(read, pods)), "")


def _endings(pod) -> list:
    """Return how containers of a pod ended, also those that were started again since."""
    containers = pod.status.container_statuses or []
    states = [state for container in containers for state in (container.state, container.last_state) if state]
    return [state.terminated for state in states if state.terminated]


def _why_killed(pod) -> str:
    for ended in _endings(pod):
        if ended.reason == "OOMKilled":
            return f"Pod {pod.metadata.name} ran out of memory: raise memory, or workers for smaller shares"
        if ended.exit_code > _SIGNALED:
            return f"Pod {pod.metadata.name} was ended by signal {ended.exit_code - _SIGNALED}"
    return ""


def _why_failed(pod) -> str:
    for ended in _endings(pod):
        if ended.exit_code:
            return f"Pod {pod.metadata.name} ended with status {ended.exit_code} ({ended.reason})"
    if pod.status.phase == "Failed":
        return f"Pod {pod.metadata.name} failed ({pod.status.reason or 'no reason given'})"
    return ""


def _why_waiting(pod) -> str:
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return f"{condition.reason}: {condition.message}"
    for container in pod.status.container_statuses or []:
        if container.state.waiting:
            message = container.state.waiting.message
            return f"{container.state.waiting.reason}{f': {message}' if message else ''}"
    return ""
