"""Write, read and verify a model directory.

A model directory describes itself. It holds

* the model: ``model.onnx``, ``model.ubj``, ``model.skops`` or ``model.joblib``;
* ``model-settings.json``: name, version, inputs and outputs for MLServer, and its runtime where it has one;
* ``schema.json``: features and target, as they looked at training;
* ``reference-profile.json`` and ``reference-rows.parquet``: the training data, which drift is measured against;
* ``held-out-rows.parquet``: labeled rows that the model has not seen, where there were any, to know how sure it may be;
* ``golden.parquet``: some inputs with the predictions the model gave for them;
* ``loopline.json``: the manifest, written last, with the digest of each file.

The digest of a model covers what it predicts and what it is compared with, and nothing that differs between two runs
over the same input: run, time and host are provenance and stand in the manifest alone.
"""

import hashlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath

from loopline.components.data.schema import Schema
from loopline.components.data.tables import file_digest
from loopline.components.documents import make, read_json, reading
from loopline.components.errors import InputError
from loopline.components.model.card import manifest_card

MANIFEST = "loopline.json"
TASKS = ("binary", "multiclass", "regression")
#: Stands in the place of a model where the registry has none yet, so that the step after can say so.
ABSENT = "no-model.json"
HELD_OUT = "held-out-rows.parquet"
#: Written from the digest, so not part of it.
SETTINGS = "model-settings.json"
#: Which registered version the model is: laid beside it in a model image, so not part of the model.
RELEASE = "release.json"


@dataclass
class Manifest:
    """What a model directory holds.

    Attributes:
        name: What the model server calls the model.
        task: ``binary``, ``multiclass`` or ``regression``.
        target: The predicted column.
        classes: The labels in the order of the probabilities; empty for regression. Text, integers or booleans.
        format: ``onnx``, ``xgboost``, ``skops`` or ``joblib``.
        file: The model's file name.
        conversion: Why the model has this format: ``tolerance``, ``rows`` and ``max_difference`` of the comparison with
            the native model, or the ``reason`` a conversion was given up.
        training: Component, estimator, parameters, seed and what came of them (best iteration, validation score).
        provenance: Data digest, pipeline run, code version, time.
        libraries: Versions of the libraries that trained the model.
        files: The digest of each content file by name.
        digest: The model's own digest: ``sha256:...``.
    """

    task: str
    target: str
    classes: list
    format: str
    file: str
    name: str = "model"
    conversion: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    provenance: dict = field(default_factory=dict)
    libraries: dict = field(default_factory=dict)
    files: dict = field(default_factory=dict)
    digest: str = ""

    @property
    def is_classification(self) -> bool:
        """Whether the model predicts classes."""
        return self.task != "regression"

    @property
    def output_names(self) -> list[str]:
        """Names of the predicted columns: one ``probability_<class>`` a class, or ``prediction``."""
        return output_names(self.task, self.classes)

    def _repr_html_(self) -> str:
        return manifest_card(self).markup()


def output_names(task: str, classes: Sequence) -> list[str]:
    """Name the predicted columns of a model.

    Args:
        task: ``binary``, ``multiclass`` or ``regression``.
        classes: The labels in the order of the probabilities.

    Returns:
        One ``probability_<class>`` a class, or ``prediction``.
    """
    return ["prediction"] if task == "regression" else [f"probability_{label}" for label in classes]


@contextmanager
def writing_model(path: str | Path) -> Iterator[Path]:
    """Write a model directory aside; it appears when the block ends well, and not at all when it does not.

    Args:
        path: The directory. A model that was there before is replaced.

    Yields:
        The directory to write in.

    Raises:
        InputError: There is something at ``path`` that is no model.
    """
    path = Path(path)
    if path.exists() and not is_absent(path) and not (path / MANIFEST).is_file() and not _is_empty(path):
        raise InputError(f"{path} is there and is no model: name another folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as aside:
        made = Path(aside) / "model"
        made.mkdir()
        yield made
        put_in_place(made, path)


def put_in_place(made: Path, path: Path) -> None:
    """Rename a directory to where it is looked for; what was there goes aside first, so that no half of it is seen.

    Args:
        made: The directory, on the same disk.
        path: Where to.
    """
    old = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    if path.is_dir():
        path.rename(old)
    made.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def seal_model(path: str | Path, manifest: Manifest) -> Manifest:
    """Finish a model directory: digest its files, write the serving settings and, last, the manifest.

    Args:
        path: The directory, with all content files in place.
        manifest: What is known of the model; ``files`` and ``digest`` are filled in.

    Returns:
        The manifest as written.
    """
    path = Path(path)
    manifest.files = _digest_files(path)
    manifest.digest = _model_digest(manifest)
    (path / SETTINGS).write_text(json.dumps(_serving_settings(path, manifest), indent=2), encoding="utf-8")
    (path / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2, allow_nan=False), encoding="utf-8")
    return manifest


def read_manifest(path: str | Path) -> Manifest:
    """Read the manifest of a model directory.

    Args:
        path: The directory.

    Returns:
        The manifest.

    Raises:
        InputError: There is no model, or its manifest cannot be read.
    """
    file = Path(path) / MANIFEST
    if not file.is_file():
        raise InputError(f"There is no model in {path}: a model directory has a {MANIFEST}.")
    with reading(file, "a model's manifest", "train the model anew"):
        manifest = make(Manifest, **read_json(file))
        if manifest.task not in TASKS:
            raise ValueError(f"its task {manifest.task!r} is none of {', '.join(TASKS)}")
        if manifest.format not in _IMPLEMENTATIONS:
            raise InputError(f"Model format {manifest.format!r} is unknown: use one of {', '.join(_IMPLEMENTATIONS)}.")
        if manifest.file != PurePath(manifest.file).name or manifest.file in ("", ".", ".."):
            raise ValueError(f"its file {manifest.file!r} is not in the model directory")
        if not isinstance(manifest.training.get("validation") or {}, dict):
            raise TypeError("its validation scores are no object")
        if not all(isinstance(label, str | int) for label in manifest.classes):
            raise TypeError("a class is neither text nor an integer nor a boolean")
        return manifest


def verify_model(path: str | Path) -> Manifest:
    """Check that a model directory is what was sealed, file by file.

    Args:
        path: The directory.

    Returns:
        Its manifest.

    Raises:
        InputError: A file is missing, added or changed, or is a link.
    """
    manifest = read_manifest(path)
    found = _digest_files(Path(path))
    for name in sorted(manifest.files.keys() | found.keys()):
        if manifest.files.get(name) != found.get(name):
            what = "missing" if name not in found else "unexpected" if name not in manifest.files else "changed"
            raise InputError(f"{name} in model directory {path} is {what}: fetch the model again from its source.")
    if _model_digest(manifest) != manifest.digest:
        raise InputError(f"The manifest in {path} does not match its digest {manifest.digest}: fetch the model again.")
    # A model server imports the class that the settings name: they must be those that were written.
    settings, expected = Path(path) / SETTINGS, _serving_settings(Path(path), manifest)
    with reading(settings, "the settings of a model server", "fetch the model again"):
        written = read_json(settings) if settings.is_file() else {}
    # Models written before there was a class for their format name none, which is harmless.
    if {"implementation": expected["implementation"], **written} != expected:
        raise InputError(f"{SETTINGS} in model directory {path} is changed or missing: fetch the model again.")
    return manifest


def read_release(path: str | Path) -> dict | None:
    """Read which registered version a model directory is, where it comes from a model image.

    Args:
        path: The directory.

    Returns:
        ``name``, ``version`` and ``model_digest``; None outside an image.

    Raises:
        InputError: The file cannot be read.
    """
    file = Path(path) / RELEASE
    if not file.is_file():
        return None
    with reading(file, "a model's release", "fetch the model image again"):
        return read_json(file)


def mark_absent(path: str | Path, reason: str) -> None:
    """Write a directory that says there is no model yet.

    Args:
        path: The directory; it is made when missing.
        reason: Why, for the reader of the next report.
    """
    Path(path).mkdir(parents=True, exist_ok=True)
    (Path(path) / ABSENT).write_text(json.dumps({"reason": reason}), encoding="utf-8")


def is_absent(path: str | Path) -> bool:
    """Return whether ``mark_absent`` wrote this directory."""
    return (Path(path) / ABSENT).is_file()


def _digest_files(path: Path) -> dict[str, str]:
    names = []
    for file in path.rglob("*"):
        if file.is_symlink():  # what it points to may be anything, such as a password of this machine
            raise InputError(
                f"{file.relative_to(path)} in model directory {path} is a link: put the file itself there."
            )
        if file.is_file():
            names.append(str(file.relative_to(path)))
    return {name: file_digest(path / name) for name in sorted(names) if name not in (MANIFEST, SETTINGS, RELEASE)}


def _model_digest(manifest: Manifest) -> str:
    core = {name: getattr(manifest, name) for name in ("task", "target", "classes", "format", "file", "files")}
    return "sha256:" + hashlib.sha256(json.dumps(core, sort_keys=True).encode()).hexdigest()


_RUNTIME = "loopline.components.serving.runtime.LooplineModel"
#: The class that serves each format. MLServer's own ones where the platform's stock runtime has them.
_IMPLEMENTATIONS = {
    "onnx": _RUNTIME,
    "skops": _RUNTIME,
    "xgboost": "mlserver_xgboost.XGBoostModel",
    "joblib": "mlserver_sklearn.SKLearnModel",
}


def _serving_settings(path: Path, manifest: Manifest) -> dict:
    schema = Schema.load(path / "schema.json")
    inputs = [
        {"name": column.name, "datatype": "BYTES" if column.kind == "category" else "FP32", "shape": [-1, 1]}
        for column in schema.columns
        if column.name != manifest.target
    ]
    settings = {
        "name": manifest.name,
        "platform": f"loopline_{manifest.format}",
        "implementation": _IMPLEMENTATIONS[manifest.format],
        "parameters": {"uri": f"./{manifest.file}", "version": manifest.digest},
        "inputs": inputs,
    }
    if manifest.format == "onnx":
        settings["outputs"] = _onnx_outputs(manifest)
    return settings


def _onnx_outputs(manifest: Manifest) -> list[dict]:
    if not manifest.is_classification:
        return [{"name": "prediction", "datatype": "FP32", "shape": [-1, 1]}]
    return [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(manifest.classes)]},
    ]
