"""Compile the pipelines to the YAML that Data Science Pipelines runs."""

import importlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from loopline.components.errors import InputError
from loopline.components.image import step_image

#: Every pipeline: its module under loopline.pipelines and the function in it.
PIPELINES = {
    "training": ("training", "training"),
    "training-sklearn": ("training", "training_sklearn"),
    "training-partitioned": ("training_partitioned", "training_partitioned"),
    "sweep": ("sweep", "sweep"),
    "delivery": ("delivery", "delivery"),
    "rollback": ("delivery", "rollback"),
    "monitoring": ("monitoring", "monitoring"),
    "retraining": ("retraining", "retraining"),
    "capacity": ("monitoring", "capacity"),
    "batch-scoring": ("batch_scoring", "batch_scoring"),
    "drift-partitioned": ("drift", "drift_partitioned"),
}


def load_pipeline(name: str):
    """Import a pipeline.

    Args:
        name: One of ``PIPELINES``.

    Returns:
        The KFP pipeline.

    Raises:
        InputError: There is no such pipeline.
    """
    if name not in PIPELINES:
        raise InputError(f"There is no pipeline {name!r}: choose one of {', '.join(PIPELINES)}.")
    module, function = PIPELINES[name]
    return getattr(importlib.import_module(f"loopline.pipelines.{module}"), function)


def compile_pipeline(name: str, image: str = "") -> str:
    """Compile one pipeline.

    Args:
        name: One of ``PIPELINES``.
        image: The image of every step, by digest on a cluster; the default image when empty.

    Returns:
        The YAML: the pipeline, and behind it the Kubernetes settings of its tasks.

    Raises:
        InputError: There is no such pipeline, or the image has no fixed tag or digest.
    """
    from kfp.compiler import Compiler

    pipeline = load_pipeline(name)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "pipeline.yaml"
        Compiler().compile(pipeline, str(target))
        text = target.read_text(encoding="utf-8")
    check_image(image or step_image())
    if image:
        text = replace_image(text, step_image(), image)
    return text


def replace_image(text: str, before: str, after: str) -> str:
    """Name another image for the steps of a compiled pipeline.

    Args:
        text: The YAML.
        before: The image it names.
        after: The image to name.

    Returns:
        The YAML with the other image.
    """
    line = f"image: {before}\n"
    if line not in text:
        raise RuntimeError(f"the compiled pipeline has no line {line!r}: kfp writes images differently now")
    return text.replace(line, f"image: {after}\n")


def check_image(image: str) -> None:
    """Refuse an image reference that can mean another image tomorrow.

    Args:
        image: The reference.

    Raises:
        InputError: It has neither tag nor digest, or the tag ``latest``.
    """
    last = image.rsplit("/", 1)[-1]
    if "@sha256:" not in last and (":" not in last or last.endswith(":latest")):
        raise InputError(f"Step image {image!r} is not pinned: give a digest (name@sha256:...) or a version tag.")


def write_compiled(folder: str | Path, image: str = "") -> list[Path]:
    """Compile every pipeline into a folder, and Elyra's palette of the components into its folder ``elyra``.

    Args:
        folder: Where to write ``<name>.yaml``.
        image: See ``compile_pipeline``.

    Returns:
        The files.

    Raises:
        InputError: The folder cannot be written.
    """
    from loopline.pipelines.elyra.palette import palette_files

    texts = {Path(folder) / f"{name}.yaml": compile_pipeline(name, image) for name in PIPELINES}
    for name, text in palette_files(list(texts.values()), image or step_image()).items():
        texts[Path(folder) / "elyra" / name] = text
    write_texts(texts)
    return list(texts)


def write_texts(texts: Mapping[Path, str]) -> None:
    """Write files where a user wants them; their folders are made when missing.

    Args:
        texts: The content by file.

    Raises:
        InputError: One cannot be written.
    """
    for file, text in texts.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"{file} cannot be written ({error.strerror}): name another folder.") from None
