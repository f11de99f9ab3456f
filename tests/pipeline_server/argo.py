"""What a run's answer tells of its steps: the nodes of an Argo workflow, as KFP's API server makes them into tasks.

Read in the API server's ``toModelTask`` and in the workflow compiler: a step is a node named like its task, with a
driver beside it and an executor below it; a step that is tried again has an executor for each attempt. Of the nodes the
answer gives display name, state, times and the ids of the children, in no order, and neither their own ids nor their
pods.
"""

from dataclasses import dataclass, field

#: As Argo's phases arrive in the API.
OVER = {"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"}


@dataclass
class Scenario:
    """What becomes of a run.

    Attributes:
        frames: The states of the steps by name, one frame for each question about the run, the last one for all after;
            a step of a nested pipeline is named ``condition-1/load-model``.
        logs: What the steps print, by name.
        state: The run's state at the end.
        attempts: How often a step was tried, where that is more than once.
    """

    frames: list[dict[str, str]]
    logs: dict[str, list[str]] = field(default_factory=dict)
    state: str = "SUCCEEDED"
    attempts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def through(cls, *steps: str, logs: dict[str, list[str]] | None = None) -> "Scenario":
        """Run steps one after the other, each seen once while it runs."""
        frames = [{}]
        for step in steps:
            frames.append({**frames[-1], step: "RUNNING"})
            frames.append({**frames[-1], step: "SUCCEEDED"})
        return cls(frames, logs or {})

    def frame(self, asked: int) -> dict[str, str]:
        """Return the states that the question of a number gets."""
        return self.frames[min(asked, len(self.frames) - 1)]

    def run_state(self, asked: int) -> str:
        """Return the run's state at a question."""
        if asked >= len(self.frames) - 1:
            return self.state
        return "RUNNING" if self.frame(asked) else "PENDING"


@dataclass(frozen=True)
class Node:
    """A node of a workflow."""

    name: str
    display_name: str
    state: str
    children: tuple[str, ...] = ()


def workflow_nodes(workflow: str, spec: dict, states: dict[str, str], attempts: dict[str, int]) -> list[Node]:
    """Return the nodes of a workflow whose steps have some states."""
    running = any(state not in OVER for state in states.values())
    whole = "RUNNING" if running or not states else "FAILED" if "FAILED" in states.values() else "SUCCEEDED"
    nodes = [Node(workflow, workflow, whole), Node(f"{workflow}.root", "root", whole)]
    nodes.append(Node(f"{workflow}.root-driver", "root-driver", "SUCCEEDED"))
    for step, state in states.items():
        *groups, task = step.split("/")
        parent = ".".join((workflow, "root", *groups))
        if groups and not any(node.name == parent for node in nodes):
            nodes.append(Node(parent, groups[-1], "RUNNING"))
            nodes.append(Node(f"{parent}-driver", f"{groups[-1]}-driver", "SUCCEEDED"))
        nodes.append(
            Node(f"{parent}.{task}-driver", f"{task}-driver", "RUNNING" if state == "PENDING" else "SUCCEEDED")
        )
        executor = f"{parent}.{task}.executor"
        nodes.append(Node(f"{parent}.{task}", task, state, (node_id(workflow, executor),)))
        if state == "PENDING":
            continue
        tried = [f"{executor}({number})" for number in range(attempts.get(step, 1))] if is_retried(spec, task) else []
        nodes.append(Node(executor, "executor", state, tuple(node_id(workflow, name) for name in tried)))
        for name in tried:
            nodes.append(Node(name, name.rpartition(".")[2], state if name == tried[-1] else "FAILED"))
    return nodes


def pods(workflow: str, spec: dict, step: str, attempts: int) -> list[str]:
    """Return the names of the pods in which a step was tried."""
    executor = ".".join((workflow, "root", *step.split("/"), "executor"))
    if not is_retried(spec, step.rpartition("/")[2]):
        return [f"{workflow}-system-container-impl-{fnv1a(executor)}"]
    return [f"{workflow}-retry-system-container-impl-{fnv1a(f'{executor}({number})')}" for number in range(attempts)]


def is_retried(spec: dict, task: str) -> bool:
    """Return whether a task of a pipeline has a retry policy."""
    dags = [spec["root"], *spec["components"].values()]
    tasks = [part["dag"]["tasks"][task] for part in dags if task in part.get("dag", {}).get("tasks", {})]
    return any("retryPolicy" in found for found in tasks)


def node_id(workflow: str, name: str) -> str:
    """Return a node's id as Argo makes it."""
    return workflow if name == workflow else f"{workflow}-{fnv1a(name)}"


def fnv1a(text: str) -> int:
    """Return the 32-bit hash of Fowler, Noll and Vo, 1a, by which Argo names nodes and pods."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) % 2**32
    return value
