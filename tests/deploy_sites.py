"""The template of the configuration repository, built for every site and runtime, before and after a promotion."""

import functools
import itertools
import shutil
import tempfile
from pathlib import Path

from manifest_schemas import ROOT, build

from loopline.components.delivery.release import RELEASE_FILE, Release, write_release_env

TEMPLATE = ROOT / "deploy" / "config-repo"
SITES = ("cloud", "datacenter", "edge")
RUNTIMES = ("loopline-mlserver", "mlserver", "ovms")
FIRST = Release("flights", 3, "oci://registry.example.com/models/flights@sha256:" + "a" * 64)
SECOND = Release("flights", 4, "oci://registry.example.com/models/flights@sha256:" + "b" * 64)
CASES = list(itertools.product(SITES, RUNTIMES, (None, FIRST)))


def case_name(case: tuple) -> str:
    """Name a case in the test's output."""
    site, runtime, release = case
    return f"{site}-{runtime}-{'promoted' if release else 'empty'}"


def promote(site_folder: Path, release: Release):
    """Edit a site's release as a promotion does."""
    file = site_folder / RELEASE_FILE
    file.write_text(write_release_env(file.read_text(encoding="utf-8"), release), encoding="utf-8")


@functools.cache
def built(
    site: str, runtime: str = "loopline-mlserver", release: Release | None = FIRST, component: str = ""
) -> list[dict]:
    """Build one site, with one more component if named; the objects are shared, so leave them as they are."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "config-repo"
        shutil.copytree(TEMPLATE, copy)
        kustomization = copy / "sites" / site / "kustomization.yaml"
        text = kustomization.read_text(encoding="utf-8")
        assert text.count("runtimes/loopline-mlserver") == 1
        components = f"runtimes/{runtime}" + (f"\n  - ../../{component}" if component else "")
        kustomization.write_text(text.replace("runtimes/loopline-mlserver", components), encoding="utf-8")
        if release:
            promote(copy / "sites" / site, release)
        return build(copy / "sites" / site)


def one(manifests: list[dict], kind: str, name: str = "") -> dict:
    """Return the one object of a kind, or of a kind and name."""
    found = [m for m in manifests if m["kind"] == kind and (not name or m["metadata"]["name"] == name)]
    assert len(found) == 1, [m["metadata"]["name"] for m in found]
    return found[0]


def containers(manifest: dict) -> list[dict]:
    """Return every container of our own in an object."""
    spec = manifest["spec"]
    if manifest["kind"] == "Deployment":
        spec = spec["template"]["spec"]
    if manifest["kind"] == "Task":
        return spec["steps"]
    return spec.get("containers", []) + spec.get("initContainers", [])


def leaves(value: object, path: str = "") -> dict[str, object]:
    """Flatten a value to its leaves by path."""
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in leaves(item, f"{path}.{key}").items()}
    if isinstance(value, list):
        names = [str(item.get("name", i)) if isinstance(item, dict) else str(i) for i, item in enumerate(value)]
        return {k: v for key, item in zip(names, value, strict=True) for k, v in leaves(item, f"{path}[{key}]").items()}
    return {path: value}
