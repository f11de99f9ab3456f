"""What tests of the sites share: real images of small models, commits to a configuration repository, and waiting."""

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from delivery_models import train_small

from loopline.components.delivery.attestation import attest_tested
from loopline.components.delivery.build import build_image
from loopline.components.delivery.git_repository import Change, commit_change, open_repository
from loopline.components.delivery.release import Release, write_release_env
from loopline.components.environment import environment, home
from loopline.components.model.directory import read_manifest, seal_model
from loopline.pipelines.sites import control
from loopline.pipelines.sites.process import start_time, stop_agent
from loopline.pipelines.sites.repository import init_config_repository
from loopline.pipelines.sites.state import SiteState, read_states

TESTED = {"result": "PASSED", "configuration": [], "passedTests": ["golden"]}


@dataclass(frozen=True)
class Images:
    """Images of one small model, signed with the keys in ``keys``.

    Attributes:
        keys: The folder of the keys.
        model: The model directory.
        first: Version 1, tested.
        second: Version 2, tested.
        unloadable: Tested by nobody's care: its model file is none.
        unsigned: Its signature is gone.
        untested: Signed and not tested.
        foreign: Signed and tested with another key.
        tampered: A byte of its model layer is another.
    """

    keys: Path
    model: Path
    first: Release
    second: Release
    unloadable: Release
    unsigned: Release
    untested: Release
    foreign: Release
    tampered: Release


@contextlib.contextmanager
def lasting_home(folder: Path) -> Iterator[Path]:
    """A home, not made yet, that several tests share; its agent is stopped after the last of them."""
    yield folder
    with environment({"LOOPLINE_HOME": str(folder)}):
        stop_agent()


def serve_at_edge(images: Images) -> None:
    """Start an agent in this home, unless it was, with one site, edge, that follows version 1."""
    if not home().exists():
        use_keys(images)
        make_repository("edge")
        commit_release(images.first, "edge")
        control.up(interval_s=0.2)


def build_images(folder: Path) -> Images:
    """Build all images into layouts of their own in a folder."""
    model = train_small(folder)
    unloadable = folder / "unloadable"
    shutil.copytree(model, unloadable)
    (unloadable / "model.onnx").write_bytes(b"not a graph")
    seal_model(unloadable, read_manifest(unloadable))
    with environment({"LOOPLINE_HOME": str(folder / "home")}):
        images = {
            "first": _build(model, folder, 1),
            "second": _build(model, folder, 2),
            "unloadable": _build(unloadable, folder, 3),
            "untested": _build(model, folder, 4, tested=False),
            "tampered": _build(model, folder, 5),
            "unsigned": _build(model, folder, 7),
        }
    with environment({"LOOPLINE_HOME": str(folder / "stranger")}):
        images["foreign"] = _build(model, folder, 6)
    tamper(images["tampered"].image)
    remove_signature(images["unsigned"].image)
    return Images(folder / "home" / "keys", model, **images)


def _build(model: Path, folder: Path, version: int, tested: bool = True) -> Release:
    image = build_image(model, f"oci:{folder}/images/v{version}", version=version)
    if tested:
        attest_tested(image, TESTED)
    return Release(read_manifest(model).name, version, image)


def tamper(image: str) -> None:
    """Change a byte in the middle of the largest blob of an OCI layout."""
    blob = max((_layout(image) / "blobs" / "sha256").iterdir(), key=lambda file: file.stat().st_size)
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(bytes(content))


def remove_signature(image: str) -> None:
    """Take the signatures out of an OCI layout."""
    file = _layout(image) / "index.json"
    index = json.loads(file.read_text())
    name = "org.opencontainers.image.ref.name"
    kept = [entry for entry in index["manifests"] if not entry.get("annotations", {}).get(name, "").endswith(".sig")]
    assert len(kept) < len(index["manifests"])
    file.write_text(json.dumps(index | {"manifests": kept}))


@contextlib.contextmanager
def hidden(image: str) -> Iterator[None]:
    """Take an OCI layout away for the length of a ``with`` block, as a registry that cannot be reached."""
    layout, away = _layout(image), _layout(image).with_suffix(".away")
    layout.rename(away)
    try:
        yield
    finally:
        away.rename(layout)


def _layout(image: str) -> Path:
    return Path(image.removeprefix("oci:").partition("@")[0])


def use_keys(images: Images) -> None:
    """Let this home verify what the images' keys signed."""
    shutil.copytree(images.keys, home() / "keys")


def make_repository(*sites: str) -> str:
    """Make this home's configuration repository with some sites."""
    return init_config_repository(sites=sites)


def commit_release(release: Release, *sites: str) -> str:
    """Name a release for some sites, as a promotion does, without asking whether it is signed or tested."""
    paths = [f"sites/{site}/release.env" for site in sites]
    with open_repository("", "main") as repository:

        def decide() -> Change:
            texts = [content.decode() for content in repository.read(paths)]
            files = {path: write_release_env(text, release).encode() for path, text in zip(paths, texts, strict=True)}
            return Change(files=files, message=f"Serve {release}")

        return commit_change(repository, decide)


def commit_file(path: str, text: str | None) -> None:
    """Write a file of the configuration repository, or delete a file or folder, with Git itself."""
    with work_tree() as tree:
        if text is None:
            subprocess.run(["git", "rm", "-rq", path], cwd=tree, check=True)
        else:
            (tree / path).write_text(text, encoding="utf-8")


@contextlib.contextmanager
def work_tree() -> Iterator[Path]:
    """A clone of this home's configuration repository; what is changed in it is committed and pushed."""
    tree = home() / "work-tree"
    subprocess.run(["git", "clone", "-q", str(home() / "config-repo.git"), str(tree)], check=True)
    yield tree
    who = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *who, "commit", "-qam", "Change by hand"], cwd=tree, check=True)
    subprocess.run(["git", "push", "-q"], cwd=tree, check=True)
    shutil.rmtree(tree)


def site_state(site: str) -> SiteState:
    """What a site does."""
    return next(state for state in read_states() if state.site == site)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait until something holds; the test fails when it does not come to hold."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}; the sites: {read_states()}"
        time.sleep(0.05)


def wait_running(site: str, release: Release) -> SiteState:
    """Wait until a site serves a release and nothing else is wanted."""

    def runs() -> bool:
        states = [state for state in read_states() if state.site == site]
        return bool(states) and states[0].in_sync and states[0].running == release.image

    wait_for(runs, f"{site} serves {release}")
    return site_state(site)


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    return start_time(pid) != ""


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
