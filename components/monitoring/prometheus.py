"""Read what sites did from Prometheus, or from what answers like it (Thanos on OpenShift)."""

import itertools
import json
import math
import os
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np

from loopline.components.data.sources import AWAY
from loopline.components.delivery.inference import RefusedError, UnreachableError
from loopline.components.errors import InputError, TemporaryError
from loopline.components.monitoring.activity import Activity, Look, add, grow, is_reset
from loopline.components.monitoring.scrape import DIALECTS, STARTED, Dialect, Metric, scale_bound
from loopline.components.monitoring.web import call, check_url
from loopline.components.secrecy import remember

#: The most looks at a window, and the fewest seconds between two.
_LOOKS, _STEP_S = 720, 15.0
_TOKEN_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
#: A process is known by these; a site names itself, or stands for its namespace.
_BY = ("site", "namespace", "instance")

_Key = tuple[str, str, str]
_Series = dict[float, float]


class Prometheus:
    """A server that is asked in PromQL.

    Args:
        url: Its address; on OpenShift that of ``thanos-querier`` in ``openshift-monitoring``.
        token: A bearer token; empty for none.

    Raises:
        InputError: The address is none.
    """

    def __init__(self, url: str, token: str = ""):
        self._url, self._token = check_url(url, "PROMETHEUS_URL"), token

    def query_range(self, query: str, start: float, end: float, step: float) -> list[tuple[dict, _Series]]:
        """Ask for time series.

        Args:
            query: PromQL.
            start: From when on, in seconds since 1970.
            end: The last moment.
            step: Seconds between two values.

        Returns:
            The labels of each series, and its values by time.

        Raises:
            TemporaryError: The server does not answer, or is busy.
            InputError: It refuses, or answers something else.
        """
        form = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        try:
            text = call("POST", f"{self._url}/api/v1/query_range", token=self._token, form=form)
        except RefusedError as error:
            if error.status in (401, 403):
                raise InputError(
                    f"Prometheus refuses to answer (HTTP {error.status}): set PROMETHEUS_TOKEN to the token of an "
                    "account that may read metrics."
                ) from None
            if error.status in AWAY:
                raise TemporaryError(f"Prometheus is busy or away (HTTP {error.status}): try again.") from None
            raise
        except UnreachableError as error:
            raise TemporaryError(str(error)) from None
        try:
            found = json.loads(text)["data"]
            if found["resultType"] != "matrix":
                raise ValueError(found["resultType"])
            return [
                (series["metric"], {float(at): float(value) for at, value in series["values"] if value != "NaN"})
                for series in found["result"]
            ]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"PROMETHEUS_URL does not answer as Prometheus does ({type(error).__name__}): name its address, "
                "without /api."
            ) from None


def open_prometheus() -> Prometheus | None:
    """Return the server that the environment names: ``PROMETHEUS_URL``, with ``PROMETHEUS_TOKEN`` or the token of this
    pod's service account; None when it names none.

    Raises:
        InputError: The address is none, or the token cannot be read.
    """
    url = os.environ.get("PROMETHEUS_URL", "").strip()
    if not url:
        return None
    token = os.environ.get("PROMETHEUS_TOKEN", "").strip()
    if not token and _TOKEN_FILE.exists():
        try:
            token = remember(_TOKEN_FILE.read_text(encoding="utf-8").strip())
        except OSError as error:
            raise InputError(f"{_TOKEN_FILE} cannot be read ({error.strerror}): set PROMETHEUS_TOKEN.") from None
    return Prometheus(url, token)


def read_activities(prometheus: Prometheus, start: datetime, end: datetime, model: str = "") -> dict[str, Activity]:
    """Read what model servers did in a window.

    Args:
        prometheus: Where to ask.
        start: The window's first instant.
        end: The first instant after it.
        model: The model; servers of others do not count. All do when empty.

    Returns:
        What each site did, all its processes together. A site is what the label ``site`` says, else the namespace,
        else the address of the server.

    Raises:
        InputError: Prometheus does not answer, or refuses.
    """
    first, last = start.timestamp(), end.timestamp()
    step = float(max(_STEP_S, math.ceil((last - first) / _LOOKS)))
    # The last look is at the end, whatever the step.
    count = max(1, math.ceil((last - first) / step - 1e-6))
    times = last - step * np.arange(count, -1, -1.0)
    parts: dict[str, list] = {}
    seen: set[_Key] = set()
    for dialect in DIALECTS:
        # A process speaks one dialect: Loopline's server counts in MLServer's, too.
        reader = _Reader(prometheus, dialect, times, step, model)
        found = {key: part for key, part in reader.read().items() if ("", *key[1:]) not in seen}
        seen |= {("", *key[1:]) for key in found}
        for (site, namespace, instance), part in found.items():
            parts.setdefault(site or namespace or instance, []).append(part)
    return {site: add(found, times) for site, found in parts.items()}


class _Reader:
    """Looks at all processes that count in a dialect, at the same times."""

    def __init__(self, prometheus: Prometheus, dialect: Dialect, times: np.ndarray, step: float, model: str):
        self._prometheus, self._dialect, self._times, self._step = prometheus, dialect, times, step
        self._serving = dialect.serving(model) if model else ""
        # Prometheus writes times to the millisecond.
        self._places = {round(float(time), 3): place for place, time in enumerate(times)}

    def read(self) -> dict[_Key, tuple[list[int], Activity]]:
        """Return the places of the looks at each process, and what it did between them."""
        looks = self._looks("{}")
        if not looks:
            return {}
        steps = f"[{self._step:.0f}s]"
        changes = self._sum([self._own(STARTED)], f"changes({{}}{steps})")
        again = any(any(series.values()) for series in changes.values())
        if again or any(self._appears(of_process) or _has_reset(of_process) for of_process in looks.values()):
            increases = self._looks(f"increase({{}}{steps})")
        else:
            increases = {}
        return {
            key: self._grow(of_process, increases.get(key, []), _of(changes, key)) for key, of_process in looks.items()
        }

    def _appears(self, looks: list[Look]) -> bool:
        """Return whether a process was not there at first, and began before all the same: nobody looked at it."""
        return self._places[looks[0].time] > 0 and (looks[0].started or np.inf) < self._times[0]

    def _grow(self, looks: list[Look], increases: list[Look], restarts: _Series) -> tuple[list[int], Activity]:
        """Return the places of the looks at a process, and what it did between them."""
        places = [self._places[look.time] for look in looks]
        grown = {look.time: look for look in increases if looks[0].started is None or restarts.get(look.time)}
        zero_at = None
        if places[0] > 0:
            before = float(self._times[places[0] - 1])
            places = [places[0] - 1, *places]
            if self._appears(looks):
                first = next((look for look in increases if look.time == looks[0].time), looks[0])
                looks = [_step_back(looks[0], first, before), *looks]
            else:
                zero_at = before
        activity = grow(looks, zero_at, grown)
        # There may be several between two looks.
        activity.restarts = max(activity.restarts, round(sum(restarts.values())))
        return places, activity

    def _looks(self, function: str) -> dict[_Key, list[Look]]:
        """Return the looks at each process; the counters are what a function of PromQL makes of them."""
        dialect = self._dialect
        counts = [self._sum(metrics, function) for metrics in (dialect.answered, dialect.refused, dialect.failed)]
        keys = set().union(*counts)
        if not keys:
            return {}
        started, is_open = self._sum([self._own(STARTED)]), self._sum(dialect.open)
        buckets: dict[_Key, dict[str, _Series]] = {}
        for metric in dialect.seconds:
            for labels, series in self._ask(metric, (*_BY, "le"), function):
                bound = scale_bound(labels.get("le", "+Inf"), dialect.unit)
                _add(buckets.setdefault(_key(labels), {}).setdefault(bound, {}), series)
        found = {}
        for key in sorted(keys):
            # A series begins with what it counts first; the others of its process were there before.
            series, bounds = [count.get(key, {}) for count in counts], buckets.get(key, {})
            starts, opened = _of(started, key), _of(is_open, key)
            found[key] = [
                Look(
                    time,
                    starts.get(time),
                    *(values.get(time, 0.0) for values in series),
                    {bound: values.get(time, 0.0) for bound, values in bounds.items()},
                    opened.get(time),
                )
                for time in sorted(set().union(*series))
            ]
        return found

    def _own(self, name: str) -> Metric:
        """Return a metric that all processes have, of those alone that speak the dialect."""
        return Metric(name, {}, self._dialect.answered[0].name)

    def _sum(self, metrics: Iterable[Metric], function: str = "{}") -> dict[_Key, _Series]:
        """Return the sum of some metrics by process and time."""
        found: dict[_Key, _Series] = {}
        for metric in metrics:
            for labels, series in self._ask(metric, _BY, function):
                _add(found.setdefault(_key(labels), {}), series)
        return found

    def _ask(self, metric: Metric, by: tuple[str, ...], function: str) -> list[tuple[dict, _Series]]:
        # The platform and the site may both watch a process, as two jobs: it counts once.
        names = ",".join(by)
        one = function.format(metric.selector)
        beside = self._serving or metric.beside
        if beside:
            one += f" and on (namespace,instance,job) {beside}"
        query = f"max by ({names}) (sum by ({names},job) ({one}))"
        found = self._prometheus.query_range(query, self._times[0], self._times[-1], self._step)
        return [(labels, {round(time, 3): value for time, value in series.items()}) for labels, series in found]


def _has_reset(looks: list[Look]) -> bool:
    return any(is_reset(before, after) for before, after in itertools.pairwise(looks))


def _step_back(look: Look, increase: Look, time: float) -> Look:
    """Return what the counters of a process stood at before they grew; nothing grew where nobody knows."""
    if increase is look:
        return replace(look, time=time)
    counts = np.maximum(look.counts - increase.counts, 0.0).tolist()
    buckets = {bound: max(value - increase.buckets.get(bound, 0.0), 0.0) for bound, value in look.buckets.items()}
    return Look(time, look.started, *counts, buckets)


def _of(series: dict[_Key, _Series], key: _Key) -> _Series:
    """Return the series of a process; what does not come from the model lacks the site, which is its own word."""
    return series.get(key) or series.get(("", *key[1:])) or {}


def _key(labels: dict) -> _Key:
    return tuple(labels.get(name, "") for name in _BY)


def _add(sums: _Series, series: _Series) -> None:
    for time, value in series.items():
        sums[time] = sums.get(time, 0.0) + value
