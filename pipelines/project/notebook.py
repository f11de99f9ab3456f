"""The notebook of a project: the data, the target, a trained model's report, and what to do next."""

import json
import shlex

from loopline.pipelines.project.words import run_command

_CELLS = (
    (
        "markdown",
        """# {name}

Written by `loopline init`. It reads `params.yaml` beside it: change that file, and run this notebook again.""",
    ),
    (
        "code",
        """import os
import tempfile
from pathlib import Path

import pandas as pd
import yaml
from IPython.display import HTML
from loopline.components.data.ingest import ingest
from loopline.components.data.summary import summarize
from loopline.components.data.tables import read_batches
from loopline.pipelines.engine import run_pipeline
from loopline.pipelines.progress import Progress
from loopline.pipelines.spec import PipelineFile

# Runs and models go where `loopline` puts them when it is started where this project was made.
os.environ.setdefault("LOOPLINE_HOME", str(Path({home}).resolve()))
given = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
params = PipelineFile.find("training").convert(given)
target = params["target"]""",
    ),
    ("markdown", "## The data"),
    (
        "code",
        """folder = Path(tempfile.mkdtemp(prefix="loopline-"))
table = folder / "data.parquet"
ingest(params["uri"], table, columns=params.get("columns", ""), csv=params.get("csv", "{{}}"))
sample = next(read_batches(table, rows=100_000)).to_pandas()
sample.head()""",
    ),
    (
        "code",
        """fields = ("name", "kind", "missing", "minimum", "mean", "maximum")
pd.DataFrame([[getattr(column, field) for field in fields] for column in summarize(table)], columns=fields)""",
    ),
    ("markdown", "## The target"),
    (
        "code",
        """values = sample[target].dropna()
if params["task"] == "regression":
    values.plot.hist(bins=40, title=target)
else:
    values.astype(str).value_counts().head(30).plot.bar(title=target);""",
    ),
    (
        "markdown",
        """## A model

The same run as `loopline run training -f params.yaml`: check the data, split, train, judge, register. Steps print what
they do; everything they wrote stays in the run's folder.""",
    ),
    (
        "code",
        """run = run_pipeline("training", params, Progress.terminal())
print(f"version {{run.outputs['version']:g}}: {{run.outputs['verdict']}}")""",
    ),
    ("code", """HTML(filename=next(report for report in run.reports if report.stem == "evaluate-model"))"""),
    (
        "markdown",
        """## Next

- Is a column at the top of the importance known when a prediction is asked for? If not, add it to `exclude`.
- Say in `expectations` what must hold for the data: the next run checks it.
- Deliver the model, in a terminal: `loopline sites up`, then `loopline run delivery --name {typed}`.
- Watch what the sites see: `{watch}`.""",
    ),
)


def explore_notebook(name: str, project: str, home: str) -> str:
    """Write the notebook; it has no outputs, and the same arguments give the same bytes.

    Args:
        name: The model's name.
        project: The project's folder as a person types it.
        home: The way from the project's folder to that of runs and models.

    Returns:
        The notebook as JSON.
    """
    watch = run_command("monitoring", project, "monitoring.yaml")
    cells = []
    for number, (kind, text) in enumerate(_CELLS):
        source = text.format(name=name, typed=shlex.quote(name), watch=watch, home=json.dumps(home))
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source.splitlines(keepends=True)}
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    document = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
