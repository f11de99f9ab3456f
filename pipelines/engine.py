"""Run compiled pipelines on this machine with kfp's local runner, and show what happens while it does."""

import builtins
import contextlib
import json
import logging
import time
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from loopline.components.environment import environment, home
from loopline.components.errors import InputError, is_full
from loopline.pipelines.notebook import NotebookProgress, in_notebook
from loopline.pipelines.progress import DISK_FULL, Progress, StepFailed, failure_of
from loopline.pipelines.run import Run
from loopline.pipelines.spec import PipelineFile
from loopline.pipelines.step_process import start_step, warm_up


def run_pipeline(pipeline: str | Path, arguments: dict, progress: Progress | None = None) -> Run:
    """Run a compiled pipeline on this machine, each step a process of its own.

    Args:
        pipeline: The name of a pipeline that comes with Loopline, or the path of a compiled YAML.
        arguments: Its parameters by name; text is converted to the parameter's type.
        progress: Where to show the steps; when None below the cell of a notebook, and nowhere outside of one.

    Returns:
        The finished run.

    Raises:
        InputError: The pipeline or a parameter is unknown, or a parameter is missing.
        StepFailed: A step failed, with its own traceback, or refused its input, in one sentence.
    """
    source = PipelineFile.find(pipeline)
    values = source.convert(arguments)
    if progress is None:
        with contextlib.closing(NotebookProgress() if in_notebook() else Progress.silent()) as own:
            return run_pipeline(pipeline, arguments, own)
    try:
        return _run_here(source, values, progress)
    except OSError as error:
        if is_full(error):
            raise InputError(DISK_FULL) from None
        raise


def _run_here(source: PipelineFile, values: dict, progress: Progress) -> Run:
    with environment({"LOOPLINE_HOME": str(home())}):
        warm_up()
        return _run_warm(source, values, progress)


def _run_warm(source: PipelineFile, values: dict, progress: Progress) -> Run:
    from kfp import components, local

    run = Run(_run_folder(source.name))
    progress.begin()
    task = components.load_component_from_file(str(source.path))
    log = run.folder / "run.log"
    with (
        open(log, "w", encoding="utf-8") as stream,
        _quiet(stream),
        _reported_steps(run, progress, stream),
    ):
        local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(run.folder), raise_on_error=True)
        started = time.monotonic()
        try:
            run.outputs = dict(task(**values).outputs)
            run.total_seconds = time.monotonic() - started
        except StepFailed:
            raise
        except RuntimeError as error:
            raise (progress.failure or StepFailed("pipeline", f"{error} See {log}.", "")) from None
    return run


def _run_folder(name: str) -> Path:
    start = home() / "runs" / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    for attempt in range(100):
        folder = start if not attempt else start.with_name(f"{start.name}-{attempt}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise InputError(f"{start} and its like exist: clear old runs away.")


@contextlib.contextmanager
def _quiet(stream) -> Iterator[None]:
    """Send what kfp prints, logs and warns about into the run's log, and undo what it leaves behind on a failure."""
    with contextlib.redirect_stdout(stream), warnings.catch_warnings():
        # The runner warns of settings that only matter on a cluster, and of an image name without "python" in it.
        warnings.simplefilter("ignore")
        level, handlers, plain_print = logging.root.level, list(logging.root.handlers), builtins.print
        try:
            yield
        finally:
            builtins.print = plain_print
            logging.root.handlers[:] = handlers
            logging.root.setLevel(level)


@contextlib.contextmanager
def _reported_steps(run: Run, progress: Progress, stream) -> Iterator[None]:
    """Let kfp's runner start its steps through a handler that reports them.

    kfp has no hook for this. The handler class is looked up by the name replaced here; a test fails when that changes.
    """
    from kfp.local import subprocess_task_handler

    original = subprocess_task_handler.SubprocessTaskHandler

    class ReportingHandler(original):
        def run(self):
            return _run_step(self, run, progress, stream)

    subprocess_task_handler.SubprocessTaskHandler = ReportingHandler
    try:
        yield
    finally:
        subprocess_task_handler.SubprocessTaskHandler = original


def _run_step(handler, run: Run, progress: Progress, stream):
    """Run one step as kfp's own handler does, while watching its output."""
    from kfp.local import status

    command = handler.full_command
    executor_input = json.loads(command[command.index("--executor_input") + 1])
    name = progress.start(Path(executor_input["outputs"]["outputFile"]).parent.name)
    started = time.monotonic()
    output = []
    with start_step(command, handler.env_vars) as process:
        for line in process.stdout:
            output.append(line)
            stream.write(line)
            progress.line(name, line)
    run.seconds[name] = time.monotonic() - started
    if process.returncode == 0:
        run.artifacts[name] = _read_artifacts(executor_input)
        run.reports.extend(_keep_reports(executor_input, run.folder / "reports", name))
        progress.done(name)
        return status.Status.SUCCESS
    failure = failure_of(name, output, process.returncode)
    progress.fail(name, failure)
    if failure.refused:
        # Trying again cannot help: leave the run at once instead of waiting for kfp's retries.
        raise failure
    return status.Status.FAILURE


def _read_artifacts(executor_input: dict) -> dict:
    """Read what a step wrote about its artifacts, as the pipeline's own outputs are read."""
    from kfp.dsl.executor import create_artifact_instance

    file = Path(executor_input["outputs"]["outputFile"])
    written = json.loads(file.read_text(encoding="utf-8")).get("artifacts", {}) if file.is_file() else {}
    found = {}
    for name, entry in executor_input["outputs"].get("artifacts", {}).items():
        for planned, made in zip(entry["artifacts"], written.get(name, entry)["artifacts"], strict=False):
            found[name] = create_artifact_instance({**planned, **made, "type": planned["type"]})
    return found


def _keep_reports(executor_input: dict, folder: Path, step: str) -> list[Path]:
    """Put a step's HTML artifacts where a browser opens them as pages, under names a person finds."""
    kept = []
    for name, entry in executor_input.get("outputs", {}).get("artifacts", {}).items():
        for artifact in entry.get("artifacts", []):
            source = Path(artifact.get("uri", ""))
            if artifact.get("type", {}).get("schemaTitle") == "system.HTML" and source.is_file():
                folder.mkdir(exist_ok=True)
                target = folder / (f"{step}.html" if name == "report" else f"{step}-{name}.html")
                target.write_bytes(source.read_bytes())
                kept.append(target)
    return kept
