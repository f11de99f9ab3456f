"""Run the areas of the doctor side by side; none ends or holds up another."""

import importlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from loopline.components.errors import InputError
from loopline.pipelines.doctor.findings import Finding, failure, problem
from loopline.pipelines.doctor.secrecy import Censor
from loopline.pipelines.doctor.settings import Settings

#: Every area and what it looks at; its module is of the same name under loopline.pipelines.doctor.
AREAS = {
    "python": "Python, the pinned packages, the extras",
    "machine": "git, room, memory",
    "certificates": "files with certificate authorities",
    "registry": "the registry of model images, logins, the signing key",
    "s3": "the object store",
    "mlflow": "the model store, and whether models may be registered",
    "git": "the configuration repository",
    "kfp": "the pipeline server: its version, the pipelines it holds",
    "cluster": "the Kubernetes API, the names of pipeline server and serving runtimes",
    "permissions": "what the steps' service account may do, pipeline by pipeline",
    "secrets": "the secrets loopline-*",
    "elyra": "the visual pipeline editor",
}


@dataclass
class Area:
    """An area and what was found there.

    Attributes:
        name: One of ``AREAS``.
        findings: What was found, in the order of the looking.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)


class _Check(threading.Thread):
    """One area's check. A check that does not end cannot be stopped: it ends with the process."""

    def __init__(self, name: str, settings: Settings, censor: Censor):
        super().__init__(name=f"doctor-{name}", daemon=True)
        self.area, self._settings, self._censor = Area(name), settings, censor

    def run(self) -> None:
        findings = self.area.findings
        try:
            module = importlib.import_module(f"loopline.pipelines.doctor.{self.area.name}")
            for finding in module.check(self._settings):
                findings.append(self._censor.finding(finding))
        except InputError as error:
            findings.append(self._censor.finding(failure(self.area.name, error)))
        except Exception as error:  # a broken check is a finding, too, and no reason to leave out the others
            findings.append(self._censor.finding(_broken(self.area.name, error)))


def examine(names: list[str], settings: Settings, timeout_s: float) -> Iterator[Area]:
    """Run areas side by side.

    Args:
        names: Of ``AREAS``.
        settings: What to look at.
        timeout_s: Seconds after which an area is given up, with what it found until then.

    Yields:
        Each area as soon as it and those before it are done.
    """
    censor, end = Censor(), time.monotonic() + timeout_s
    checks = [_Check(name, settings, censor) for name in names]
    for check in checks:
        check.start()
    for check in checks:
        check.join(max(0.0, end - time.monotonic()))
        area = Area(check.area.name, list(check.area.findings))
        if check.is_alive():
            area.findings.append(
                problem(
                    area.name, f"not done after {timeout_s:g} s, and given up",
                    "Look at what answers slowly, or give it more time with --timeout.",
                )
            )  # fmt: skip
        yield area


def _broken(name: str, error: Exception) -> Finding:
    reason = " ".join(str(error).split())[:300]
    return problem(
        name, f"this check broke ({type(error).__name__}{': ' if reason else ''}{reason})",
        "Report it with the output of `loopline doctor --json`.",
    )  # fmt: skip
