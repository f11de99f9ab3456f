"""The demo: the training pipeline on the flights, from nothing to a registered model."""

from pathlib import Path

import yaml

import loopline.examples.flights
from loopline.components.environment import home
from loopline.components.registry.store import ui_command
from loopline.pipelines.engine import run_pipeline
from loopline.pipelines.progress import Progress, shown_path


def run_demo(progress: Progress) -> str:
    """Train on the flights of January to May and test on June.

    Args:
        progress: Where to show the steps.

    Returns:
        What came of it and where to look, for a person to read.

    Raises:
        InputError: The flights data are not installed.
        StepFailed: A step failed.
    """
    from loopline.examples.flights.prepare import write_months

    folder = home() / "flights"
    progress.note(f"preparing the flights in {shown_path(folder)}")
    write_months(folder)
    settings = Path(loopline.examples.flights.__file__).with_name("training.yaml")
    parameters = yaml.safe_load(settings.read_text(encoding="utf-8"))
    run = run_pipeline("training", {**parameters, "uri": f"{folder}/flights-2013-0[1-6].csv.gz"}, progress)
    champion = "it is the champion now" if run.outputs["verdict"] == "promote" else "the champion stays as it was"
    report = next(path for path in run.reports if path.stem == "evaluate-model")
    return f"""
Registered: {parameters["name"]} version {run.outputs["version"]} ({champion})
Model:      {shown_path(run.outputs["model"].path)}
Report:     {shown_path(report)}
MLflow UI:  {ui_command()}
            then open http://localhost:5000"""
