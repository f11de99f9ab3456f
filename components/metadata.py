"""Metadata of artifacts outside a KFP step: beside the artifact, or as the engine tells and takes it."""

import json
from pathlib import Path
from typing import Protocol

from loopline.components.documents import write_document
from loopline.components.errors import InputError


class Metadata(Protocol):
    """Where metadata come from and go to."""

    def read(self, path: str | Path) -> dict:
        """Return what is known of an artifact.

        Args:
            path: The artifact.
        """

    def address(self, path: str | Path) -> str:
        """Return where an artifact is for others: its URI, or its path where it has none.

        Args:
            path: The artifact.
        """

    def write(self, known: dict[Path, dict]) -> None:
        """Keep what a step said of its outputs.

        Args:
            known: Metadata by the artifact's absolute path.
        """


class SideMetadata:
    """Metadata in a file beside the artifact: ``PATH.metadata.json``."""

    def read(self, path: str | Path) -> dict:
        """Return what the file beside an artifact says; nothing when there is none.

        Args:
            path: The artifact.

        Raises:
            InputError: The file is no JSON object.
        """
        file = _beside(Path(path))
        if not file.is_file():
            return {}
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise InputError(f"{file} is no JSON object of metadata: remove it, or run the step before anew.")
        return values

    def address(self, path: str | Path) -> str:
        """Return an artifact's absolute path.

        Args:
            path: The artifact.
        """
        return str(Path(path).absolute())

    def write(self, known: dict[Path, dict]) -> None:
        """Write a file beside each artifact of which something is known, and remove what an earlier run said.

        Args:
            known: Metadata by the artifact's path.
        """
        for path, values in known.items():
            if values:
                write_document(_beside(path), values)
            else:
                _beside(path).unlink(missing_ok=True)


class EngineMetadata:
    """Metadata as Kubeflow Pipelines passes them to a container, and takes them from the file that it names.

    Args:
        text: The step's executor input as JSON: what ``{{$}}`` stands for.

    Raises:
        InputError: The text is no executor input.
    """

    def __init__(self, text: str):
        try:
            told = json.loads(text)
            self._inputs = _by_path(told.get("inputs", {}).get("artifacts", {}))
            self._outputs = _by_path(told["outputs"].get("artifacts", {}))
            self._file = Path(told["outputs"]["outputFile"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise InputError("--executor-input is not the executor input of a Kubeflow Pipelines step.") from None

    def read(self, path: str | Path) -> dict:
        """Return what the engine knows of an input.

        Args:
            path: The artifact.
        """
        _, artifact = self._inputs.get(Path(path).absolute(), ("", {}))
        return artifact.get("metadata", {})

    def address(self, path: str | Path) -> str:
        """Return the URI under which the engine knows an artifact, else its path.

        Args:
            path: The artifact.
        """
        place = Path(path).absolute()
        _, artifact = self._inputs.get(place) or self._outputs.get(place) or ("", {})
        return artifact.get("uri", str(place))

    def write(self, known: dict[Path, dict]) -> None:
        """Write the file that the engine reads: each output under the name and address that it knows it by.

        Args:
            known: Metadata by the artifact's path.
        """
        artifacts = {}
        for path, values in known.items():
            name, artifact = self._outputs.get(path, ("", None))
            if artifact is not None:
                kept = {key: artifact[key] for key in ("name", "uri") if key in artifact}
                artifacts[name] = {"artifacts": [{**kept, "metadata": values}]}
        write_document(self._file, {"artifacts": artifacts})


def _by_path(artifacts: dict) -> dict[Path, tuple[str, dict]]:
    """Return artifacts with their names by the local path at which the engine puts them."""
    from kfp.dsl import Artifact

    return {
        Path(Artifact(uri=artifact["uri"]).path).absolute(): (name, artifact)
        for name, entry in artifacts.items()
        for artifact in entry.get("artifacts", [])
    }


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.metadata.json")
