"""A training job as its step sees it, wherever the workers are."""

from typing import NamedTuple, Protocol


class State(NamedTuple):
    """How a job is.

    Attributes:
        phase: ``waiting`` until all workers run, then ``running``; ``complete`` or ``failed`` at the end.
        reason: Why it waits or failed, as a part of a sentence; may be empty.
    """

    phase: str
    reason: str = ""


class Job(Protocol):
    """A TrainJob of Kubeflow Trainer."""

    def prepare(self) -> None:
        """Remove an earlier job of the same name; none of its workers runs afterwards."""

    def start(self) -> None:
        """Start the workers."""

    def state(self) -> State:
        """Return how the job is."""

    def new_lines(self) -> list[str]:
        """Return what the workers have said since they were asked last."""

    def stop(self) -> None:
        """End what still runs and clear away what the job left behind."""
