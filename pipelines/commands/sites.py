"""``loopline sites``: run the sites of this machine, look at them, put one back."""

import argparse
import json
import logging

from loopline.pipelines.sites.process import UP_S, find_agent, read_followed, stop_agent
from loopline.pipelines.sites.status import all_in_sync, as_json, describe, read_status

_DESCRIPTION = """\
Serve models on this machine as the sites of a cluster do: one model server a site, the image that the configuration
repository names, verified, replaced without a lost request. A promotion is a commit; so is a rollback."""

_EPILOG = """\
examples:
  loopline sites up                          begin, in the background
  loopline run delivery --name flights       promote the champion, site by site
  loopline sites status                      what each site should serve and what it serves
  loopline sites rollback edge --reason "..."
  loopline sites down"""


def add_options(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Add the commands of ``sites``."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_up(actions)
    status = actions.add_parser(
        "status", help="what each site serves", description="Show what each site should serve and what it serves.",
        epilog="exit status: 0 all sites do what the repository says, 1 one does not or the agent does not run.",
    )  # fmt: skip
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(command=_status)
    logs = actions.add_parser("logs", help="what a site's model server prints", description="Show a site's log.")
    logs.add_argument("site", metavar="SITE", help="a site, app for the application, or agent")
    logs.add_argument("-f", "--follow", action="store_true", help="go on showing what is added")
    logs.add_argument("-n", "--lines", type=int, default=50, metavar="N", help="the last N lines (default: 50)")
    logs.set_defaults(command=_logs)
    down = actions.add_parser(
        "down", help="stop everything", description="Stop the sites. The configuration repository stays as it is."
    )
    down.set_defaults(command=_down)
    rollback = actions.add_parser(
        "rollback", help="put a site back to the image before",
        description="Commit the image that a site named before to the configuration repository, and wait for the site.",
    )  # fmt: skip
    rollback.add_argument("site", metavar="SITE", help="the site; several with commas between them")
    rollback.add_argument("--reason", default="", help="why, for the commit")
    rollback.set_defaults(command=_rollback)


def _add_up(actions) -> None:
    up = actions.add_parser(
        "up", help="begin to serve, in the background",
        description="Start the agent in the background, unless it runs, and wait until every site is ready.",
    )  # fmt: skip
    up.add_argument(
        "--repository", default="", metavar="URL_OR_PATH",
        help="the configuration repository (default: config-repo.git under LOOPLINE_HOME, made if missing)",
    )  # fmt: skip
    up.add_argument("--branch", default="main", help="the branch to follow (default: main)")
    up.add_argument(
        "--interval", type=float, default=0.0, metavar="SECONDS",
        help="between two looks at the repository (default: 1 for a path, 10 for a URL)",
    )  # fmt: skip
    up.add_argument(
        "--app", default="", metavar="MODULE", help="a module to run beside the sites: loopline.examples.flights.app"
    )
    up.add_argument("--foreground", action="store_true", help="stay in this terminal; Ctrl-C ends it")
    up.add_argument(
        "--timeout",
        type=float,
        default=UP_S,
        metavar="SECONDS",
        help=f"how long to wait (default: {UP_S:g})",
    )
    up.set_defaults(command=_up)


def _up(options: argparse.Namespace) -> int:
    if options.foreground:
        return _stay(options)
    from loopline.pipelines.sites import control

    found = find_agent() is not None
    sites = control.up(options.repository, options.branch, options.interval, options.app, options.timeout)
    print("The agent runs already." if found else "The agent runs in the background: `loopline sites down` ends it.")
    print(describe(find_agent(), read_followed(), sites))
    if sites and not any(site.wanted for site in sites):
        print("\nNothing is promoted yet: `loopline run delivery --name MODEL` does it.")
    return 0 if all_in_sync(sites) else 1


def _stay(options: argparse.Namespace) -> int:
    from loopline.pipelines.sites import control
    from loopline.pipelines.sites.agent import run_agent
    from loopline.pipelines.sites.app import choose_module

    logging.getLogger("loopline").setLevel(logging.INFO)
    if options.app:
        choose_module(options.app)
    run_agent(control.place_repository(options.repository), options.branch, options.interval)
    return 0


def _status(options: argparse.Namespace) -> int:
    status = read_status()
    print(json.dumps(as_json(status.agent, status.followed, status.sites), indent=2) if options.json else status)
    followed = status.followed
    return 0 if status.agent and followed and not followed.problem and all_in_sync(status.sites) else 1


def _logs(options: argparse.Namespace) -> int:
    from loopline.pipelines.sites.logs import show_logs

    show_logs(options.site, options.lines, options.follow)
    return 0


def _down(options: argparse.Namespace) -> int:
    print("Stopped." if stop_agent() else "No agent runs here: there was nothing to stop.")
    return 0


def _rollback(options: argparse.Namespace) -> int:
    from loopline.pipelines.sites import control

    image, sites = control.roll_back(options.site, options.reason)
    print(f"The configuration repository names {image} for {options.site} again.")
    agent = find_agent()
    if agent is None:
        print("No agent runs here: `loopline sites up` begins to serve it.")
        return 0
    print(describe(agent, read_followed(), sites))
    return 0 if all_in_sync(sites) else 1
