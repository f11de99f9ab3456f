"""What the steps of each pipeline need to be allowed on a cluster, and which roles allow it.

A component that is not here needs nothing of the Kubernetes API: secrets are put into its pod by the kubelet, and S3,
registries, Git and sites have logins of their own. Sources: the kube-rbac-proxy of the pipeline server (its ConfigMap
``kube-rbac-proxy-config-ds-pipeline-dspa``) turns GET into ``get`` and POST into ``create``; MLflow's plugin
``kubernetes-auth`` has a rule for each of MLflow's requests; OpenShift's Thanos querier asks for ``prometheuses/api``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from loopline.pipelines.doctor.features import Compiled

#: Where OpenShift keeps its monitoring.
MONITORING = "openshift-monitoring"
_VERBS = ("get", "list", "create", "update", "delete")


@dataclass(frozen=True)
class Right:
    """One thing that an account may do.

    Attributes:
        verb: The verb.
        group: The API group.
        resource: The resource, in the plural.
        subresource: Its part; empty for the whole.
        name: The one object; empty for all.
        namespace: Where; empty for the namespace of the pipelines.
    """

    verb: str
    group: str
    resource: str
    subresource: str = ""
    name: str = ""
    namespace: str = ""

    @property
    def object(self) -> str:
        """What may be used, in words."""
        what = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f"{what}.{self.group}" + (f" {self.name}" if self.name else "")


@dataclass(frozen=True)
class Role:
    """A role of the platform, which lets an account use a server.

    Attributes:
        server: What it guards.
        kind: ``Role`` or ``ClusterRole``, which an operator of the platform makes.
        name: Its name.
        binding: The kind of the binding, which steps need; ``deploy/openshift`` has the like.
        secret: The secret that tells steps where the server is; empty where they know.
    """

    server: str
    kind: str
    name: str
    binding: str
    secret: str = ""

    def command(self, account: str, namespace: str) -> str:
        """Return the command that binds it to a service account.

        Args:
            account: The service account.
            namespace: Its namespace.
        """
        where = f" -n {namespace}" if self.binding == "RoleBinding" else ""
        return (
            f"oc create {self.binding.lower()} {account}-{self.server.lower().replace(' ', '-')} "
            f"--{self.kind.lower()}={self.name} --serviceaccount={namespace}:{account}{where}"
        )


@dataclass(frozen=True)
class Need:
    """What a component needs of a role.

    Attributes:
        role: The role.
        rights: What has to be allowed.
    """

    role: Role
    rights: tuple[Right, ...]


MLFLOW = Role("MLflow", "ClusterRole", "mlflow-operator-mlflow-integration", "RoleBinding", "loopline-mlflow")
PIPELINES = Role("pipeline server", "Role", "ds-pipeline-user-access-dspa", "RoleBinding")
METRICS = Role("metrics", "ClusterRole", "cluster-monitoring-view", "ClusterRoleBinding", "loopline-prometheus")


def _mlflow(models: str, experiments: str = "") -> Need:
    """Return the rights for verbs; the first question of each component that uses MLflow lists the models."""
    verbs = {"registeredmodels": models, "experiments": experiments}
    rights = [Right(v, "mlflow.kubeflow.org", resource) for resource, words in verbs.items() for v in words.split()]
    return Need(MLFLOW, tuple(rights))


def _server(verbs: str) -> Need:
    group = "datasciencepipelinesapplications.opendatahub.io"
    what = ("datasciencepipelinesapplications", "api", "dspa")
    return Need(PIPELINES, tuple(Right(verb, group, *what) for verb in verbs.split()))


_READ_METRICS = Need(METRICS, (Right("create", "monitoring.coreos.com", "prometheuses", "api", "k8s", MONITORING),))
_CHANGE_MODELS = _mlflow("get list update")
#: What whoever submits, watches and schedules pipelines needs.
LAUNCH = _server("get create delete")

#: For each component what it needs; those that are not here need nothing.
COMPONENTS: dict[str, tuple[Need, ...]] = {
    "load_model": (_mlflow("get list", "get list"),),
    "register_model": (_mlflow("get list create update", "get list create update"),),
    "write_model_card": (_mlflow("get list update", "get list update"),),
    "update_model_card": (_mlflow("get list update", "get list update"),),
    "promote_model": (_CHANGE_MODELS,),
    "plan_sweep": (_mlflow("list", "get list create update"),),
    "run_trials": (_mlflow("list", "get list update"),),
    "finish_sweep": (_mlflow("list", "get list update"),),
    "annotate_model": (_CHANGE_MODELS,),
    "check_service": (_mlflow("list", "get list"), _READ_METRICS),
    "decide_retraining": (_mlflow("list", "get list create update"),),
    "trigger_pipeline": (_server("get create"),),
}


def needs_of(pipeline: Compiled) -> dict[str, tuple[Need, ...]]:
    """Return what a pipeline's components need, by component; those that need nothing are left out."""
    return {name: COMPONENTS[name] for name in sorted(set(pipeline.components)) if name in COMPONENTS}


def listed(rights: Iterable[Right]) -> str:
    """Return rights in words, those of one resource together."""
    verbs: dict[str, set[str]] = {}
    for right in rights:
        verbs.setdefault(right.object, set()).add(right.verb)
    return "; ".join(f"{', '.join(sorted(verbs[what], key=_VERBS.index))} {what}" for what in sorted(verbs))
