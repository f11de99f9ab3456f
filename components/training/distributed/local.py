"""The job on this machine, by the local process back end of Kubeflow's SDK.

That back end runs one process a TrainJob, in an empty virtual environment that it makes each time.
Ours leaves it at once for the environment of the step and starts the workers: the same program as on a cluster.
"""

import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

from loopline.components.environment import environment
from loopline.components.memory import VARIABLE, memory_limit
from loopline.components.training.distributed.exchange import Exchange
from loopline.components.training.distributed.jobs import State
from loopline.components.training.distributed.launcher import SPEAKER
from loopline.components.training.distributed.messages import STOP

_PHASES = {"Created": "waiting", "Running": "running", "Complete": "complete", "Failed": "failed"}
_END_S = 15


def start_launcher(parameters):
    """Become the launcher; the back end copies this function's source into a file of its own."""
    import os

    os.execv(parameters["python"], [parameters["python"], "-m", parameters["module"], *parameters["words"]])


class LocalJob:
    """A job of processes.

    Args:
        name: What to call it.
        place: What step and workers share.
        workers: How many there are.
    """

    def __init__(self, name: str, place: Exchange, workers: int):
        from kubeflow.trainer import LocalProcessBackendConfig, TrainerClient

        self._client = TrainerClient(LocalProcessBackendConfig())
        self._name, self._place, self._workers = name, place, workers
        self._seen = 0

    def prepare(self) -> None:
        """Do nothing: no job outlives its step here."""

    def start(self) -> None:
        """Start the launcher."""
        from kubeflow.trainer import CustomTrainer
        from kubeflow.trainer.options import Name

        runtime = self._client.list_runtimes()[0]
        runtime.trainer.framework = "xgboost"  # of the one runtime there is; "torch" would be started by torchrun
        parameters = {
            "python": sys.executable,
            "module": "loopline.components.training.distributed.launcher",
            "words": [self._place.uri, str(self._workers), str(os.getpid())],
        }
        # The workers share this machine's memory.
        share = {VARIABLE: str(memory_limit().bytes // self._workers)}
        # The back end makes its environment with the first `python` that it finds.
        with environment({"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])}):
            self._client.train(
                runtime=runtime,
                trainer=CustomTrainer(func=start_launcher, func_args=parameters, env={**os.environ, **share}),
                options=[Name(self._name)],
            )

    def state(self) -> State:
        """Return how the job is."""
        phase = _PHASES[self._client.get_job(self._name).status]
        return State(phase, self._last_line() if phase == "failed" else "")

    def new_lines(self) -> list[str]:
        """Return what the workers have said since they were asked last."""
        lines = self._lines()
        new, self._seen = lines[self._seen :], len(lines)
        return [line for line in new if line.startswith(SPEAKER)]

    def stop(self) -> None:
        """End the workers and remove the back end's environment, which it leaves behind after a failure."""
        self._place.write(STOP, b"")
        for thread in threading.enumerate():
            if thread.name == f"{self._name}-train":
                thread.join(_END_S)
        self._client.delete_job(self._name)
        for folder in Path(tempfile.gettempdir()).glob(f"{self._name}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _lines(self) -> list[str]:
        return list(self._client.get_job_logs(self._name))

    def _last_line(self) -> str:
        said = [line for line in self._lines() if not line.startswith(SPEAKER)]
        return said[-1].strip() if said else ""
