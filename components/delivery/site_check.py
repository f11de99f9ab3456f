"""Wait until sites answer with a promoted model, and put them back if they do not."""

import logging
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from loopline.components.delivery.config_repository import ROLLED_BACK, ConfigRepository, parse_sites
from loopline.components.delivery.fetch import fetch_image
from loopline.components.delivery.git_repository import PATIENCE_S, Change, commit_change, open_repository
from loopline.components.delivery.golden import Golden, read_golden, replay
from loopline.components.delivery.inference import is_ready
from loopline.components.delivery.release import Release, read_release_env
from loopline.components.delivery.rollback import rollback_message
from loopline.components.delivery.store import by_digest
from loopline.components.errors import InputError

#: Seconds between two looks at the sites, and at the repository while a pull request waits.
SITE_S, REPOSITORY_S = 0.5, 5.0
#: How many sites are asked at a time.
_AT_A_TIME = 16

_Result = TypeVar("_Result")

logger = logging.getLogger("loopline")


@dataclass(frozen=True)
class Expected:
    """What a site has to answer.

    Attributes:
        digest: The image's digest.
        model_digest: The digest of the model in it.
        version: The registered version, as a server says it.
        golden: The golden rows of the model.
    """

    digest: str
    model_digest: str
    version: str
    golden: Golden


def check(
    repository: str,
    sites: str,
    image: str,
    commit: str = "",
    branch: str = "main",
    overlay: str = "sites/{site}",
    deadline_s: float = 300.0,
) -> str:
    """Wait until sites answer with an image's model and its golden predictions.

    Args:
        repository: URL or path of the configuration repository; the one of this machine's own sites when empty.
        sites: Comma-separated names; nothing is done when empty.
        image: The image by digest.
        commit: The promotion to take back if a site does not follow; empty for none. While the branch does not have it,
            a pull request waits for its merge, until the deadline.
        branch: The branch that the sites follow.
        overlay: The folder of a site in the repository.
        deadline_s: How long to wait, in seconds.

    Returns:
        The sites, comma-separated.

    Raises:
        InputError: A site does not name the image or does not answer as it should. Sites that the commit changed, and
            that name the image still, name again what they named before.
    """
    names = parse_sites(sites)
    if not (math.isfinite(deadline_s) and deadline_s > 0):
        raise InputError(f"deadline_s is {deadline_s}: write how many seconds the sites may take.")
    if not names:
        return ""
    image, deadline = by_digest(image).uri, time.monotonic() + deadline_s
    with open_repository(repository, branch) as git:
        config = ConfigRepository(git, overlay)
        problem = _find_problem(config, names, image, commit, deadline)
        if problem:
            raise InputError(_put_back(config, names, image, commit, problem))
    return ",".join(names)


def _find_problem(config: ConfigRepository, sites: list[str], image: str, commit: str, deadline: float) -> str:
    """Say what is wrong with the sites when their time is over, or nothing."""
    overtaken = _wait_for_merge(config, sites, image, commit, deadline)
    if overtaken:
        return overtaken
    try:
        expected = _try_until(lambda: _read_expected(image), deadline)
        problems = _ask_until(config.read_urls(sites), expected, deadline)
    except InputError as error:  # what cannot be checked does not stay
        return f"The sites cannot be checked: {error}"
    listed = "; ".join(f"{site}: {reason}" for site, reason in list(problems.items())[:10])
    return f"{len(problems)} of {len(sites)} sites do not serve {image} ({listed})." if problems else ""


def _wait_for_merge(config: ConfigRepository, sites: list[str], image: str, commit: str, deadline: float) -> str:
    """Wait until all sites name the image, while the commit is only proposed.

    Returns:
        Why one names something else for good; empty when all name the image.
    """
    settled, pause_s = not commit, 0.0
    while True:
        releases = config.read_releases(sites)
        site = next((site for site, release in releases.items() if release.image != image), "")
        if not site:
            return ""
        if settled:
            return _explain_other(config, site, releases[site], image)
        if time.monotonic() > deadline:
            raise InputError(
                f"Site {site} names {releases[site]} and not {image}, since nobody merged {commit[:12]} into "
                f"{config.git.branch} in time: merge it, or give a longer deadline_s."
            )
        time.sleep(min(pause_s, max(0.1, deadline - time.monotonic())))
        _try_until(lambda: config.git.fetch(history=True), deadline)
        settled, pause_s = config.git.contains(commit), REPOSITORY_S


def _explain_other(config: ConfigRepository, site: str, release: Release, image: str) -> str:
    """Say that a site names something else; when it was put back, why: this may be the step's second trial."""
    config.git.fetch(history=True)
    states = config.history([site])[site]
    if states and states[0].version.trailers.get(ROLLED_BACK) == image:
        reason = "".join(states[0].version.message.split("\n\n")[1:2])
        return f"Site {site} was put back to {release} in {states[0].version.commit[:12]}: {reason}"
    return f"Site {site} names {release} and not {image}: promote the image first, or again."


def _try_until(call: Callable[[], _Result], deadline: float) -> _Result:
    """Call a function until it does not fail for a temporary reason, or the time is over."""
    while True:
        try:
            return call()
        except InputError as error:
            if not error.temporary or time.monotonic() > deadline:
                raise
            logger.info("%s", error)
            time.sleep(SITE_S)


def _read_expected(image: str) -> Expected:
    with tempfile.TemporaryDirectory(prefix="loopline-check-") as folder:
        fetched = fetch_image(image, Path(folder) / "image")
        golden = read_golden(fetched.folder)
    return Expected(fetched.digest, fetched.model_digest, str(fetched.version), golden)


def _ask_until(urls: Mapping[str, str], expected: Expected, deadline: float) -> dict[str, str]:
    """Ask the sites until all answer as expected, one answers wrongly for good, or the time is over.

    Returns:
        What is wrong, by site.
    """
    left = dict(urls)
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        while True:
            found = dict(zip(left, pool.map(lambda url: _ask(url, expected), left.values()), strict=True))
            for site in [site for site, problem in found.items() if problem is None]:
                logger.info("%s answers with %s version %s", site, expected.golden.model, expected.version)
                del left[site], found[site]
            problems = {site: problem.reason for site, problem in found.items()}
            over = time.monotonic() > deadline or any(problem.final for problem in found.values())
            if not problems or over:
                return problems
            time.sleep(SITE_S)


@dataclass(frozen=True)
class _Problem:
    reason: str
    final: bool = False


def _ask(url: str, expected: Expected) -> _Problem | None:
    """Ask a site once; None when it answers as expected."""
    golden = expected.golden
    try:
        found = replay(golden, url)  # first, since it says what is wrong where nothing is ready
        if not is_ready(url, golden.model):
            return _Problem(f"no model {golden.model} is ready at {url}")
    except InputError as error:
        return _Problem(str(error).rstrip("."))
    said = found.answer.parameters
    if image_digest := said.get("image_digest"):
        if image_digest != expected.digest:
            return _Problem(f"{url} still answers with image {image_digest}")
    else:
        # A server that only knows the model, as MLServer without Loopline, has its digest as the version.
        digest = said.get("model_digest") or found.answer.version
        if digest != expected.model_digest:
            return _Problem(f"{url} answers with model {digest or 'unknown'} instead of {expected.model_digest}")
        if "model_digest" in said and found.answer.version not in (expected.version, expected.model_digest):
            return _Problem(f"{url} answers with version {found.answer.version} instead of {expected.version}")
    if not found.passed:
        return _Problem(f"{found.wrong} of {found.rows} golden rows are predicted differently at {url}", final=True)
    return None


def _put_back(config: ConfigRepository, sites: list[str], image: str, commit: str, problem: str) -> str:
    """Take a promotion back where sites still name the image, and say what came of it all."""
    if not commit:
        return f"{problem} Nothing was put back, since no commit was named."
    targets: dict[str, Release] = {}

    def decide() -> Change | None:
        now = config.read_releases(sites)
        replaced = _find_replaced(config, [site for site in sites if now[site].image == image], image, commit)
        targets.clear()
        targets.update(replaced)
        if not targets:
            return None
        return Change(config.write_releases(targets), rollback_message(now, targets, problem))

    def revert() -> str:
        config.git.fetch(history=True)
        return commit_change(config.git, decide)

    try:
        reverted = _try_until(revert, time.monotonic() + PATIENCE_S)
    except InputError as error:
        return f"{problem} It could not be put back: {error}"
    if not reverted:
        return f"{problem} There was nothing to put back."
    return f"{problem} Put back in {reverted[:12]}: {', '.join(f'{site} to {was}' for site, was in targets.items())}."


def _find_replaced(config: ConfigRepository, sites: list[str], image: str, commit: str) -> dict[str, Release]:
    """Return what a commit replaced at sites that name its image still; sites that it did not change are left out."""
    if not config.git.contains(commit):  # merged as another commit
        histories = config.history(sites)
        others = {site: [state.release for state in histories[site] if state.release.image != image] for site in sites}
        return {site: next(iter(releases), Release()) for site, releases in others.items()}
    paths = [config.release_path(site) for site in sites]
    new, old = config.git.read(paths, commit), config.git.read(paths, f"{commit}^")
    return {
        site: read_release_env((before or b"").decode("utf-8", "replace"))
        for site, after, before in zip(sites, new, old, strict=True)
        if after != before
    }
