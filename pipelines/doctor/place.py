"""Where the doctor is: on a laptop, in a workbench or in another pod."""

import os
from dataclasses import dataclass
from pathlib import Path

#: What a pod knows of its account.
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
LAPTOP, WORKBENCH, POD = "laptop", "workbench", "pod"


@dataclass(frozen=True)
class Place:
    """Where this process runs.

    Attributes:
        kind: ``laptop``, ``workbench`` or ``pod``; a laptop is any machine outside a cluster.
        namespace: The pod's namespace; empty on a laptop.
        name: The workbench's name; empty elsewhere.
    """

    kind: str
    namespace: str = ""
    name: str = ""

    @classmethod
    def find(cls) -> "Place":
        """Find out where this process runs: each pod is told where the cluster's API is, a workbench its prefix too."""
        if not os.environ.get("KUBERNETES_SERVICE_HOST"):
            return cls(LAPTOP)
        try:
            namespace = (ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
        except OSError:
            namespace = ""
        prefix = os.environ.get("NB_PREFIX", "")
        return cls(WORKBENCH, namespace, prefix.rpartition("/")[2]) if prefix else cls(POD, namespace)

    @property
    def in_cluster(self) -> bool:
        """Whether this is a pod."""
        return self.kind != LAPTOP

    @property
    def sentence(self) -> str:
        """The place in words."""
        if self.kind == LAPTOP:
            return "a laptop: no pod of a cluster"
        named = f"the workbench {self.name}" if self.kind == WORKBENCH else "a pod"
        return f"{named} in namespace {self.namespace or 'unknown'}"
