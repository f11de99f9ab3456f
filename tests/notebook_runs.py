"""Run a notebook as a person does with Run All, and read what it shows."""

import html
import re
from pathlib import Path

from nbclient import NotebookClient


def execute(notebook, folder: Path) -> str:
    """Run a notebook in a folder, in a fresh kernel.

    Returns:
        All that it shows as text, that of pages in frames included.

    Raises:
        CellExecutionError: A cell failed.
        AssertionError: Something is written to the red part below a cell, or moves a terminal's cursor.
    """
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    noise = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not noise, noise
    parts = [[output.get("text", ""), *map(str, output.get("data", {}).values())] for output in outputs]
    shown = "".join(text for part in parts for text in part)
    assert not re.search(r"\x1b|\r", shown), "what moves a terminal's cursor is litter in a notebook"
    # Once for the frame, once for the page in it.
    return html.unescape(html.unescape(shown))
