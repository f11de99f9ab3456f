"""Time and memory of building a model image, into a registry and into an OCI layout, and of fetching it."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.measure import measure
from benchmarks.race import Runner, race
from benchmarks.result import Table, Text


def write_model(folder: Path, size: int) -> Path:
    """Write a model directory whose model is ``size`` bytes that nothing can make smaller."""
    from loopline.components.data.schema import Column, Schema
    from loopline.components.model.directory import Manifest, seal_model

    folder.mkdir(parents=True)
    with open(folder / "model.onnx", "wb") as stream:
        for start in range(0, size, 2**20):
            stream.write(os.urandom(min(2**20, size - start)))
    Schema([Column("x", "number"), Column("y", "number")]).save(folder / "schema.json")
    seal_model(folder, Manifest("regression", "y", [], "onnx", "model.onnx", name="benchmark"))
    return folder


def build(model: str, image: str) -> str:
    """Build and store an image."""
    from loopline.components.delivery.build import build_image

    return build_image(model, _new(image), version=1)


def _new(place: str) -> str:
    """Return a place that holds nothing yet: what is there already would not be stored again."""
    return f"{place}-{time.time_ns()}"


def fetch(image: str, folder: str) -> int:
    """Fetch an image; returns the files of its model."""
    from loopline.components.delivery.fetch import fetch_image

    shutil.rmtree(folder, ignore_errors=True)
    return len(list(fetch_image(image, folder).folder.iterdir()))


def build_with_olot(model: str, layout: str, place: str) -> str:
    """Add the model to the same base with olot, and push that with skopeo."""
    from modelcar_base_image.embedded_oci_layout import embedded_oci_layout
    from olot.basics import oci_layers_on_top

    shutil.rmtree(layout, ignore_errors=True)
    embedded_oci_layout(layout)
    oci_layers_on_top(layout, sorted(Path(model).iterdir()))
    return _copy(f"oci:{layout}:latest", _new(place)) if place else layout


def build_with_buildah(model: str, place: str) -> str:
    """Put the model into an image with buildah and push it."""
    container = subprocess.run(
        ["buildah", "from", "scratch"], capture_output=True, text=True, check=True
    ).stdout.strip()
    subprocess.run(["buildah", "copy", "--quiet", container, model, "/models"], check=True, capture_output=True)
    subprocess.run(["buildah", "commit", "--quiet", "--rm", container, "benchmark"], check=True, capture_output=True)
    subprocess.run(["buildah", "push", "--quiet", *_PLAIN, "benchmark", _new(place)], check=True, capture_output=True)
    return place


def fetch_with_skopeo(image: str, folder: str) -> int:
    """Copy an image to a folder; returns its files."""
    shutil.rmtree(folder, ignore_errors=True)
    _copy(image.replace("oci://", "docker://"), f"dir:{folder}", "--src-tls-verify=false")
    return len(list(Path(folder).iterdir()))


def _copy(source: str, target: str, plain: str = "--dest-tls-verify=false") -> str:
    # The registry of this machine speaks plain HTTP.
    words = ["skopeo", "copy", "--quiet", "--multi-arch=all", "--preserve-digests", plain, source, target]
    subprocess.run(words, check=True, capture_output=True)
    return target


_PLAIN = ("--tls-verify=false",)


def run(megabytes: tuple[int, ...] = (10, 200), repeats: int = 5) -> list[Table | Text]:
    """Measure each side in processes of its own.

    Args:
        megabytes: Sizes of the model, 10**6 bytes.
        repeats: Runs of each.
    """
    from loopline.components.environment import environment

    parts = []
    with tempfile.TemporaryDirectory(prefix="image-benchmark-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        stack.enter_context(environment({"LOOPLINE_HOME": str(folder / "home")}))
        places = {"an OCI layout": f"oci:{folder}/layout", **_registry(folder, stack)}
        for size in megabytes:
            model = write_model(folder / f"model-{size}", size * 10**6)
            for kind, place in places.items():
                parts += _tables(model, size, kind, place, folder, repeats)
    note = (
        "Loopline also lists what is in the image (SBOM), signs it and verifies the signature when it fetches; the "
        "others do not. The memory of skopeo and buildah, which are programs of their own, is not counted. A registry "
        "is Debian's docker-registry on this machine."
    )
    return [*parts, Text(note)]


def _registry(folder: Path, stack: contextlib.ExitStack) -> dict[str, str]:
    """Start Debian's docker-registry where it is installed."""
    if not shutil.which("docker-registry"):
        return {}
    from tests.delivery_registry import run_registry

    return {"a registry": stack.enter_context(run_registry(folder / "registry")).image("benchmark")}


def _tables(model: Path, size: int, kind: str, place: str, folder: Path, repeats: int) -> list[Table]:
    remote = place.startswith("docker:")
    image = f"{place}-{size}"
    builders = [
        Runner("Loopline", "benchmarks.image:build", {"model": str(model), "image": image}, "ours", _BUILD),
        Runner(
            "olot, then skopeo" if remote else "olot", "benchmarks.image:build_with_olot",
            {"model": str(model), "layout": str(folder / "olot"), "place": f"{image}-olot" if remote else ""},
            peer="olot", imports=("olot.basics", "modelcar_base_image.embedded_oci_layout"),
        ),
    ]  # fmt: skip
    if remote:
        missing = "" if shutil.which("buildah") else "there is no buildah on this machine"
        arguments = {"model": str(model), "place": f"{image}-buildah"}
        builders.append(Runner("buildah", "benchmarks.image:build_with_buildah", arguments, missing=missing))
    built = race(f"Build an image of a model of {size} MB into {kind}", builders, repeats)
    digest = measure("benchmarks.image", "build", model=str(model), image=image).result
    target = {"image": digest, "folder": str(folder / "fetched")}
    fetchers = [Runner("Loopline", "benchmarks.image:fetch", target, "ours", _FETCH)]
    if remote:
        missing = "" if shutil.which("skopeo") else "there is no skopeo on this machine"
        arguments = {**target, "folder": str(folder / "copied")}
        fetchers.append(Runner("skopeo", "benchmarks.image:fetch_with_skopeo", arguments, missing=missing))
        return [built, race(f"Fetch that image from {kind}", fetchers, repeats)]
    return [built]


_BUILD = ("loopline.components.delivery.build",)
_FETCH = ("loopline.components.delivery.fetch",)
