"""The cluster and the names on it that Loopline relies on: the pipeline server's and the serving runtimes'."""

from collections.abc import Iterator

from loopline.components.errors import InputError
from loopline.pipelines.doctor.findings import PROBLEM, WARNING, Finding, failure, ok, problem, skipped, warning
from loopline.pipelines.doctor.kubernetes_api import Cluster, DeniedError, NoClusterError
from loopline.pipelines.doctor.settings import Settings

#: What the pipeline server has to be called: workbenches, Elyra and the steps look for this name.
SERVER = "dspa"
#: The serving runtimes of deploy/config-repo.
RUNTIMES = ("loopline-mlserver", "mlserver-runtime", "kserve-ovms")
_DSPA = "/apis/datasciencepipelinesapplications.opendatahub.io/v1/namespaces/{}/datasciencepipelinesapplications"
_RUNTIMES = "/apis/serving.kserve.io/v1alpha1/namespaces/{}/servingruntimes"


def check(settings: Settings) -> Iterator[Finding]:
    """Check the API, the pipeline server's name and state, and the serving runtimes."""
    cluster = settings.cluster
    try:
        cluster.open()
    except NoClusterError:
        yield skipped("API", "this is no pod, and there is no kubeconfig: needed only to look at a cluster from here")
        return
    except InputError as error:
        yield failure("API", error, PROBLEM if settings.place.in_cluster else WARNING)
        return
    yield ok("API", f"{cluster.host}, Kubernetes {cluster.version}, as {cluster.user or 'an account it does not name'}")
    yield from _look(cluster, "pipeline server", _DSPA, _server)
    yield from _look(cluster, "serving runtimes", _RUNTIMES, _runtimes)


def _look(cluster: Cluster, title: str, path: str, judge) -> Iterator[Finding]:
    try:
        found = cluster.get(path.format(cluster.namespace))
    except DeniedError:
        yield skipped(title, f"this account may not list them in {cluster.namespace}")
    except InputError as error:
        yield failure(title, error)
    else:
        yield judge(cluster, None if found is None else found.get("items", []))


def _server(cluster: Cluster, items: list[dict] | None) -> Finding:
    title = "pipeline server"
    if items is None:
        return problem(
            title,
            "the cluster knows no DataSciencePipelinesApplication",
            "Install Red Hat OpenShift AI with AI pipelines.",
        )
    names = [item["metadata"]["name"] for item in items]
    if SERVER not in names:
        there = f"{cluster.namespace} has {', '.join(names)}" if names else f"there is none in {cluster.namespace}"
        return problem(
            title, f"{there}, and it has to be called {SERVER}",
            f"Make a DataSciencePipelinesApplication {SERVER} in {cluster.namespace} as deploy/openshift does, or name "
            "the namespace that has it with --namespace.",
        )  # fmt: skip
    conditions = items[names.index(SERVER)].get("status", {}).get("conditions", [])
    not_ready = [c for c in conditions if c.get("type") == "Ready" and c.get("status") != "True"]
    if not_ready:
        said = " ".join(str(not_ready[0].get("message") or not_ready[0].get("reason") or "").split())[:200]
        return warning(
            title, f"{SERVER} in {cluster.namespace} is not ready ({said})",
            f"Look at it: `oc describe dspa {SERVER} -n {cluster.namespace}`.",
        )  # fmt: skip
    return ok(title, f"{SERVER} in {cluster.namespace}" + (", ready" if conditions else ""))


def _runtimes(cluster: Cluster, items: list[dict] | None) -> Finding:
    title = "serving runtimes"
    names = [item["metadata"]["name"] for item in items or ()]
    known = [name for name in names if name in RUNTIMES]
    if known:
        return ok(title, f"{', '.join(known)} in {cluster.namespace}")
    return skipped(
        title, f"none of {', '.join(RUNTIMES)} in {cluster.namespace}: needed only where a site is; the configuration "
        "repository brings it",
    )  # fmt: skip
