"""Find the highest rate that a service holds within its latency budget."""

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from loopline.components.data.sources import safe_name
from loopline.components.delivery.golden import Golden, read_golden, replay
from loopline.components.delivery.inference import build_request, infer_path, site_token
from loopline.components.documents import write_document
from loopline.components.errors import InputError
from loopline.components.monitoring.load import Load, Tally, Target
from loopline.components.monitoring.web import check_url

#: The most connections, the highest rate and the longest time that anyone may ask for.
MOST_OPEN, MOST_RATE, MOST_SECONDS, MOST_BUDGET_S = 256, 20_000.0, 60.0, 3600.0
#: The share of what one answer after the other allows from where on rates are tried.
_FIRST_SHARE = 0.1
#: Rates closer together than this are the same: what is found is that exact. No lower rate than the other is tried.
_CLOSE, _LOWEST = 1.08, 0.5
#: The load generator is too slow when 1 in 100 requests is sent later than this: seconds, share of the budget.
_LATE_S, _LATE_SHARE = 0.005, 0.2
#: Why there is no higher rate.
LATENCY, ERRORS, GENERATOR, MOST, TIME = "latency", "errors", "generator", "most_rate", "time"

logger = logging.getLogger("loopline")


@dataclass(frozen=True)
class Trial:
    """What came of one rate.

    Attributes:
        rate: Requests a second that were due.
        answered_rate: Requests a second that were answered.
        requests: Requests that were due.
        unanswered: How many were not answered: the trial ended before.
        p50_ms: The latency that half of the answers did not exceed, from when their requests were due; None without.
        p95_ms: That 95 of 100 did not exceed.
        p99_ms: That 99 of 100 did not exceed.
        late_ms: How late the load generator sent 99 of 100 at most.
        open: The most requests open at once.
        held: Whether the service held the rate.
        limit: What was in the way: ``latency``, ``errors`` or ``generator``; empty when it held.
        reason: The same in words.
    """

    rate: float
    answered_rate: float
    requests: int
    unanswered: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    late_ms: float
    open: int
    held: bool
    limit: str
    reason: str


@dataclass(frozen=True)
class Capacity:
    """How much a service can take.

    Attributes:
        url: The service.
        model: The model that was asked.
        rate: The highest rate that it held, in requests a second; 0 for none.
        limit: Why there is no higher one: ``latency``, ``errors``, ``generator`` (this program could not send faster),
            ``most_rate`` (none higher was allowed) or ``time``.
        reason: The same in a sentence.
        p99_ms: The latency budget in milliseconds.
        most_rate: The highest rate that was allowed.
        seconds: How long a rate was tried.
        trials: The rates in the order in which they were tried.
    """

    url: str
    model: str
    rate: float
    limit: str
    reason: str
    p99_ms: float
    most_rate: float
    seconds: float
    trials: list[Trial]

    @property
    def at_least(self) -> bool:
        """Whether the service may well hold more."""
        return self.limit in (GENERATOR, MOST, TIME)

    @property
    def metrics(self) -> dict[str, float]:
        """The main figures by name."""
        best = max((trial for trial in self.trials if trial.held), key=lambda trial: trial.rate, default=None)
        found = {"rate": self.rate, "at_least": float(self.at_least), "trials": float(len(self.trials))}
        if best:
            found |= {"p50_ms": best.p50_ms, "p99_ms": best.p99_ms}
        return found

    def save(self, path: str | Path) -> None:
        """Write it as JSON.

        Args:
            path: The file.
        """
        write_document(path, {**asdict(self), "at_least": self.at_least})


def probe(
    url: str,
    model_dir: str | Path,
    p99_ms: float = 250.0,
    most_rate: float = 1000.0,
    seconds: float = 3.0,
    budget_s: float = 120.0,
) -> Capacity:
    """Find the highest rate that a service holds within its latency budget.

    The model's golden rows are sent, one a request, at rates that are doubled until one is too much and then halved in
    between. Nothing but the URL that is given is asked, no redirect is followed, no proxy used. At the first error the
    service is left alone.

    Args:
        url: Where the service answers, e.g. ``http://host:port``.
        model_dir: The model directory.
        p99_ms: What 99 of 100 answers may take at most, in milliseconds.
        most_rate: The highest rate to try, in requests a second.
        seconds: How long each rate is tried.
        budget_s: How long all of it may take.

    Returns:
        The rate, and the latency at each rate tried.

    Raises:
        InputError: The service does not answer or is not of this model, or a parameter makes no sense.
    """
    address = check_url(url, "url")
    if urlsplit(address).username or urlsplit(address).query:
        raise InputError(f"url is {safe_name(address)} with more to it: write scheme, host, port and path alone.")
    _check_limits(p99_ms, most_rate, seconds, budget_s)
    golden = read_golden(model_dir)
    deadline = time.monotonic() + budget_s
    if not replay(golden.slice(0, 1), address).passed:
        raise InputError(f"{address} predicts something else than the model: name the service of this very model.")
    search = _Search(_target(address, golden), p99_ms, most_rate, seconds, deadline)
    # A thread of its own: whoever calls may have an event loop running, as a notebook has.
    with ThreadPoolExecutor(1) as pool:
        rate, limit, reason = pool.submit(search.run).result()
    logger.info("%s holds %.4g requests/s: %s", address, rate, reason)
    return Capacity(
        address, golden.model, rate, limit, reason, float(p99_ms), float(most_rate), float(seconds), search.trials
    )


def _check_limits(p99_ms: float, most_rate: float, seconds: float, budget_s: float) -> None:
    limits = {"p99_ms": math.inf, "most_rate": MOST_RATE, "seconds": MOST_SECONDS, "budget_s": MOST_BUDGET_S}
    given = {"p99_ms": p99_ms, "most_rate": most_rate, "seconds": seconds, "budget_s": budget_s}
    for name, value in given.items():
        if not (math.isfinite(value) and 0 < value <= limits[name]):
            most = "" if limits[name] == math.inf else f" and at most {limits[name]:g}"
            raise InputError(f"{name} is {value}: write a number above 0{most}.")


def _target(address: str, golden: Golden) -> Target:
    headers = {"Content-Type": "application/json", **site_token(address)}
    bodies = [
        json.dumps(build_request(row.rows, row.features)).encode()
        for row in (golden.slice(place, 1) for place in range(golden.rows.num_rows))
    ]
    return Target(address + infer_path(golden.model), bodies, headers, MOST_OPEN)


class _Search:
    """Tries rates until the highest that holds is known.

    Attributes:
        trials: What came of each rate so far.
    """

    def __init__(self, target: Target, p99_ms: float, most_rate: float, seconds: float, deadline: float):
        self._target, self._p99_ms, self._most, self._seconds = target, p99_ms, most_rate, seconds
        self._deadline = deadline
        # After so long a request will not be within the budget, and more of them only hurt.
        self._patience_s = max(4 * p99_ms / 1e3, 1.0)
        self._random = np.random.default_rng(0)
        self.trials: list[Trial] = []

    def run(self) -> tuple[float, str, str]:
        """Return the highest rate that held, what is in the way of a higher one, and that in words."""
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(self._search())

    async def _search(self) -> tuple[float, str, str]:
        load = Load(self._target)
        held, broken = 0.0, None
        # One answer after the other, if each takes as long as it may.
        rate = min(1e3 / self._p99_ms, self._most)
        try:
            while broken is None or (broken.rate > _CLOSE * held and broken.rate > _LOWEST):
                if not self._has_time():
                    return held, TIME, "The time was over before a rate was found that is just too much."
                trial = await self._try(load, rate)
                if trial.limit == ERRORS:
                    return held, ERRORS, f"At {rate:.4g} requests/s {trial.reason}: the service was left alone."
                if trial.held and rate >= self._most:
                    return rate, MOST, f"No higher rate than {self._most:g} requests/s was to be tried."
                if trial.held:
                    held = rate
                else:
                    broken = trial
                if broken is None:
                    # The rates up to a small part of what one answer after the other allows are not worth the time.
                    rate = min(max(2 * held, _FIRST_SHARE * 1e3 / trial.p50_ms), self._most)
                else:
                    rate = (held + broken.rate) / 2
            return held, broken.limit, f"At {broken.rate:.4g} requests/s {broken.reason}."
        finally:
            load.close()

    async def _try(self, load: Load, rate: float) -> Trial:
        """Try a rate; one that is too slow twice, if there is time: a machine may hiccup."""
        for again in (True, False):
            tally = await load.run(rate, self._seconds, self._patience_s, self._random)
            trial = judge(tally, self._p99_ms)
            self.trials.append(trial)
            logger.info("%s", describe(trial))
            if trial.held or trial.limit == ERRORS or tally.overrun or not again or not self._has_time():
                break
        if not trial.held:
            await asyncio.sleep(min(1.0, self._patience_s))  # until the server has done what was left
        return trial

    def _has_time(self) -> bool:
        return time.monotonic() + self._seconds + self._patience_s < self._deadline


def judge(tally: Tally, p99_ms: float) -> Trial:
    """Say whether a service held a rate.

    Args:
        tally: What came of the load.
        p99_ms: What 99 of 100 answers may take at most, in milliseconds.
    """
    latencies = np.array(tally.latencies) * 1e3
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99], method="higher").tolist() if len(latencies) else [None] * 3
    late_ms = float(np.percentile(tally.late, 99)) * 1e3 if tally.late else 0.0
    limit, reason = "", ""
    if tally.failure:
        limit, reason = ERRORS, tally.failure
    elif late_ms > max(_LATE_S * 1e3, _LATE_SHARE * p99_ms):
        limit, reason = GENERATOR, f"this program sent requests up to {late_ms:.3g} ms late: load from more machines"
    elif tally.overrun or tally.unanswered:
        limit, reason = LATENCY, f"{tally.unanswered:,} requests were not answered in time and became more"
    elif p99 > p99_ms:
        limit, reason = LATENCY, f"p99 was {p99:.4g} ms, and {p99_ms:g} ms is the budget"
    elif _grows(latencies, p99_ms):
        limit, reason = LATENCY, "answers took longer and longer, which ends over the budget"
    return Trial(
        tally.rate, len(latencies) / tally.seconds, tally.due, tally.unanswered, p50, p95, p99, late_ms, tally.open,
        not limit, limit, reason,
    )  # fmt: skip


def describe(trial: Trial) -> str:
    """Say what came of a rate, in one line."""
    p99 = "no answer" if trial.p99_ms is None else f"p99 {trial.p99_ms:.3g} ms"
    return f"{trial.rate:.4g} requests/s: {p99}, {'held' if trial.held else trial.reason}"


def _grows(latencies: np.ndarray, p99_ms: float) -> bool:
    """Return whether a queue builds up, too slowly to be over the budget yet."""
    third = len(latencies) // 3
    if third < 10:
        return False
    first, last = latencies[:third].mean(), latencies[-third:].mean()
    return bool(last > 1.5 * first + 0.1 * p99_ms)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return how to make the faster event loop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
