"""Replace the model of a site by a commit while it answers a steady load, and count what is lost.

Requests leave on a fixed schedule, whatever the answers do, so that a stall delays all that come after it: latencies
are counted from the scheduled time. Half of them go over a few kept connections in turn, half over new ones.
"""

import asyncio
import json
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.measure import markdown, spread

PER_SECOND, KEPT, REPLACEMENTS, BETWEEN_S = 50, 8, 6, 5.0
_SITE = "edge"


@dataclass
class Sample:
    """One request.

    Attributes:
        sent: When it was due, of ``time.monotonic``.
        seconds: Until its answer.
        digest: The image that answered; empty when the request failed.
        kept: Whether it went over a kept connection.
    """

    sent: float
    seconds: float
    digest: str
    kept: bool


@dataclass
class Steady:
    """A load in a thread of its own.

    Attributes:
        samples: The requests, in the order of their answers.
        failures: What went wrong.
    """

    url: str
    body: bytes
    samples: list[Sample] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __enter__(self) -> "Steady":
        self._ending = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._ending = True
        self._thread.join()

    async def _run(self) -> None:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=30)
        kept = [aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1), timeout=timeout) for _ in range(KEPT)]
        new = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, limit=0), timeout=timeout)
        tasks, due, number = [], time.monotonic(), 0
        while not self._ending:
            session = new if number % 2 else kept[number // 2 % KEPT]
            tasks.append(asyncio.ensure_future(self._ask(session, due, kept=session is not new)))
            number, due = number + 1, due + 1 / PER_SECOND
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        await asyncio.gather(*tasks)
        for session in (new, *kept):
            await session.close()

    async def _ask(self, session, due: float, kept: bool) -> None:
        import aiohttp

        digest = ""
        try:
            async with session.post(self.url, data=self.body, headers={"Content-Type": "application/json"}) as answer:
                content = await answer.read()
                if answer.status == 200:
                    digest = json.loads(content)["parameters"]["image_digest"]
                else:
                    self.failures.append(f"{answer.status} {content[:200]!r}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self.failures.append(f"{type(error).__name__}: {error}")
        self.samples.append(Sample(due, time.monotonic() - due, digest, kept))


def run() -> str:
    """Replace a version several times under load; returns a Markdown table."""
    from loopline.components.environment import environment
    from loopline.pipelines.sites.process import stop_agent

    with (
        tempfile.TemporaryDirectory(prefix="loopline-bench-") as folder,
        environment({"LOOPLINE_HOME": f"{folder}/home"}),
    ):
        try:
            return _measure(Path(folder))
        finally:
            stop_agent()


def _measure(folder: Path) -> str:
    from loopline.components.delivery.golden import read_golden
    from loopline.components.delivery.inference import build_request
    from loopline.components.delivery.promotion import promote
    from loopline.pipelines.sites import control
    from loopline.pipelines.sites.repository import init_config_repository

    model = _train(folder)
    images = [_build(model, version) for version in (1, 2)]
    init_config_repository(sites=[_SITE])
    promote("", _SITE, images[0])
    [state] = control.up()
    golden = read_golden(model).slice(0, 1)
    body = json.dumps(build_request(golden.rows, golden.features)).encode()
    waits, windows = [], []
    with Steady(f"{state.url}/v2/models/flights/infer", body) as load:
        for number in range(1, REPLACEMENTS + 1):
            time.sleep(BETWEEN_S)
            image, old = images[number % 2], _pid()
            promote("", _SITE, image)
            start = time.monotonic()
            digest = image.rpartition("@")[2]
            _wait(lambda start=start, digest=digest: any(s.digest == digest and s.sent > start for s in load.samples))
            waits.append(time.monotonic() - start)
            _wait(lambda old=old: not Path(f"/proc/{old}").exists())
            windows.append((start, time.monotonic()))
        time.sleep(BETWEEN_S)
    return _report(load, waits, windows)


def _report(load: Steady, waits: list[float], windows: list[tuple[float, float]]) -> str:
    def within(sample: Sample) -> bool:
        return any(start <= sample.sent <= end for start, end in windows)

    rows = []
    for name, kept in (("kept", True), ("new", False)):
        some = [sample for sample in load.samples if sample.kept == kept]
        rows.append(
            [
                name,
                len(some),
                sum(not sample.digest for sample in some),
                _percentile(some, 50, lambda sample: not within(sample)),
                _percentile(some, 99, lambda sample: not within(sample)),
                _percentile(some, 99, within),
                _percentile(some, 100, within),
            ]
        )
    headers = ["connections", "sent", "failed", "p50 ms outside", "p99 ms outside", "p99 ms during", "max ms during"]
    failures = "".join(f"\n- {failure}" for failure in sorted(set(load.failures))[:5])
    return (
        markdown(headers, rows) + f"\n\n{REPLACEMENTS} replacements under {PER_SECOND} requests/s. From the pushed "
        f"commit to the first answer of the new version: {spread(waits)} s. During: from the commit until the old "
        f"server has ended.{failures}"
    )


def _percentile(samples: list[Sample], share: float, keep) -> str:
    return f"{np.percentile([sample.seconds * 1e3 for sample in samples if keep(sample)], share):.1f}"


def _train(folder: Path) -> Path:
    import pyarrow as pa

    from loopline.components.data.tables import write_table
    from loopline.components.data.validate import validate
    from loopline.components.training.train import train_boosted_trees
    from loopline.examples.flights.prepare import flights_with_weather

    frame = flights_with_weather().drop(columns=["time_hour"]).sample(60_000, random_state=0)
    names = [folder / name for name in ("data.parquet", "valid.parquet", "bad.parquet", "schema.json", "report.html")]
    data, valid, bad, schema, report = names
    write_table(data, pa.Table.from_pandas(frame, preserve_index=False))
    validate(data, valid, bad, schema, report, target="late")
    train_boosted_trees(valid, None, schema, folder / "model", rounds=100, name="flights")
    return folder / "model"


def _build(model: Path, version: int) -> str:
    from loopline.components.delivery.attestation import attest_tested
    from loopline.components.delivery.build import build_image

    image = build_image(model, version=version)
    attest_tested(image, {"result": "PASSED", "configuration": [], "passedTests": ["golden"]})
    return image


def _pid() -> int:
    from loopline.pipelines.sites.state import read_states

    return next(state.pid for state in read_states() if state.site == _SITE)


def _wait(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("The site did not follow in time.")
        time.sleep(0.02)
