"""The workers of a job as processes of this machine: a program that starts them, watches them and ends with them.

``python -m loopline.components.training.distributed.launcher PLACE WORKERS STEP``, the last being the process id of the
step. No worker outlives another that failed, a step that ended or a step that asks to stop.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from loopline.components.training.distributed.exchange import Exchange, open_exchange
from loopline.components.training.distributed.messages import STOP, Failure, report_failure

#: What a line of a worker begins with.
SPEAKER = "worker"
_POLL_S, _GRACE_S = 0.2, 5


def main(words: list[str]) -> int:
    """Run the workers.

    Args:
        words: The place that step and workers share, how many workers there are, and the step's process id.

    Returns:
        0 when every worker did its work, else 1.
    """
    place, workers, step = open_exchange(words[0]), int(words[1]), int(words[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the step is interrupted as well, and says so
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    processes = [_start(place.uri, worker) for worker in range(workers)]
    try:
        return _watch(place, processes, step)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _start(place: str, worker: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "loopline.components.training.distributed.worker", place]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # Shares lie beside the place, whose owner removes both: a worker that is killed clears nothing away.
        env={**os.environ, "JOB_COMPLETION_INDEX": str(worker), "TMPDIR": str(Path(place).parent)},
        start_new_session=True,
    )
    threading.Thread(target=_pass_on, args=(process, worker), daemon=True).start()
    return process


def _pass_on(process: subprocess.Popen, worker: int) -> None:
    for line in process.stdout:
        print(f"{SPEAKER} {worker}: {line.removeprefix('loopline: ')}", end="", flush=True)


def _watch(place: Exchange, processes: list[subprocess.Popen], step: int) -> int:
    end = None
    while True:
        states = [process.poll() for process in processes]
        for worker, state in enumerate(states):
            if state is not None and state < 0:
                report_failure(place, worker, _killed(worker, -state))
        if all(state == 0 for state in states):
            return 0
        if place.read(STOP) is not None or not _is_alive(step):
            return 1
        if any(states) and end is None:
            end = time.monotonic() + _GRACE_S  # for the others to say what they saw
        if end and (time.monotonic() > end or None not in states):
            return 1
        time.sleep(_POLL_S)


def _killed(worker: int, number: int) -> Failure:
    name = signal.Signals(number).name
    memory = ", as the system does when memory runs out" if number == signal.SIGKILL else ""
    return Failure(f"Worker {worker} was ended by {name}{memory}.", "killed")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
