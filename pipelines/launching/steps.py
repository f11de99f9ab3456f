"""The steps of a run, as far as the server tells.

Up to KFP 2.16 a run's answer lists the nodes of its Argo workflow: a step is the node that is named like its task, with
a driver beside it and an executor below it, and of a node's pod it tells nothing but the hash in the ids of children.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

#: States of a step that is over.
OVER = {"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"}
#: What the engine adds to a task's name for the pod that prepares it.
_DRIVER = "-driver"
_NEVER = datetime.max.replace(tzinfo=UTC)
_PRIME, _SIZE = 0x01000193, 1 << 32


@dataclass(frozen=True)
class Step:
    """A step of a run.

    Attributes:
        id: Its id on the server.
        title: What the dashboard calls it.
        state: PENDING, RUNNING, SUCCEEDED, FAILED, SKIPPED or CANCELED.
        seconds: How long it took; None while it is not over.
        problem: What the server says went wrong; empty when it says nothing.
        pods: The pods that it may run in, by attempt.
    """

    id: str
    title: str
    state: str
    seconds: float | None
    problem: str
    pods: tuple[str, ...]


def read_steps(run, spec: dict) -> list[Step]:
    """Read the steps of a run, in the order in which they began.

    Args:
        run: The run as the server describes it.
        spec: The specification of its pipeline, as the server holds it.

    Returns:
        The steps that have begun or are about to.
    """
    tasks = _tasks(spec)
    found = []
    for detail in (run.run_details.task_details if run.run_details else None) or []:
        name = detail.display_name or ""
        # A step that could not be prepared has no node of its own.
        prepared = name.removesuffix(_DRIVER) if detail.state == "FAILED" else name
        if name in tasks or prepared in tasks:
            found.append((detail, tasks[name if name in tasks else prepared]))
    found.sort(key=lambda pair: (pair[0].start_time or pair[0].create_time or _NEVER, pair[0].display_name))
    return [_step(detail, task) for detail, task in found]


@dataclass(frozen=True)
class _Task:
    title: str
    attempts: int


def _tasks(spec: dict) -> dict[str, _Task]:
    """Return the tasks that run in a pod by name, wherever in a pipeline they are."""
    spec = spec.get("pipeline_spec") or spec
    components = spec.get("components") or {}
    found: dict[str, _Task] = {}
    for part in (spec.get("root") or {}, *components.values()):
        for name, task in (part.get("dag") or {}).get("tasks", {}).items():
            if "executorLabel" not in components.get(task["componentRef"]["name"], {}):
                continue
            title, known = task["taskInfo"]["name"], found.get(name)
            retries = task.get("retryPolicy", {}).get("maxRetryCount")
            attempts = 0 if retries is None else int(retries) + 1
            if known:
                # Nested pipelines may use a name twice; the answer does not tell which of them it means.
                title, attempts = title if known.title == title else name, max(known.attempts, attempts)
            found[name] = _Task(title, attempts)
    return found


def _step(detail, task: _Task) -> Step:
    over = detail.state in OVER
    seconds = max(0.0, (detail.end_time - detail.start_time).total_seconds()) if over and _both(detail) else 0.0
    problem = _first_line(detail.error.message if detail.error else "")
    if detail.display_name.endswith(_DRIVER):
        problem = problem or "the engine could not prepare it"
    return Step(
        detail.task_id,
        task.title,
        detail.state or "PENDING",
        seconds if over else None,
        problem,
        tuple(_pods(detail, task.attempts)),
    )


def _both(detail) -> bool:
    # A time that is not known yet is that of the epoch.
    return all(isinstance(time, datetime) and time.year > 1970 for time in (detail.start_time, detail.end_time))


def _pods(detail, attempts: int) -> Iterator[str]:
    """Work out the pods of a step from the ids of its children: a pod's name has its template's in the middle."""
    if detail.pod_name:  # newer servers tell
        yield detail.pod_name
    for child in detail.child_tasks or []:
        workflow, _, number = (child.pod_name or "").rpartition("-")
        if not workflow or not number.isdigit():
            continue
        if not attempts:
            yield f"{workflow}-system-container-impl-{number}"
        for attempt in range(attempts):
            yield f"{workflow}-retry-system-container-impl-{_continue_hash(int(number), f'({attempt})')}"


def _continue_hash(value: int, text: str) -> int:
    """Return the FNV-1a hash of a longer text: the hash of its beginning is all that the algorithm remembers.

    Argo hashes a node's name, and names an attempt like its step with the attempt's number behind it.
    """
    for byte in text.encode():
        value = (value ^ byte) * _PRIME % _SIZE
    return value


def _first_line(text: str | None) -> str:
    return next(iter((text or "").strip().splitlines()), "")
