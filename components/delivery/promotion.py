"""Promote an image: name it in the overlays of sites, as one commit to the configuration repository."""

import logging

from loopline.components.delivery.admission import Admitted, admit
from loopline.components.delivery.approval import is_required
from loopline.components.delivery.config_repository import (
    APPROVED_BY,
    IMAGE,
    MLFLOW_RUN,
    MODEL,
    MODEL_VERSION,
    PIPELINE_RUN,
    ConfigRepository,
    list_sites,
    parse_sites,
    write_message,
)
from loopline.components.delivery.git_repository import Change, commit_change, open_repository
from loopline.components.delivery.pull_request import propose
from loopline.components.errors import InputError

MODES = ("direct", "pull-request")

logger = logging.getLogger("loopline")


def promote(
    repository: str,
    sites: str,
    image: str,
    branch: str = "main",
    overlay: str = "sites/{site}",
    mode: str = "direct",
    pipeline_run: str = "",
    require_approval: bool = False,
) -> str:
    """Name an image in the overlays of some sites.

    Args:
        repository: URL or path of the configuration repository; the one of this machine's own sites when empty.
        sites: Comma-separated names; nothing is done when empty.
        image: The image by digest.
        branch: The branch that the sites follow.
        overlay: The folder of a site in the repository.
        mode: ``direct``, or ``pull-request`` for a branch of its own and a request to merge it.
        pipeline_run: The pipeline run to note in the commit. A promotion repeated by the same run is the same one.
        require_approval: Whether an approver must have approved the image; ``LOOPLINE_REQUIRE_APPROVAL`` asks for it in
            any case.

    Returns:
        The commit; empty when there was nothing to change.

    Raises:
        InputError: The image is not named by digest, unsigned, untested, of unknown provenance or not approved, a site
            or the repository does not exist, or Git refuses.
    """
    names, run = parse_sites(sites), " ".join(pipeline_run.split())
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}: choose from {', '.join(MODES)}.")
    if not names:
        return ""
    admitted = admit(image, is_required(require_approval))
    with open_repository(repository, branch) as git:
        config = ConfigRepository(git, overlay)

        def decide() -> Change | None:
            files = config.write_releases(dict.fromkeys(names, admitted.release))
            changed = [name for name in names if config.release_path(name) in files]
            return Change(files, _message(admitted, changed, run)) if files else None

        if mode == "direct":
            commit = commit_change(git, decide) or _find_promotion(config, names, admitted, run)
        else:
            commit = propose(git, decide, admitted.release, names)
    logger.info("%s for %s: %s", admitted.release, ", ".join(names), commit[:12] or "named already")
    return commit


def _message(admitted: Admitted, sites: list[str], pipeline_run: str) -> str:
    release = admitted.release
    trailers = [
        (MODEL, release.name),
        (MODEL_VERSION, str(release.version)),
        (IMAGE, release.image),
        (MLFLOW_RUN, admitted.mlflow_run),
        (PIPELINE_RUN, pipeline_run),
        *((APPROVED_BY, str(approval)) for approval in admitted.approvals),
    ]
    return write_message(f"Promote {release.name} version {release.version} to {list_sites(sites)}", sites, trailers)


def _find_promotion(config: ConfigRepository, sites: list[str], admitted: Admitted, pipeline_run: str) -> str:
    """Return the commit that the same pipeline run made before it was ended and began anew; empty when there is none.

    The step that checks the sites needs it to put them back.
    """
    if not pipeline_run:
        return ""
    config.git.fetch(history=True)
    wanted = {IMAGE: admitted.release.image, PIPELINE_RUN: pipeline_run}
    versions = config.git.versions([config.release_path(site) for site in sites]).values()
    last = (states[0] for states in versions if states)
    return next((version.commit for version in last if wanted.items() <= version.trailers.items()), "")
