"""Put sites back to the image they named before, as one commit to the configuration repository."""

import itertools
import logging
from collections.abc import Mapping, Sequence

from loopline.components.delivery.config_repository import (
    IMAGE,
    MODEL,
    MODEL_VERSION,
    PIPELINE_RUN,
    ROLLED_BACK,
    ConfigRepository,
    State,
    list_sites,
    parse_sites,
    write_message,
)
from loopline.components.delivery.git_repository import Change, commit_change, open_repository
from loopline.components.delivery.release import Release
from loopline.components.errors import InputError

logger = logging.getLogger("loopline")


def rollback(
    repository: str,
    sites: str,
    branch: str = "main",
    overlay: str = "sites/{site}",
    reason: str = "",
    pipeline_run: str = "",
) -> str:
    """Put sites back to the image they named before, leaving out what was rolled back already.

    Args:
        repository: URL or path of the configuration repository; the one of this machine's own sites when empty.
        sites: Comma-separated names.
        branch: The branch that the sites follow.
        overlay: The folder of a site in the repository.
        reason: Why, for the commit.
        pipeline_run: The pipeline run to note in the commit. A rollback repeated by the same run goes back once.

    Returns:
        The image that the sites name now.

    Raises:
        InputError: There is no site named, nothing before, the sites would differ, or Git refuses.
    """
    names, run = parse_sites(sites), " ".join(pipeline_run.split())
    if not names:
        raise InputError("There is no site to roll back: name at least one.")
    with open_repository(repository, branch) as git:
        git.fetch(history=True)
        config = ConfigRepository(git, overlay)
        target = Release()

        def decide() -> Change | None:
            nonlocal target
            histories = config.history(names)
            if run and all(_did(states, run) for states in histories.values()):
                target = histories[names[0]][0].release
                return None
            before = config.read_releases(names)
            targets = {name: _find_target(name, histories[name], before[name]) for name in names}
            target = _common_target(targets)
            return Change(config.write_releases(targets), rollback_message(before, targets, reason, run))

        commit = commit_change(git, decide)
    logger.info("%s for %s again: %s", target, ", ".join(names), commit[:12] or "done already")
    return target.image


def rollback_message(
    before: Mapping[str, Release], targets: Mapping[str, Release], reason: str, pipeline_run: str = ""
) -> str:
    """Write the message of a commit that puts sites back.

    Args:
        before: What each site names until now.
        targets: What each site names from now on.
        reason: Why.
        pipeline_run: The pipeline run; empty when unknown.
    """
    trailers = [(ROLLED_BACK, image) for image in sorted({before[site].image for site in targets})]
    to = "what they named before"
    if len(set(targets.values())) == 1:
        target = next(iter(targets.values()))
        to = f"{target.name} version {target.version}" if target.image else "nothing"
        if target.image:
            trailers += [(MODEL, target.name), (MODEL_VERSION, str(target.version)), (IMAGE, target.image)]
    trailers.append((PIPELINE_RUN, pipeline_run))
    return write_message(f"Roll {list_sites(targets)} back to {to}", targets, trailers, reason)


def _did(states: Sequence[State], run: str) -> bool:
    """Return whether the last thing that happened to a site is that this run rolled it back."""
    trailers = states[0].version.trailers if states else {}
    return ROLLED_BACK in trailers and trailers.get(PIPELINE_RUN) == run


def _find_target(site: str, states: Sequence[State], now: Release) -> Release:
    """Return what a site named before, that was not taken away since by another rollback."""
    bad = {now.image, ""}
    for newer, older in itertools.pairwise(states):
        if ROLLED_BACK in newer.version.trailers:
            bad.add(older.release.image)
        if older.release.image not in bad:
            return older.release
    raise InputError(f"Site {site} named no other image before {now}: there is nothing to go back to; promote one.")


def _common_target(targets: Mapping[str, Release]) -> Release:
    if len(set(targets.values())) > 1:
        listed = "; ".join(f"{site} to {release}" for site, release in targets.items())
        raise InputError(f"The sites would go back to different images ({listed}): roll them back one by one.")
    return next(iter(targets.values()))
