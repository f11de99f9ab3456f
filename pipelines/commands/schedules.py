"""``loopline schedules``: what runs again and again on Data Science Pipelines."""

import argparse

from loopline.components.errors import InputError
from loopline.pipelines.commands.server import HELP, add_server, server_of


def add_options(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Add the commands of ``schedules``."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Look at the schedules on Data Science Pipelines, pause, resume and delete them."
    parser.epilog = HELP
    actions = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    listing = _add(actions, "list", "show all, or one with its next five times", _list)
    listing.add_argument("name", nargs="?", default="", metavar="NAME", help="the one to show")
    for name, summary, command in (
        ("pause", "let one fire no more; a run that goes on is left alone", _pause),
        ("resume", "let it fire again; the server makes up for the last time missed", _resume),
        ("delete", "pause one, and delete it once no run of it goes on", _delete),
    ):
        action = _add(actions, name, summary, command)
        action.add_argument("name", metavar="NAME", help="the schedule")
        if name == "delete":
            action.add_argument("--force", action="store_true", help="at once; up to KFP 2.15 its run ends with it")


def _add(actions, name: str, summary: str, command) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    add_server(action)
    action.set_defaults(command=command, time_zone="")
    if command in (_list, _resume):  # which tell times
        action.add_argument("--time-zone", metavar="ZONE", help="the cluster's, where it cannot be found out")
    return action


def _list(options: argparse.Namespace) -> int:
    from loopline.pipelines.launching.table import show_schedule, show_schedules

    found = _find(options) if options.name else _all(options)
    if options.name:
        print("\n\n".join(show_schedule(held) for held in found))
    elif found:
        print(show_schedules(found))
    else:
        print("There is no schedule: `loopline schedule PIPELINE --cron ...` makes one.")
    return 0


def _pause(options: argparse.Namespace) -> int:
    for held in _find(options):
        held.pause()
    print(f"Schedule {options.name} is paused: `loopline schedules resume {options.name}` lets it fire again.")
    return 0


def _resume(options: argparse.Namespace) -> int:
    from loopline.pipelines.launching.table import show_schedule

    # Of several the newest: the others are what a replacement left behind.
    held = _find(options)[-1]
    held.resume()
    print(show_schedule(held))
    return 0


def _delete(options: argparse.Namespace) -> int:
    for held in _find(options):
        held.delete(options.force)
    print(f"Schedule {options.name} is deleted.")
    return 0


def _all(options: argparse.Namespace):
    from loopline.pipelines.launching import schedules

    return schedules(options.name, time_zone=options.time_zone, **server_of(options))


def _find(options: argparse.Namespace):
    found = _all(options)
    if not found:
        raise InputError(f"There is no schedule {options.name!r}: `loopline schedules list` shows what there is.")
    return found
