"""Put the palette into JupyterLab's visual editor, and the drawn pipelines into a folder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from loopline.components.environment import home
from loopline.components.errors import InputError
from loopline.components.image import step_image
from loopline.pipelines.compile import check_image, write_texts
from loopline.pipelines.elyra.drawing import drawn_files
from loopline.pipelines.elyra.palette import HEADER, palette_files
from loopline.pipelines.spec import compiled_folder

#: The catalog's name in Elyra, and the palette's heading.
CATALOG, HEADING = "loopline", "Loopline"
_SCHEMA = "local-directory-catalog"


def install_palette(image: str = "", folder: str | Path = "") -> Path:
    """Write the palette and register it as a catalog of Elyra's, or renew what is registered.

    Args:
        image: The image of every node, by digest on a cluster; the default image when empty.
        folder: Where the palette's files stay; ``elyra`` under ``LOOPLINE_HOME`` when empty.

    Returns:
        The folder.

    Raises:
        InputError: The image has no fixed tag or digest, the folder cannot be written, Elyra is not installed here, or
            it refuses.
    """
    check_image(image or step_image())
    program = _find_program()
    target = (Path(folder) if folder else home() / "elyra").expanduser().absolute()
    files = palette_files(_compiled().values(), image or step_image())
    write_texts({target / name: text for name, text in files.items()})
    # Elyra shows every YAML of the folder: nodes of another version go, what is somebody's own stays.
    for file in target.glob("*.yaml"):
        if file.name not in files and file.read_text(encoding="utf-8", errors="replace").startswith(HEADER):
            file.unlink()
    _register(program, target)
    return target


def write_pipelines(folder: str | Path, replace: bool = False) -> list[Path]:
    """Write the drawn pipelines.

    Args:
        folder: Where to.
        replace: Whether to write over files that are there.

    Returns:
        The files.

    Raises:
        InputError: The folder cannot be written, or a file is there already and is not to be replaced: nothing is
            written.
    """
    files = {Path(folder) / name: text for name, text in drawn_files(_compiled()).items()}
    there = [file for file in files if file.exists()]
    if there and not replace:
        raise InputError(f"{there[0]} is there already: name another folder, or write over it with --force.")
    write_texts(files)
    return list(files)


def _compiled() -> dict[str, str]:
    return {file.stem: file.read_text(encoding="utf-8") for file in sorted(compiled_folder().glob("*.yaml"))}


def _find_program() -> str:
    """Return Elyra's own command for catalogs: this environment's, or the one of a workbench around it."""
    beside = Path(sys.executable).with_name("elyra-metadata")
    program = str(beside) if beside.is_file() else shutil.which("elyra-metadata")
    if not program:
        raise InputError(
            "Elyra is not installed here: use a terminal of a workbench, or `pip install 'loopline[elyra]'`."
        )
    return program


def _register(program: str, folder: Path) -> None:
    settings = [
        "component-catalogs", f"--schema_name={_SCHEMA}", f"--name={CATALOG}", f"--display_name={HEADING}",
        "--runtime_type=KUBEFLOW_PIPELINES", f"--paths={json.dumps([str(folder)])}",
        f"--categories={json.dumps([HEADING])}",
    ]  # fmt: skip
    # One of the two is right: to renew what is there, or to make it.
    for verb in ("update", "create"):
        done = subprocess.run([program, verb, *settings], capture_output=True, text=True)
        if done.returncode == 0:
            return
    said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    raise InputError(f"Elyra did not take the catalog: {said[-1] if said else f'{program} says nothing'}")
