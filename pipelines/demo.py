"""The demo: from nothing to a model at three sites, and from there through seven months that it did not expect."""

import datetime
from datetime import UTC
from pathlib import Path

import requests
import yaml

import loopline.examples.flights
from loopline.components.environment import home
from loopline.components.errors import InputError
from loopline.components.registry.store import ui_command
from loopline.components.registry.versions import promote
from loopline.pipelines.engine import Run, run_pipeline
from loopline.pipelines.progress import Progress, shown_path
from loopline.pipelines.replay.loop import Loop, Source
from loopline.pipelines.replay.timeline import Timeline
from loopline.pipelines.replay.timeline_page import timeline_page
from loopline.pipelines.replay.timeline_words import timeline_text
from loopline.pipelines.sites import control

_APP = "loopline.examples.flights.app"
#: Months that are replayed; a fast demo takes the first two, and of their flights a share.
MONTHS, FAST_MONTHS, FAST_SHARE = range(6, 13), range(6, 8), 0.3
#: The outcome of a flight is known after so many days.
DELAY_DAYS = 5


def run_demo(progress: Progress, fast: bool = False) -> str:
    """Train on the flights of January to May, deliver to three sites, then replay June to December through them.

    After each month monitoring decides whether to retrain and redeliver. The sites go on serving: ``loopline sites
    down`` ends them.

    Args:
        progress: Where to show the steps.
        fast: Replay a part of two months alone.

    Returns:
        What came of it and where to look, for a person to read.

    Raises:
        InputError: The flights data are not installed, or a site does not answer.
        StepFailed: A step failed.
    """
    folder = home() / "flights"
    progress.note(f"preparing the flights in {shown_path(folder)}")
    from loopline.examples.flights.prepare import write_months

    write_months(folder)
    history = f"{folder}/flights-2013-0[1-5].csv.gz"
    parameters = _read_parameters("training.yaml")
    trained = run_pipeline("training", {**parameters, "uri": history}, progress)
    version = trained.outputs["version"]
    if trained.outputs["verdict"] != "promote":
        progress.note(f"the replay begins anew: version {version} is the champion again")
        promote(parameters["name"], version)
    progress.note("starting the sites edge, cloud and datacenter")
    control.up(app=_APP)
    delivered = run_pipeline("delivery", {"name": parameters["name"]}, progress)
    url = control.wait_for_app()
    progress.note(f"asking each site through the app at {url}")
    _ask_sites(url)
    page, timeline = _replay(folder, history, trained, progress, fast)
    # Once more: the replay has brought them other versions.
    return _summary(parameters["name"], trained, delivered, url, _ask_sites(url), page, timeline)


def _read_parameters(name: str) -> dict:
    file = Path(loopline.examples.flights.__file__).with_name(name)
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _replay(flights: Path, history: str, trained: Run, progress: Progress, fast: bool) -> tuple[Path, Timeline]:
    """Replay the months; what is known so far is kept after each, should one fail."""
    from loopline.examples.flights.replay import month_requests, write_truth

    started = datetime.datetime.now(UTC)
    folder = home() / "replay" / f"{started:%Y%m%d-%H%M%S}"
    share = FAST_SHARE if fast else 1.0
    source = Source(
        requests=lambda month, sites: list(month_requests(flights, month, share, sites=sites)),
        write_truth=lambda month, sent, until: write_truth(folder / "truth", month, sent, until),
        truth=f"{folder}/truth/*.parquet",
        label=lambda month: f"2013-{month:02}",
    )
    timeline = Timeline(
        "flights", "late", trained_on="January to May 2013", control_version=str(trained.outputs["version"]),
        units="flights", created=started.isoformat(timespec="seconds"),
        notes=[f"A replay of {share:.0%} of the flights of two months."] if fast else [],
    )  # fmt: skip
    parameters = {**_read_parameters("monitoring.yaml"), "history": history}
    loop = Loop(source, trained.outputs["model"].path, parameters, timeline, DELAY_DAYS, progress)
    page = folder / "timeline.html"
    for month in FAST_MONTHS if fast else MONTHS:
        done = loop.play(month)
        timeline.save(folder / "timeline.json")
        page.write_text(timeline_page(timeline), encoding="utf-8")
        progress.note(f"{done.label}: {done.verdict}. {' '.join(done.reasons[:1])}")
    return page, timeline


def _ask_sites(url: str) -> list[dict]:
    return [_ask(url, site) for site in ("edge", "cloud", "datacenter")]


def _ask(url: str, site: str) -> dict:
    """Ask the app for the first flight of its list, as the page does."""
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy does not know this machine
            first = session.get(f"{url}/api/flights", timeout=10).json()[0]
            answer = session.post(f"{url}/api/predict", json={"site": site, "flight": first["flight"]}, timeout=30)
    except requests.RequestException as error:
        raise InputError(
            f"The app at {url} does not answer ({type(error).__name__}): see `loopline sites logs app`."
        ) from None
    if not answer.ok:
        raise InputError(f"Site {site} gave no prediction ({answer.text}): see `loopline sites logs {site}`.")
    return {**answer.json(), "flight": first["number"]}


def _summary(
    name: str, trained: Run, delivered: Run, url: str, answers: list[dict], page: Path, timeline: Timeline
) -> str:
    lines = [
        "",
        f"Registered: {name} version {trained.outputs['version']}",
        f"Model:      {shown_path(trained.outputs['model'].path)}",
        f"Image:      version {delivered.outputs['version']}, {delivered.outputs['image'].rpartition('@')[2]}",
    ]
    for path in (*trained.reports, *delivered.reports):
        if path.stem in ("evaluate-model", "test-model-image"):
            lines.append(f"Report:     {shown_path(path)}")
    lines += [
        "",
        timeline_text(timeline),
        "",
        f"Sites:      flight {answers[0]['flight']} arrives late with a probability of",
    ]
    for answer in answers:
        image = answer["image_digest"].removeprefix("sha256:")[:12]
        lines.append(
            f"            {answer['probability']:.3f}  {answer['site']}, version {answer['model_version']} ({image})"
        )
    lines += [
        f"Timeline:   {shown_path(page)}",
        f"App:        {url}",
        f"MLflow UI:  {ui_command()}",
        "            then open http://localhost:5000",
        "The sites go on serving: `loopline sites status` shows them, `loopline sites down` ends them.",
    ]
    return "\n".join(lines)
