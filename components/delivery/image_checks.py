"""The checks of an image: pull, verify, serve, replay, measure, and try to break it."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from loopline.components.delivery.fetch import FetchedImage, fetch_image
from loopline.components.delivery.golden import Golden, Replay, read_golden, replay
from loopline.components.delivery.inference import UnreachableError, predict_grpc, predict_rest
from loopline.components.delivery.latency import Latency, measure_latency, peak_memory_mb
from loopline.components.delivery.malformed import Outcome, try_grpc, try_rest
from loopline.components.delivery.metadata import check_identity, check_metadata
from loopline.components.delivery.model_server import ModelServer, serve
from loopline.components.errors import InputError
from loopline.components.model.directory import Manifest, read_manifest

#: The checks in the order they are made. A check that needs one that failed is not made.
CHECKS = (
    "image",
    "start",
    "golden predictions over REST",
    "golden predictions over gRPC",
    "metadata",
    "latency",
    "malformed requests over REST",
    "malformed requests over gRPC",
    "memory",
    "stop",
)
#: Rows of one request when the throughput is measured, and the most such requests.
BATCH_ROWS, BATCH_REQUESTS = 256, 50

logger = logging.getLogger("loopline")


@dataclass(frozen=True)
class Check:
    """One check of a test.

    Attributes:
        name: One of ``CHECKS``.
        passed: Whether it passed; None when it was not made.
        detail: What was found.
    """

    name: str
    passed: bool | None
    detail: str


@dataclass
class ImageTest:
    """A test of an image: the budgets, and what was found so far.

    Attributes:
        image: The image by digest.
        p99_ms: Highest 99th percentile of the latency of one row, in milliseconds.
        memory_mb: Highest memory of the server, in MB (2**20 bytes).
        checks: The checks made.
        fetched: What was pulled.
        manifest: The manifest of the model in it.
        golden: Its golden rows.
        replays: What the golden rows gave, by protocol.
        latencies: Latencies of one row and of a batch.
        outcomes: What came of the malformed requests.
        memory_peak_mb: The server's peak memory.
    """

    image: str
    p99_ms: float
    memory_mb: float
    checks: list[Check] = field(default_factory=list)
    fetched: FetchedImage | None = None
    manifest: Manifest | None = None
    golden: Golden | None = None
    replays: dict[str, Replay] = field(default_factory=dict)
    latencies: list[Latency] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    memory_peak_mb: float | None = None
    _server: ModelServer | None = None

    @property
    def failed(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.passed is False]

    @property
    def passed(self) -> bool:
        """Whether all checks were made and passed."""
        return [check.name for check in self.checks if check.passed] == list(CHECKS)

    def run(self, folder: Path) -> None:
        """Make all checks.

        Args:
            folder: Where to pull the image to; it need not exist.
        """
        with contextlib.ExitStack() as stack:
            if self._check("image", lambda: self._fetch(folder)) and self._check("start", lambda: self._start(stack)):
                self._use(self._server)
        made = {check.name for check in self.checks}
        self.checks += [Check(name, None, "not made: a check before it failed") for name in CHECKS if name not in made]

    def _check(self, name: str, make: Callable[[], str]) -> bool:
        """Make one check: it returns what it found, or raises what is wrong."""
        try:
            self.checks.append(Check(name, True, make()))
        except InputError as error:
            self.checks.append(Check(name, False, str(error)))
        check = self.checks[-1]
        logger.info("%s: %s", name, check.detail if check.passed else f"FAILED, {check.detail}")
        return bool(check.passed)

    def _fetch(self, folder: Path) -> str:
        self.fetched = fetch_image(self.image, folder)
        self.manifest, self.golden = read_manifest(self.fetched.folder), read_golden(self.fetched.folder)
        return "signature and digests of all layers and files are right"

    def _start(self, stack: contextlib.ExitStack) -> str:
        begin = time.monotonic()
        self._server = stack.enter_context(serve(self.fetched.folder, LOOPLINE_IMAGE_DIGEST=self.fetched.digest))
        return f"ready after {time.monotonic() - begin:.1f} s"

    def _use(self, server: ModelServer) -> None:
        """Make the checks that need a server, as long as it lives."""
        steps = {
            "golden predictions over REST": lambda: self._replay("REST", server),
            "golden predictions over gRPC": lambda: self._replay("gRPC", server),
            "metadata": lambda: self._metadata(server),
            "latency": lambda: self._latency(server),
            "malformed requests over REST": lambda: self._malformed(try_rest(server.url, self.golden)),
            "malformed requests over gRPC": lambda: self._malformed(try_grpc(server.grpc, server.url, self.golden)),
            "memory": lambda: self._memory(server),
            "stop": lambda: _stop(server),
        }
        for name, step in steps.items():
            if not self._check(name, lambda step=step: _alive(server, step)) and server.end():
                return

    def _replay(self, protocol: str, server: ModelServer) -> str:
        rest = protocol == "REST"
        address, predict = (server.url, predict_rest) if rest else (server.grpc, predict_grpc)
        # Features go by name: a server that takes them by position is found out by another order.
        golden = self.golden if rest else self.golden.reverse()
        found = self.replays[protocol] = replay(golden, address, predict, timeout_s=60)
        if not found.passed:
            raise InputError(
                f"{found.wrong} of {found.rows} golden rows are answered otherwise than at training, by up to "
                f"{found.max_difference:.3g}"
            )
        return f"{found.rows} rows, largest difference {found.max_difference:.2g}"

    def _metadata(self, server: ModelServer) -> str:
        problems = check_metadata(server.url, server.grpc, self.manifest, self.golden.features)
        for protocol, found in self.replays.items():
            for problem in check_identity(found.answer, self.manifest, self.fetched.version, self.fetched.digest):
                problems.append(f"{protocol} {problem}")
        if problems:
            raise InputError("; ".join(problems))
        count = len(self.golden.features.names)
        return f"{count} inputs and the outputs are the model's, answers name model, version and image"

    def _latency(self, server: ModelServer) -> str:
        one = measure_latency(server.url, self.golden)
        batch = measure_latency(server.url, self.golden, BATCH_ROWS, BATCH_REQUESTS)
        self.latencies = [one, batch]
        p99 = one.percentile_ms(99)
        if p99 > self.p99_ms:
            raise InputError(f"p99 of one row is {p99:.3g} ms, over the budget of {self.p99_ms:g} ms")
        return f"p50 {one.percentile_ms(50):.3g} ms, p99 {p99:.3g} ms (budget {self.p99_ms:g} ms)"

    def _malformed(self, outcomes: Iterator[Outcome]) -> str:
        start = len(self.outcomes)
        self.outcomes.extend(outcomes)  # one after the other: what came before an error is kept
        found = self.outcomes[start:]
        wrong = [f"{outcome.request}: {outcome.problem}" for outcome in found if outcome.problem]
        if wrong:
            more = f" (and {len(wrong) - 3} more)" if len(wrong) > 3 else ""
            raise InputError(
                f"{len(wrong)} of {len(found)} were not refused as they should be: {'; '.join(wrong[:3])}{more}"
            )
        return f"{len(found)} refused, and a right request after each answered"

    def _memory(self, server: ModelServer) -> str:
        self.memory_peak_mb = peak_memory_mb(server.pid)
        if self.memory_peak_mb is None:
            return "not measured: only Linux tells the peak memory of a process"
        if self.memory_peak_mb > self.memory_mb:
            raise InputError(f"the peak is {self.memory_peak_mb:,.0f} MB, over the budget of {self.memory_mb:g} MB")
        return f"peak {self.memory_peak_mb:,.0f} MB (budget {self.memory_mb:g} MB)"


def _alive(server: ModelServer, step: Callable[[], str]) -> str:
    """Make a step; if the server is gone before it or by it, that is what is wrong."""
    if ended := server.end():
        raise InputError(f"the model server {ended}")
    try:
        return step()
    except InputError as error:
        # A process that was killed answers no more before it is seen to have ended.
        if ended := server.end(wait_s=2.0 if isinstance(error, UnreachableError) else 0.0):
            raise InputError(f"{str(error).rstrip('.')}; the model server {ended}") from None
        raise


def _stop(server: ModelServer) -> str:
    begin = time.monotonic()
    if problem := server.stop():
        raise InputError(f"told to stop, the model server {problem}")
    return f"ended by itself {time.monotonic() - begin:.1f} s after it was told to"
