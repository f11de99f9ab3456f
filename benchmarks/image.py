"""Time and memory of building a model image, into a registry and into an OCI layout, and of fetching it."""

import contextlib
import importlib.util
import os
import shutil
import statistics
import tempfile
from pathlib import Path

from benchmarks.measure import markdown, measure, spread
from loopline.components.data.schema import Column, Schema
from loopline.components.delivery import build as delivery
from loopline.components.delivery import fetch as fetching
from loopline.components.environment import environment
from loopline.components.model.directory import Manifest, seal_model


def write_model(folder: Path, size: int) -> Path:
    """Write a model directory whose model is ``size`` bytes that nothing can make smaller."""
    folder.mkdir(parents=True)
    with open(folder / "model.onnx", "wb") as stream:
        for start in range(0, size, 2**20):
            stream.write(os.urandom(min(2**20, size - start)))
    Schema([Column("x", "number"), Column("y", "number")]).save(folder / "schema.json")
    seal_model(folder, Manifest("regression", "y", [], "onnx", "model.onnx", name="benchmark"))
    return folder


def build(model: str, image: str) -> str:
    """Build and store an image."""
    return delivery.build_image(model, image, version=1)


def fetch(image: str, folder: str) -> int:
    """Fetch an image; returns the files of its model."""
    return len(list(fetching.fetch_image(image, folder).folder.iterdir()))


def build_with_olot(model: str, layout: str) -> str:
    """Add the model to the same base with olot, which does not list, sign or push it."""
    from modelcar_base_image.embedded_oci_layout import embedded_oci_layout
    from olot.basics import oci_layers_on_top

    embedded_oci_layout(layout)
    oci_layers_on_top(layout, sorted(Path(model).iterdir()))
    return layout


def run(megabytes: tuple[int, ...] = (10, 1000), repeats: int = 3) -> str:
    """Measure each case in processes of its own; returns a Markdown table.

    Args:
        megabytes: Sizes of the model, 10**6 bytes; models of 1 GB and more are measured once.
        repeats: Runs of each case with a smaller one.
    """
    rows = []
    with tempfile.TemporaryDirectory(prefix="image-benchmark-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        stack.enter_context(environment({"LOOPLINE_HOME": str(folder / "home")}))
        places = {"OCI layout": f"oci:{folder}/layout"} | _registry(folder, stack)
        for size in megabytes:
            model = write_model(folder / f"model-{size}", size * 10**6)
            for kind, place in places.items():
                rows += _measure(model, size, kind, place, folder, repeats if size < 1000 else 1)
    return (
        f"{markdown(['case', 'model MB', 'seconds', 'peak MB', 'growth MB', 'growth / largest layer'], rows)}\n\n"
        "Seconds after imports, of building, storing, listing and signing; a run is to a new place each. Growth is the "
        "peak over what the process held before."
    )


def _registry(folder: Path, stack: contextlib.ExitStack) -> dict[str, str]:
    """Start Debian's docker-registry where it is installed."""
    if not shutil.which("docker-registry"):
        return {}
    from tests.delivery_registry import run_registry

    return {"docker-registry": stack.enter_context(run_registry(folder / "registry")).image("benchmark")}


def _measure(model: Path, size: int, kind: str, place: str, folder: Path, repeats: int) -> list[list[str]]:
    costs: dict[str, list] = {}
    for number in range(repeats):
        built = measure("benchmarks.image", "build", model=str(model), image=f"{place}-{size}-{number}")
        target = folder / "fetched"
        fetched = measure("benchmarks.image", "fetch", image=built.result, folder=str(target))
        shutil.rmtree(target)
        costs.setdefault(f"build, {kind}", []).append(built)
        costs.setdefault(f"fetch, {kind}", []).append(fetched)
        if kind == "OCI layout" and importlib.util.find_spec("olot"):
            layout = str(folder / f"olot-{size}-{number}")
            alone = measure("benchmarks.image", "build_with_olot", model=str(model), layout=layout)
            costs.setdefault("olot, the layers alone, OCI layout", []).append(alone)
    rows = []
    for case, found in costs.items():
        growth = [cost.peak - cost.before for cost in found]
        ratio = statistics.median(growth) * 2**20 / 10**6 / max(size, 1.3)  # a base layer is 1.3 MB
        seconds, peak = spread([cost.seconds for cost in found], 2), spread([cost.peak for cost in found], 0)
        rows.append([case, size, seconds, peak, spread(growth, 0), f"{ratio:.2f}"])
    return rows


if __name__ == "__main__":
    print(run())
