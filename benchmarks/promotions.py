"""Promotions to one configuration repository: twenty processes at once, and repositories of many sites.

The images are real ones in an OCI layout, signed and tested, and verified by each promotion. The repository is a bare
one on this machine: what a Git service adds is its own time and the network's.
"""

import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.measure import markdown, spread
from benchmarks.result import Curve, Point, Text

PROCESSES = 20
SITES = (1, 10, 100, 1000)
_PREDICATE = {"result": "PASSED", "configuration": [], "passedTests": [], "warnedTests": [], "failedTests": []}


def run(
    processes: tuple[int, ...] = (1, 5, PROCESSES), sites: tuple[int, ...] = SITES, repeats: int = 5
) -> list[Text | Curve]:
    """Promote at once and to many sites.

    Args:
        processes: How many promote at once, the fewest first.
        sites: Sites of the repositories, the fewest first.
        repeats: Runs of each; all sites are rolled back once.
    """
    from loopline.components.environment import environment

    with (
        tempfile.TemporaryDirectory(prefix="loopline-bench-") as folder,
        environment({"LOOPLINE_HOME": f"{folder}/home"}),
    ):
        root = Path(folder)
        images = _build_images(root)
        found = {count: [] for count in processes}
        crowds = {count: [] for count in processes}
        for n in range(repeats):
            for count in processes:
                names = [f"site-{number}" for number in range(count)]
                found[count].append(_promote_at_once(root / f"own-{count}-{n}", names, images))
                crowds[count].append(_promote_at_once(root / f"same-{count}-{n}", ["edge"] * count, images))
        growth = [_grow(root / f"grow-{count}", count, images, repeats) for count in sites]
    most = processes[-1]
    rows = [_row("a site for each process", found[most], most), _row("one site for all", crowds[most], most)]
    headers = [f"{most} at once", "landed", "history linear", "all, s", "one promotion, s: median (min-max)"]
    at_once = {
        name: [Point(count, {"seconds": [run[2] for run in runs[count]]}) for count in processes]
        for name, runs in (("a site for each process", found), ("one site for all", crowds))
    }
    lines = {
        name: [Point(count, {"seconds": taken[name]}) for count, taken in zip(sites, growth, strict=True)]
        for name in ("promote to one site", "promote to all in one commit", "roll all back")
    }
    return [
        Text(markdown(headers, rows)),
        Curve("Promotions at the same moment, until all have landed", "promotions at once", ("seconds",), at_once),
        Curve("One promotion, where the repository has so many sites", "sites", ("seconds",), lines),
    ]


def _build_images(root: Path) -> list[str]:
    """Train a small model and build it as so many versions."""
    from loopline.components.data.schema import Column, Schema
    from loopline.components.data.tables import write_table
    from loopline.components.delivery.attestation import attest_tested
    from loopline.components.delivery.build import build_image
    from loopline.components.training.train import train_boosted_trees

    x = np.random.default_rng(1).normal(size=1000)
    write_table(root / "train.parquet", pa.table({"x": x, "y": x > 0}))
    Schema([Column("x", "number"), Column("y", "boolean")]).save(root / "schema.json")
    train_boosted_trees(root / "train.parquet", None, root / "schema.json", root / "model", target="y", rounds=3)
    images = [build_image(root / "model", f"oci:{root}/images", version=n + 1) for n in range(PROCESSES)]
    for image in images:
        attest_tested(image, _PREDICATE)
    return images


def _make_repository(folder: Path, sites: list[str]) -> str:
    from loopline.components.delivery.git import run_git

    for site in sites:
        (folder / "work" / "sites" / site).mkdir(parents=True)
        (folder / "work" / "sites" / site / "release.env").write_text("MODEL_NAME=\nMODEL_VERSION=\nMODEL_IMAGE=\n")
    bare = str(folder / "config.git")
    run_git(["init", "--quiet", "--bare", "--initial-branch=main", bare])
    for command in (["add", "--all"], ["commit", "--quiet", "--message", "Begin"]):
        run_git(["--git-dir", bare, "--work-tree", str(folder / "work"), *command])
    return bare


def _promote(start, results, bare: str, site: str, image: str) -> None:
    from loopline.components.delivery.promotion import promote

    start.wait()
    begin = time.perf_counter()
    commit = promote(bare, site, image)
    results.put((site, image, commit, time.perf_counter() - begin))


def _promote_at_once(folder: Path, sites: list[str], images: list[str]) -> tuple[int, bool, float, list[float]]:
    """Promote another image to each site, all at the same moment.

    Returns:
        How many landed, whether the history is one line, seconds for all, and for each.
    """
    from loopline.components.delivery.git import run_git

    bare = _make_repository(folder, sorted(set(sites)))
    context = multiprocessing.get_context("fork")  # they have imported all they need
    start, results = context.Barrier(len(sites) + 1), context.Queue()
    pairs = list(zip(sites, images, strict=False))
    processes = [context.Process(target=_promote, args=(start, results, bare, *pair)) for pair in pairs]
    for process in processes:
        process.start()
    start.wait()
    begin = time.perf_counter()
    found = [results.get(timeout=300) for _ in processes]  # one that died says nothing
    seconds = time.perf_counter() - begin
    for process in processes:
        process.join()
    lines = run_git(["--git-dir", bare, "log", "--format=%H %P", "main"]).split("\n")[:-1]
    history = {line.split()[0]: line.split()[1:] for line in lines}
    named = (run_git(["--git-dir", bare, "show", f"{commit}:sites/{site}/release.env"]) for site, _, commit, _ in found)
    landed = sum(commit in history and image in text for (_, image, commit, _), text in zip(found, named, strict=True))
    linear = all(len(parents) <= 1 for parents in history.values()) and len(history) == len(sites) + 1
    return landed, linear and _none_lost(bare, found), seconds, [one for *_, one in found]


def _none_lost(bare: str, found: list[tuple]) -> bool:
    """Return whether each site names in the end the image of the last promotion to it."""
    from loopline.components.delivery.git import run_git

    made = {commit: (site, image) for site, image, commit, _ in found}
    order = run_git(["--git-dir", bare, "rev-list", "--reverse", "main"]).split()
    last = dict(made[commit] for commit in order if commit in made)
    texts = {site: run_git(["--git-dir", bare, "show", f"main:sites/{site}/release.env"]) for site in last}
    return all(image in texts[site] for site, image in last.items())


def _row(name: str, runs: list[tuple], count: int) -> list[str]:
    each = [seconds for *_, times in runs for seconds in times]
    return [
        name,
        ", ".join(f"{landed} of {count}" for landed, *_ in runs),
        "yes" if all(linear for _, linear, *_ in runs) else "NO",
        spread([seconds for _, _, seconds, _ in runs]),
        spread(each, 2),
    ]


def _grow(folder: Path, count: int, images: list[str], repeats: int) -> dict[str, list[float]]:
    from loopline.components.delivery.promotion import promote
    from loopline.components.delivery.rollback import rollback

    sites = [f"site-{number}" for number in range(count)]
    bare = _make_repository(folder, sites)
    every = ",".join(sites)
    return {
        "promote to one site": [_seconds(promote, bare, sites[0], image) for image in images[:repeats]],
        "promote to all in one commit": [_seconds(promote, bare, every, image) for image in images[-repeats:]],
        "roll all back": [_seconds(rollback, bare, every)],
    }


def _seconds(function, *arguments) -> float:
    begin = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - begin
