"""What the pipelines' steps and this account may do on the cluster, against what each pipeline needs."""

from collections import defaultdict
from collections.abc import Iterator

from loopline.components.errors import InputError
from loopline.pipelines.doctor.features import Compiled
from loopline.pipelines.doctor.findings import PROBLEM, WARNING, Finding, failure, ok, problem, skipped
from loopline.pipelines.doctor.kubernetes_api import Cluster, DeniedError, NoClusterError
from loopline.pipelines.doctor.rights import LAUNCH, Right, Role, listed, needs_of
from loopline.pipelines.doctor.settings import Settings

#: Keys of the secrets with which a step does not ask as its service account.
_OWN_LOGIN = {
    "loopline-mlflow": ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_TOKEN"),
    "loopline-prometheus": ("token",),
}


def check(settings: Settings) -> Iterator[Finding]:
    """Check what the steps' account may do, pipeline by pipeline, and whether this account may start pipelines."""
    cluster, account = settings.cluster, settings.service_account
    try:
        cluster.open()
        compiled = settings.read_compiled()
    except NoClusterError:
        yield skipped("rights", "no cluster: needed only to run pipelines on one")
        return
    except InputError as error:
        yield failure("rights", error, PROBLEM if settings.place.in_cluster else WARNING)
        return
    try:
        yield _launch(cluster)
        if _is_missing(cluster, account):
            yield problem(
                "steps", f"there is no service account {account} in {cluster.namespace}",
                "Make a pipeline server called dspa there (deploy/openshift), or name another with --service-account.",
            )  # fmt: skip
            return
        for role, users in _users(compiled).items():
            yield _role(cluster, account, role, users)
    except InputError as error:
        yield failure("rights", error)


def _launch(cluster: Cluster) -> Finding:
    who = cluster.user or "this account"
    missing = [right for right in LAUNCH.rights if not _may(cluster, right)]
    if not missing:
        return ok("this account", f"{who} may submit and schedule pipelines")
    subject = _service_account(cluster.user)
    namespace = cluster.namespace
    command = (
        LAUNCH.role.command(*subject)
        if subject
        else f"oc adm policy add-role-to-user {LAUNCH.role.name} {who} --role-namespace={namespace} -n {namespace}"
    )
    return problem(
        "this account", f"{who} may not submit and schedule pipelines: {listed(missing)}", f"Run `{command}`."
    )


def _service_account(user: str) -> tuple[str, str] | None:
    """Return name and namespace of a service account's user; None for another user."""
    parts = user.split(":")
    return (parts[3], parts[2]) if parts[:2] == ["system", "serviceaccount"] and len(parts) == 4 else None


def _is_missing(cluster: Cluster, account: str) -> bool:
    try:
        return cluster.get(f"/api/v1/namespaces/{cluster.namespace}/serviceaccounts/{account}") is None
    except DeniedError:
        return False


def _users(compiled: list[Compiled]) -> dict[Role, dict[Right, set[tuple[str, str]]]]:
    """Return for each role and each right of it who needs it: component and pipeline."""
    found: dict[Role, dict[Right, set[tuple[str, str]]]] = defaultdict(lambda: defaultdict(set))
    for pipeline in compiled:
        for component, needs in needs_of(pipeline).items():
            for need in needs:
                for right in need.rights:
                    found[need.role][right].add((component, pipeline.name))
    return found


def _role(cluster: Cluster, account: str, role: Role, users: dict[Right, set[tuple[str, str]]]) -> Finding:
    if reason := _needless(cluster, role.secret):
        return skipped(role.server, f"{reason}: no role is needed")
    try:
        missing = [right for right in users if not _may(cluster, right, account)]
    except DeniedError:
        return skipped(role.server, f"this account may not ask what {account} may do: only an administrator may")
    if not missing:
        return ok(role.server, f"{account} may do there what {_who(users.values())} need")
    return problem(
        role.server,
        f"{account} may not {listed(missing)}. So {_who(users[right] for right in missing)} will fail",
        f"Run `{role.command(account, cluster.namespace)}` (deploy/openshift allows the same).",
    )


def _who(users) -> str:
    pairs = {pair for found in users for pair in found}
    components, pipelines = (sorted({pair[side] for pair in pairs}) for side in (0, 1))
    return f"{', '.join(components)} (in {', '.join(pipelines)})"


def _needless(cluster: Cluster, secret: str) -> str:
    """Return why steps do not ask with their own account; empty when they do, or nobody can tell."""
    if not secret:
        return ""
    try:
        found = cluster.get(f"/api/v1/namespaces/{cluster.namespace}/secrets/{secret}")
    except DeniedError:
        return ""
    keys = set((found or {}).get("data") or {})
    if own := [key for key in _OWN_LOGIN[secret] if key in keys]:
        return f"the secret {secret} has {own[0]}, with which steps ask"
    if secret == "loopline-prometheus" and "url" not in keys:
        return "no secret loopline-prometheus names a Prometheus"
    return ""


def _may(cluster: Cluster, right: Right, account: str = "") -> bool:
    """Ask whether an account may do something: this one, or a service account of the pipelines' namespace."""
    from kubernetes import client

    namespace = right.namespace or cluster.namespace
    wanted = client.V1ResourceAttributes(
        verb=right.verb, group=right.group, resource=right.resource, subresource=right.subresource or None,
        name=right.name or None, namespace=namespace,
    )  # fmt: skip
    user = f"system:serviceaccount:{cluster.namespace}:{account}"
    if not account or cluster.user == user:
        review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=wanted))
        return _allowed(cluster, "create_self_subject_access_review", review)
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{cluster.namespace}", "system:authenticated"]
    spec = client.V1SubjectAccessReviewSpec(resource_attributes=wanted, user=user, groups=groups)
    if namespace != cluster.namespace:
        return _allowed(cluster, "create_subject_access_review", client.V1SubjectAccessReview(spec=spec))
    # What an administrator of the namespace may ask, too.
    local = client.V1LocalSubjectAccessReview(metadata=client.V1ObjectMeta(namespace=namespace), spec=spec)
    return _allowed(cluster, "create_namespaced_local_subject_access_review", namespace, local)


def _allowed(cluster: Cluster, review: str, *values) -> bool:
    from kubernetes.client import AuthorizationV1Api

    answer = cluster.ask(lambda client, **limits: getattr(AuthorizationV1Api(client), review)(*values, **limits))
    return bool(answer and answer.status.allowed)
