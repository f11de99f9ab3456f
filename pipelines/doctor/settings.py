"""What the doctor is asked to look at."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

from loopline.pipelines.doctor.features import Compiled, read_compiled
from loopline.pipelines.doctor.kubernetes_api import Cluster
from loopline.pipelines.doctor.place import Place
from loopline.pipelines.spec import compiled_folder


@dataclass
class Settings:
    """What the doctor is asked to look at; empty where the environment says it.

    Attributes:
        registry: ``docker://HOST/NAME``, where model images are to be pushed.
        s3: ``s3://bucket/prefix``, to be read and written.
        repository: The configuration repository.
        branch: Its branch.
        host: The URL of the pipeline server.
        service_account: The account of the pipelines' steps.
        namespace: The namespace of the pipelines.
        openshift_ai: The version of OpenShift AI, where nothing tells it.
        compiled: The folder with compiled pipelines.
        read_only: Whether everything that writes is left out.
        place: Where this process runs.
        cluster: The Kubernetes API, where there is one; nothing is asked before it is needed.
    """

    registry: str = ""
    s3: str = ""
    repository: str = ""
    branch: str = "main"
    host: str = ""
    service_account: str = "pipeline-runner-dspa"
    namespace: str = ""
    openshift_ai: str = ""
    compiled: Path = field(default_factory=compiled_folder)
    read_only: bool = False
    place: Place = field(default_factory=Place.find)
    cluster: Cluster = field(init=False, repr=False)

    def __post_init__(self):
        self.cluster = Cluster(self.place, self.namespace)
        self._lock, self._pipelines = threading.Lock(), []

    def read_compiled(self) -> list[Compiled]:
        """Return the compiled pipelines; they are read once, by whichever area is first.

        Raises:
            InputError: There is none, or one cannot be read.
        """
        with self._lock:
            if not self._pipelines:
                self._pipelines = read_compiled(self.compiled)
            return self._pipelines
