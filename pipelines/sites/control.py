"""What ``loopline sites`` does, as functions: bring the sites up, wait for them, put one back."""

import subprocess
import time
from collections.abc import Callable

from loopline.components.delivery.child import last_line
from loopline.components.delivery.git import locate_repository
from loopline.components.errors import InputError
from loopline.pipelines.sites import state as states
from loopline.pipelines.sites.app import NAME, choose_module, read_module
from loopline.pipelines.sites.process import UP_S, Agent, find_agent, read_followed, start_agent
from loopline.pipelines.sites.state import SiteState, make_sites_home, read_states, sites_home

#: Seconds that sites may take to follow a commit.
_FOLLOW_S = 60.0


def up(
    repository: str = "", branch: str = "main", interval_s: float = 0.0, app: str = "", timeout_s: float = UP_S
) -> list[SiteState]:
    """Start the agent in the background, unless it runs, and wait for the sites.

    Args:
        repository: URL or path of the configuration repository; this machine's own, made if missing, when empty.
        branch: The branch that the sites follow.
        interval_s: Seconds between two looks at it; 0 for what suits its place.
        app: A module to run beside the sites; empty for none.
        timeout_s: Seconds to wait until every site is ready or says what hinders it.

    Returns:
        What each site does.

    Raises:
        InputError: The agent runs with something else, or did not start.
    """
    make_sites_home()
    agent, process = find_agent(), None
    if agent:
        _compare(agent, repository, branch)
    place = agent.repository if agent else place_repository(repository)
    if app:
        choose_module(app)
    if not agent:
        process = start_agent([place, "--branch", branch, "--interval", str(interval_s)])
    return _wait_for_agent(process, timeout_s)


def place_repository(repository: str = "") -> str:
    """Return where the configuration repository is, the default one made if missing.

    Args:
        repository: URL or path; this machine's own repository when empty.
    """
    from loopline.pipelines.sites.repository import init_config_repository

    return locate_repository(repository) if repository else init_config_repository()


def _compare(agent: Agent, repository: str, branch: str) -> None:
    if (repository and place_repository(repository) != agent.repository) or branch != agent.branch:
        raise InputError(
            f"The sites follow branch {agent.branch} of {agent.repository} already: `loopline sites down` ends that."
        )


def wait_for_app(timeout_s: float = UP_S) -> str:
    """Wait until the application answers.

    Args:
        timeout_s: Seconds to wait.

    Returns:
        Where it answers.

    Raises:
        InputError: It does not.
    """

    _wait_until(lambda: _app_state() in (states.READY, states.FAILED), timeout_s)
    app = next((state for state in read_states() if state.site == NAME), None)
    if app is None or app.state != states.READY:
        reason = app.reason or app.state if app else "it was not started"
        raise InputError(f"The application does not answer ({reason}): see `loopline sites logs {NAME}`.")
    return app.url


def roll_back(sites: str, reason: str = "") -> tuple[str, list[SiteState]]:
    """Put sites back to the image they named before and, where the agent runs, wait until they follow.

    Args:
        sites: Their names, with commas between them.
        reason: Why, for the commit.

    Returns:
        The image they name now, and what each site does.

    Raises:
        InputError: There is nothing before, or Git refuses.
    """
    from loopline.components.delivery.rollback import rollback

    agent = find_agent()
    image = rollback(agent.repository if agent else "", sites, agent.branch if agent else "main", reason=reason)
    names = {name.strip() for name in sites.split(",")}

    def followed() -> bool:
        return all(state.wanted == image and not _moves(state) for state in read_states() if state.site in names)

    if agent:
        _wait_until(followed, _FOLLOW_S)
    return image, read_states()


def _wait_for_agent(process: subprocess.Popen | None, seconds: float) -> list[SiteState]:
    def settled() -> bool:
        agent, followed, found = find_agent(), read_followed(), read_states()
        if not agent and process and process.poll() is not None:
            raise InputError(f"The agent did not start: {last_line(sites_home() / 'agent.log')}")
        known = agent and followed and (followed.problem or found)
        complete = known and (_app_state() or not read_module())
        return bool(complete) and not any(_moves(state) for state in found)

    _wait_until(settled, seconds)
    return read_states()


def _app_state() -> str:
    return next((state.state for state in read_states() if state.site == NAME), "")


def _moves(state: SiteState) -> bool:
    return state.state in (states.STARTING, states.RESTARTING, states.UPDATING)


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
