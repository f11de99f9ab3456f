"""JSON documents: what steps leave for those after them, and for people."""

import json
from pathlib import Path


def write_document(path: str | Path, values: dict) -> None:
    """Write a document, indented for people to read; its folder is made when missing.

    Args:
        path: The file.
        values: Plain JSON values; None for what is undefined.

    Raises:
        ValueError: A number is not finite.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(values, indent=2, allow_nan=False), encoding="utf-8")
