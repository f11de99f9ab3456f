"""Feed generated inputs to what parses them, in a process of its own, and count what came of them.

Refused means by an InputError with one printable sentence. Everything else that is raised is a defect, as is an input
that takes longer than ``LIMIT_S``, one that takes more than ``LIMIT_MB``, and one that ends the process.
"""

import contextlib
import faulthandler
import importlib
import logging
import multiprocessing
import os
import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from loopline.components.environment import environment
from loopline.components.errors import InputError

#: LOOPLINE_HOSTILE=full feeds eight times as much, from another seed each time.
FULL = os.environ.get("LOOPLINE_HOSTILE") == "full"
LONG, SHORT = 4, 0.5
TIMES = LONG if FULL else SHORT
#: Seconds of the processor that one input may take, and seconds by the clock: the machine may be busy with others.
LIMIT_S, WALL_S = 20, 300
#: MB of address space that inputs may take beyond what the process has when it begins.
LIMIT_MB = 3_000
#: Characters of the longest sentence: what is quoted in one has to be cut where it is long.
LONGEST = 4_000
#: Seconds that a target may take in all.
PATIENCE_S = 1_200

_CONTEXT = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Target:
    """Something that reads what strangers write.

    Attributes:
        inputs: What to feed it.
        call: Reads one input; the folder it may write to is the current one.
        count: How many inputs of a short run.
    """

    inputs: st.SearchStrategy
    call: Callable[[object], object]
    count: int = 60


@dataclass
class Tally:
    """What came of the inputs of a target.

    Attributes:
        refused: How many were refused in one sentence.
        taken: How many were taken as they are: they were not bad after all.
        problem: What was raised for the smallest input that raises it; empty when none does.
        slowest_s: The longest that one took.
    """

    refused: int = 0
    taken: int = 0
    problem: str = ""
    slowest_s: float = 0.0
    sentences: list[str] = field(default_factory=list)

    @property
    def fed(self) -> int:
        """How many inputs were fed."""
        return self.refused + self.taken


class SentenceError(AssertionError):
    """What is said of a bad input is not for people."""


def hammer(module: str, names: Sequence[str], samples: Path) -> dict[str, Tally]:
    """Feed targets, one after the other, in a process of their own.

    Args:
        module: The module of tests whose ``targets`` has them.
        names: The targets.
        samples: The folder of samples that ``targets`` takes.

    Returns:
        What came of each; the one that ended the process is the last.
    """
    _CONTEXT.set_forkserver_preload(["hostile_preload"])
    ours, theirs = _CONTEXT.Pipe(duplex=False)
    tallies = {}
    with tempfile.NamedTemporaryFile("w+") as notes:
        process = _CONTEXT.Process(target=_feed, args=(theirs, module, names, str(samples), notes.name, FULL))
        # The server that forks is told by this where to find what it imports first.
        with environment(
            {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
        ):
            process.start()
        theirs.close()
        try:
            for name in names:
                if not ours.poll(PATIENCE_S):
                    os.kill(process.pid, signal.SIGUSR1)  # faulthandler says where it is
                    process.join(2)
                    tallies[name] = Tally(problem=f"{name} hangs: {Path(notes.name).read_text()[-6000:]}")
                    break
                tallies[name] = ours.recv()
        except EOFError:
            process.join()
            said = Path(notes.name).read_text()[-6000:]
            tallies[name] = Tally(problem=f"{name} ended the process with {process.exitcode}: {said}")
        finally:
            process.kill()
            process.join()
    return tallies


def _feed(pipe, module: str, names: Sequence[str], samples: str, notes: str, full: bool) -> None:
    global _NOTES
    _NOTES = open(notes, "w")  # noqa: SIM115 - as long as the process lives
    faulthandler.register(signal.SIGUSR1, _NOTES, all_threads=True, chain=False)
    # Nothing that a target prints is for the terminal.
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    logging.disable(logging.NOTSET)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        os.chdir(folder)
        os.environ["LOOPLINE_HOME"] = f"{folder}/home"
        targets = importlib.import_module(module).targets(Path(samples))
        for name in names:
            pipe.send(_run(targets[name], round(targets[name].count * (LONG if full else SHORT)), full))


def _run(target: Target, count: int, full: bool) -> Tally:
    tally = Tally()

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=not full,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(target.inputs)
    def feed(given_input) -> None:
        start = time.monotonic()
        _NOTES.seek(0)
        _NOTES.truncate()
        print(f"{given_input!r:.3000}", file=_NOTES, flush=True)
        try:
            with within_limits():
                target.call(given_input)
        except InputError as error:
            check_sentence(str(error))
            tally.refused += 1
            if len(tally.sentences) < 20:
                tally.sentences.append(str(error))
        else:
            tally.taken += 1
        tally.slowest_s = max(tally.slowest_s, time.monotonic() - start)

    try:
        feed()
    except BaseException as error:
        frames = [
            f"{frame.filename}:{frame.lineno} {frame.line}" for frame in traceback.extract_tb(error.__traceback__)
        ]
        notes = [f"{note:.1500}" for note in getattr(error, "__notes__", [])]
        tally.problem = "\n".join([f"{type(error).__name__}: {error!s:.1000}", *notes, *frames[-8:]])
    return tally


@contextlib.contextmanager
def within_limits() -> Iterator[None]:
    """Raise where a block takes too long or too much memory."""
    base = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = {number: signal.signal(number, _ring) for number in (signal.SIGPROF, signal.SIGALRM)}
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    signal.alarm(WALL_S)
    resource.setrlimit(resource.RLIMIT_AS, (base + LIMIT_MB * 2**20, hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _ring(*_) -> None:
    """End the process where it is: an exception might be handled there, or Hypothesis would try it again."""
    print(f"the input above took more than {LIMIT_S} s of the processor, or {WALL_S} s", file=_NOTES, flush=True)
    faulthandler.dump_traceback(_NOTES, all_threads=True)
    os._exit(1)


def check_sentence(text: str) -> None:
    """Refuse what is no sentence for people: empty, endless, of several lines, or with what a terminal obeys.

    Raises:
        SentenceError: It is none.
    """
    if not text.strip() or len(text) > LONGEST:
        raise SentenceError(f"an error of {len(text)} characters: {text[:200]!r}")
    if "Traceback (most recent call last)" in text or not all(map(_is_plain, text)):
        raise SentenceError(f"an error with control characters or a traceback: {text!r}")


def _is_plain(letter: str) -> bool:
    return letter.isprintable() or letter in "\u00a0\u3000"
