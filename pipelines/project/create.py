"""Make a project: look at a table, decide, and write the folder whole or not at all."""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from loopline.components.errors import InputError, is_full
from loopline.components.registry.versions import check_name
from loopline.pipelines.progress import DISK_FULL, shown_path
from loopline.pipelines.project.files import monitoring_file, params_file
from loopline.pipelines.project.goal import choose_goal
from loopline.pipelines.project.look import take_look
from loopline.pipelines.project.notebook import explore_notebook
from loopline.pipelines.project.plan import Plan, make_plan, model_name
from loopline.pipelines.project.printout import describe_plan
from loopline.pipelines.project.words import run_command


@dataclass(frozen=True)
class Project:
    """A project that was written.

    Attributes:
        folder: Where.
        files: The names of its files.
        plan: What they say, and why.
    """

    folder: Path
    files: tuple[str, ...]
    plan: Plan

    def __str__(self) -> str:
        place = shown_path(self.folder)
        return (
            f"{describe_plan(self.plan)}\n\nWrote {place}: {', '.join(self.files)}\n"
            f"Next:  {run_command('training', place, 'params.yaml')}"
        )


def create_project(folder: str | Path, data: str, target: str, name: str = "", csv: str = "{}") -> Project:
    """Look at a table and write a project for it: parameters of training and monitoring, and a notebook.

    Args:
        folder: The folder to make; it may be there when it is empty.
        data: The table: a local path, folder or glob, ``s3://bucket/key`` or an ``https://`` address; CSV or Parquet.
        target: The column to predict.
        name: The name to register the model under; made of the folder's when empty.
        csv: JSON that says how CSV is written, where the file does not tell; see ``ingest_data``.

    Returns:
        The project; as text it says what was seen and what to do next.

    Raises:
        InputError: The folder holds something, the table cannot be read, or nothing can be learned from it. Nothing is
            written then.
    """
    folder = Path(folder).expanduser().absolute()
    name = check_name(name or model_name(folder.name))
    _check_folder(folder)
    try:
        with tempfile.TemporaryDirectory(prefix="loopline-init-") as aside:
            look = take_look(data, Path(aside), target, csv)
            plan = make_plan(look, choose_goal(look, target), name)
        place = shown_path(folder)
        files = {
            "params.yaml": params_file(plan, place),
            "monitoring.yaml": monitoring_file(plan, place),
            "explore.ipynb": explore_notebook(name, place, os.path.relpath(".loopline", folder)),
        }
        _write(folder, files)
    except OSError as error:
        if is_full(error):
            raise InputError(DISK_FULL) from None
        raise
    return Project(folder, tuple(files), plan)


def _check_folder(folder: Path) -> None:
    if folder.is_dir():
        if any(folder.iterdir()):
            raise InputError(f"{shown_path(folder)} holds files already: give another folder, or remove it first.")
    elif folder.exists() or folder.is_symlink():
        raise InputError(f"{shown_path(folder)} is no folder: give another one.")


def _write(folder: Path, files: dict[str, str]) -> None:
    """Write the files aside and move them into place at once; an empty folder stays what it is, and is filled."""
    _check_folder(folder)  # a look at a large table takes its time
    filled = folder.is_dir()
    # Within a folder that is there: a terminal may stand in it, and it may be a disk of its own.
    aside = folder / f".{os.getpid()}" if filled else folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        aside.mkdir(parents=True)
        for name, text in files.items():
            (aside / name).write_text(text, encoding="utf-8")
        if filled:
            for name in files:
                (aside / name).rename(folder / name)
            aside.rmdir()
        else:
            aside.rename(folder)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        for name in files if filled else ():
            (folder / name).unlink(missing_ok=True)
        if not isinstance(error, OSError) or is_full(error):
            raise
        raise InputError(f"{shown_path(folder)} cannot be written ({error.strerror}): give another folder.") from None
