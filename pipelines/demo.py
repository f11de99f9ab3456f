"""The demo: from nothing to a trained model, and from there to three sites and a page that asks them."""

from pathlib import Path

import requests
import yaml

import loopline.examples.flights
from loopline.components.environment import home
from loopline.components.errors import InputError
from loopline.components.registry.store import ui_command
from loopline.pipelines.engine import Run, run_pipeline
from loopline.pipelines.progress import Progress, shown_path
from loopline.pipelines.sites import control

_APP = "loopline.examples.flights.app"


def run_demo(progress: Progress) -> str:
    """Train on the flights of January to May, test on June, deliver the champion to three sites and ask each.

    The sites go on serving: ``loopline sites down`` ends them.

    Args:
        progress: Where to show the steps.

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
    settings = Path(loopline.examples.flights.__file__).with_name("training.yaml")
    parameters = yaml.safe_load(settings.read_text(encoding="utf-8"))
    trained = run_pipeline("training", {**parameters, "uri": f"{folder}/flights-2013-0[1-6].csv.gz"}, progress)
    progress.note("starting the sites edge, cloud and datacenter")
    control.up(app=_APP)
    delivered = run_pipeline("delivery", {"name": parameters["name"]}, progress)
    url = control.wait_for_app()
    progress.note(f"asking each site through the app at {url}")
    answers = [_ask(url, site) for site in ("edge", "cloud", "datacenter")]
    return _summary(parameters["name"], trained, delivered, url, answers)


def _ask(url: str, site: str) -> dict:
    """Ask the app for the first flight of its list, as the page does."""
    with requests.Session() as session:
        session.trust_env = False  # a proxy does not know this machine
        first = session.get(f"{url}/api/flights", timeout=10).json()[0]
        answer = session.post(f"{url}/api/predict", json={"site": site, "flight": first["flight"]}, timeout=30)
    if not answer.ok:
        raise InputError(f"Site {site} gave no prediction ({answer.text}): see `loopline sites logs {site}`.")
    return {**answer.json(), "flight": first["number"]}


def _summary(name: str, trained: Run, delivered: Run, url: str, answers: list[dict]) -> str:
    champion = "it is the champion now" if trained.outputs["verdict"] == "promote" else "the champion stays as it was"
    lines = [
        "",
        f"Registered: {name} version {trained.outputs['version']} ({champion})",
        f"Model:      {shown_path(trained.outputs['model'].path)}",
        f"Image:      version {delivered.outputs['version']}, {delivered.outputs['image'].rpartition('@')[2]}",
    ]
    for path in (*trained.reports, *delivered.reports):
        if path.stem in ("evaluate-model", "test-model-image"):
            lines.append(f"Report:     {shown_path(path)}")
    lines.append(f"Sites:      flight {answers[0]['flight']} arrives late with a probability of")
    for answer in answers:
        image = answer["image_digest"].removeprefix("sha256:")[:12]
        lines.append(
            f"            {answer['probability']:.3f}  {answer['site']}, version {answer['model_version']} ({image})"
        )
    lines += [
        f"App:        {url}",
        f"MLflow UI:  {ui_command()}",
        "            then open http://localhost:5000",
        "The sites go on serving: `loopline sites status` shows them, `loopline sites down` ends them.",
    ]
    return "\n".join(lines)
