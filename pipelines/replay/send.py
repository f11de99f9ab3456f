"""Send requests to the sites over HTTP, day by day, and keep what they answered."""

import itertools
import logging
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import requests as http

from loopline.components.data.schema import Column, Schema, kind_of
from loopline.components.delivery.inference import (
    Answer,
    RefusedError,
    UnreachableError,
    build_request,
    call_rest,
    infer_path,
    open_session,
    read_answer,
)
from loopline.components.errors import InputError
from loopline.components.evaluation.scored import bound_probabilities
from loopline.pipelines.replay.request import Request

logger = logging.getLogger("loopline")
#: Seconds before each further attempt: a site that starts again is back within them.
WAITS_S = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0)
#: Answers that another attempt may change; any other refusal is about the request itself.
_PASSING = (408, 425, 429)


@dataclass(frozen=True)
class Reply:
    """What came of one request.

    Attributes:
        request: The request.
        answer: What the site answered; None when it did not, after all attempts.
        latency_ms: From sending to the whole answer, of the attempt that was answered.
        attempts: How often it was sent.
        problem: What the last attempt that was not answered met; empty when the first one was.
    """

    request: Request
    answer: Answer | None
    latency_ms: float
    attempts: int
    problem: str


@dataclass(frozen=True)
class SiteTraffic:
    """What one site was asked.

    Attributes:
        requests: Requests sent to it.
        failed: Requests it never answered.
        retried: How often a request was sent again.
        problem: What the last attempt that was not answered met; empty when all were.
        p50_ms: The latency that half of the answers did not exceed; None without answers.
        p99_ms: The latency that 99 of 100 did not exceed.
        versions: Rows answered by each model version.
        images: Rows answered by each image digest.
    """

    requests: int
    failed: int
    retried: int
    problem: str
    p50_ms: float | None
    p99_ms: float | None
    versions: dict[str, int]
    images: dict[str, int]


@dataclass(frozen=True)
class Sent:
    """What came of sending requests.

    Attributes:
        replies: One a request, in the order the requests were given in.
        start: Before the first was sent, in UTC.
        end: After the last was answered.
    """

    replies: list[Reply]
    start: datetime
    end: datetime

    @property
    def answered(self) -> list[Reply]:
        """The replies with an answer; ``rows``, ``scores``, ``truth`` and ``days`` follow their order."""
        return [reply for reply in self.replies if reply.answer is not None]

    @property
    def requests(self) -> list[Request]:
        """The requests that were answered."""
        return [reply.request for reply in self.answered]

    @property
    def scores(self) -> np.ndarray:
        """What the sites predicted: probabilities that sum to one, shape (rows, classes), or values, shape (rows,)."""
        if not self.answered:
            return np.zeros(0)
        scores = np.concatenate([reply.answer.scores for reply in self.answered])
        return bound_probabilities(scores) if scores.ndim == 2 else scores.astype(np.float64)

    @property
    def truth(self) -> np.ndarray:
        """The truth of the rows that were answered, shape (rows,)."""
        return np.concatenate([reply.request.truth for reply in self.answered]) if self.answered else np.zeros(0)

    @property
    def days(self) -> np.ndarray:
        """The day of each row that was answered, datetime64, shape (rows,)."""
        counts = [len(reply.request.truth) for reply in self.answered]
        return np.repeat(np.array([reply.request.day for reply in self.answered], "datetime64[D]"), counts)

    @property
    def rows(self) -> pa.Table:
        """Each row that was answered, with its site, model version, image digest and latency."""
        answered = self.answered
        counts = [len(reply.request.truth) for reply in answered]

        def repeated(values: list, type_: pa.DataType) -> pa.Array:
            return pa.array([value for value, count in zip(values, counts, strict=True) for _ in range(count)], type_)

        return pa.table(
            {
                "request_id": repeated([reply.request.id for reply in answered], pa.string()),
                "row": pa.array([row for count in counts for row in range(count)], pa.int32()),
                "site": repeated([reply.request.site for reply in answered], pa.string()),
                "version": repeated([reply.answer.version for reply in answered], pa.string()),
                "image_digest": repeated([_image(reply) for reply in answered], pa.string()),
                "latency_ms": repeated([reply.latency_ms for reply in answered], pa.float64()),
            }
        )

    @property
    def sites(self) -> dict[str, SiteTraffic]:
        """What each site was asked, by name."""
        by_site: dict[str, list[Reply]] = {}
        for reply in self.replies:
            by_site.setdefault(reply.request.site, []).append(reply)
        return {site: _summarize(replies) for site, replies in by_site.items()}


def send(
    requests: Iterable[Request],
    urls: Mapping[str, str],
    model: str,
    connections: int = 1,
    timeout_s: float = 30.0,
    waits_s: Sequence[float] = WAITS_S,
) -> Sent:
    """Send requests to their sites, all sites side by side, and wait at the end of each day for the last answer.

    A request that is not answered is sent again after each of ``waits_s``. A site that let all of them pass is asked
    once a request until it answers again, so that a dead site does not hold up the rest; what it misses is counted.

    Args:
        requests: In order of their day.
        urls: By site where it answers, such as ``http://127.0.0.1:8080``.
        model: The model's name.
        connections: Requests on their way to one site at once. More keep a far site busy; to sites on this machine
            they lengthen each other's latency.
        timeout_s: Seconds to wait for the connection, and for each part of an answer.
        waits_s: Seconds before each further attempt.

    Returns:
        What came of it.

    Raises:
        InputError: A request is for a site without URL, or the days are not in order; nothing of that day is sent.
    """
    if connections < 1:
        raise InputError(f"connections is {connections}: use 1 or more a site.")
    lanes = {site: _Lane(url, model, connections, timeout_s, waits_s) for site, url in urls.items()}
    replies: list[Reply] = []
    # A window of time holds its start, and not its end.
    start, last = datetime.now(UTC), None
    with ThreadPoolExecutor(max(1, len(lanes) * connections), "replay") as pool:
        try:
            for day, group in itertools.groupby(requests, key=lambda request: request.day):
                if last is not None and day < last:
                    raise InputError(f"The requests of {day} come after those of {last}: give them in order of time.")
                last = day
                replies += _send_day(list(group), lanes, pool)
        finally:
            for lane in lanes.values():
                lane.close()
    end = datetime.now(UTC) + timedelta(milliseconds=1)
    answered, seconds = sum(reply.answer is not None for reply in replies), (end - start).total_seconds()
    logger.info("%s of %s requests answered in %.1f s", f"{answered:,}", f"{len(replies):,}", seconds)
    return Sent(replies, start, end)


def _send_day(requests: list[Request], lanes: Mapping[str, "_Lane"], pool: ThreadPoolExecutor) -> list[Reply]:
    unknown = sorted({request.site for request in requests} - lanes.keys())
    if unknown:
        raise InputError(f"There is no URL for site {', '.join(unknown)}: give one of each site that is asked.")
    # Written before the first is sent, so that writing one does not lengthen the latency of another.
    queues: dict[str, deque[_Letter]] = {site: deque() for site in lanes}
    for position, request in enumerate(requests):
        body = {"id": request.id, **build_request(request.rows, _features(request.rows))}
        queues[request.site].append(_Letter(position, request, body))
    found: dict[int, Reply] = {}
    futures = [
        pool.submit(lane.ask_all, session, queues[site], found)
        for site, lane in lanes.items()
        for session in lane.sessions
    ]
    try:
        for future in futures:
            future.result()
    finally:  # whatever ends one ends the others after the request they are at
        for queue in queues.values():
            queue.clear()
    return [found[position] for position in range(len(requests))]


class _Letter(NamedTuple):
    position: int
    request: Request
    body: dict


class _Lane:
    """The way to one site."""

    def __init__(self, url: str, model: str, connections: int, timeout_s: float, waits_s: Sequence[float]):
        self._url, self._path = url, infer_path(model)
        self._timeout_s, self._waits_s = timeout_s, waits_s
        self._given_up = False
        self.sessions = [open_session(url) for _ in range(connections)]

    def close(self) -> None:
        for session in self.sessions:
            session.close()

    def ask_all(self, session: http.Session, queue: deque, found: dict[int, Reply]) -> None:
        """Ask for one request of the queue after another; several threads may share it."""
        while queue:
            try:
                letter = queue.popleft()
            except IndexError:  # another thread took the last
                return
            found[letter.position] = self._ask(session, letter.request, letter.body)

    def _ask(self, session: http.Session, request: Request, body: dict) -> Reply:
        waits = () if self._given_up else self._waits_s
        problem = ""
        for attempt in range(1, len(waits) + 2):
            begun = time.perf_counter()
            try:
                found = call_rest(self._url, self._path, body, self._timeout_s, session)
                taken = time.perf_counter() - begun
                answer = read_answer(found, self._url, request.rows.num_rows)
            except InputError as error:
                problem = str(error)
                if not _may_pass(error):
                    return Reply(request, None, 0.0, attempt, problem)
                if attempt <= len(waits):
                    time.sleep(waits[attempt - 1])
            else:
                self._given_up = False
                return Reply(request, answer, taken * 1e3, attempt, problem)
        if not self._given_up:
            logger.warning("%s", problem)
        self._given_up = True
        return Reply(request, None, 0.0, len(waits) + 1, problem)


def _may_pass(error: InputError) -> bool:
    if isinstance(error, RefusedError):
        return error.status in _PASSING or int(error.status) >= 500
    return isinstance(error, UnreachableError)


def _features(rows: pa.Table) -> Schema:
    return Schema(tuple(Column(field.name, kind_of(field.type)) for field in rows.schema))


def _image(reply: Reply) -> str:
    return str(reply.answer.parameters.get("image_digest", ""))


def _summarize(replies: list[Reply]) -> SiteTraffic:
    answered = [reply for reply in replies if reply.answer is not None]
    latencies = [reply.latency_ms for reply in answered]
    versions, images = Counter(), Counter()
    for reply in answered:
        versions[reply.answer.version] += len(reply.request.truth)
        images[_image(reply)] += len(reply.request.truth)
    p50, p99 = np.percentile(latencies, [50, 99], method="higher").tolist() if latencies else (None, None)
    return SiteTraffic(
        requests=len(replies),
        failed=len(replies) - len(answered),
        retried=sum(reply.attempts - 1 for reply in replies),
        problem=next((reply.problem for reply in reversed(replies) if reply.problem), ""),
        p50_ms=p50,
        p99_ms=p99,
        versions=dict(versions),
        images=dict(images),
    )
