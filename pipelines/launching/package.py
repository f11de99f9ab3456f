"""A pipeline as it is uploaded: the compiled YAML, for an image of the steps, with or without caching."""

import os
from dataclasses import dataclass
from functools import cached_property

import yaml

from loopline.components.documents import reading
from loopline.components.errors import InputError
from loopline.components.image import DEFAULT_IMAGE
from loopline.pipelines.compile import check_image, replace_image
from loopline.pipelines.spec import PipelineFile, compiled_folder
from loopline.pipelines.versions import version_content, version_name

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True)
class Package:
    """What is uploaded.

    Attributes:
        file: The compiled pipeline that it was made of.
        text: The YAML.
    """

    file: PipelineFile
    text: str

    @classmethod
    def find(cls, pipeline: str, image: str = "", caching: bool = True) -> "Package":
        """Read a pipeline, ready to be uploaded.

        Args:
            pipeline: The name of one that comes with Loopline, or the path of a compiled YAML.
            image: The image of every step; ``LOOPLINE_IMAGE`` when empty, else what the YAML says.
            caching: Whether steps may be skipped whose result is known, as far as the pipeline lets them.

        Returns:
            The package.

        Raises:
            InputError: There is no such pipeline, or the image cannot be used.
        """
        file = PipelineFile.find(pipeline)
        text = file.path.read_text(encoding="utf-8")
        ours = file.path.parent == compiled_folder()
        if image and not ours:
            raise InputError(
                f"The step image is set in {file.path} itself: leave out --step-image, or compile it anew."
            )
        image = image or (os.environ.get("LOOPLINE_IMAGE", "") if ours else "")
        if image:
            check_image(image)
            text = replace_image(text, DEFAULT_IMAGE, image)
        if not caching:
            with reading(file.path, "a compiled pipeline", "write one with `loopline compile`"):
                text = _without_caching(text)
        return cls(file, text)

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.file.name

    @cached_property
    def version(self) -> str:
        """The name of the version: the same for the same content, and for no other."""
        return version_name(version_content(self.text))


def _without_caching(text: str) -> str:
    """Return a compiled pipeline of which every step runs every time; unchanged where none is cached anyway."""
    documents = list(yaml.load_all(text, _LOADER))
    spec = documents[0]
    cached = [
        task
        for part in (spec["root"], *spec["components"].values())
        for task in part.get("dag", {}).get("tasks", {}).values()
        if task.get("cachingOptions")
    ]
    if not cached:
        return text
    for task in cached:
        task["cachingOptions"] = {}
    return "---\n".join(yaml.dump(document, Dumper=_DUMPER, sort_keys=True) for document in documents)
