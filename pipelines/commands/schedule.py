"""``loopline schedule``: a pipeline again and again on Data Science Pipelines."""

import argparse

from loopline.pipelines.commands.arguments import add_pipeline, read_arguments
from loopline.pipelines.commands.server import HELP, add_server, add_step_image, server_of

_EPILOG = f"""\
{HELP}

examples:
  loopline schedule training --cron "0 0 2 * * *" --from-file flights.yaml
      every day at 02:00 in the cluster's time zone; six fields: second minute hour day month weekday
  loopline schedule monitoring --every 6h --hours 6 --name flights --target late --history s3://bucket/flights
      every six hours, each time the six hours before

A schedule of the same name is replaced. `loopline schedules list` shows what there is."""


def add_options(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Add the options of ``schedule``; they follow from the pipeline named on the command line."""
    parser.description = (
        "Run a pipeline again and again on Data Science Pipelines: one run at a time, without catching up and without "
        "caching."
    )
    parser.epilog = _EPILOG
    times = parser.add_argument_group("when")
    times.add_argument("--cron", default="", metavar="FIELDS", help='six fields, seconds first: "0 0 2 * * *"')
    times.add_argument("--every", default="", metavar="PERIOD", help="a period instead: 6h, 90m, 1d12h")
    times.add_argument(
        "--time-zone",
        default="",
        metavar="ZONE",
        help="the cluster's, where it cannot be found out; changes nothing there",
    )
    parser.add_argument(
        "--as", dest="title", default="", metavar="NAME",
        help="the schedule's name (default: the pipeline's and the model's, e.g. training-flights)",
    )  # fmt: skip
    parser.add_argument("--experiment", default="", help="the runs' experiment (default: named like the pipeline)")
    add_step_image(parser)
    add_server(parser)
    add_pipeline(parser, words)
    parser.set_defaults(command=_schedule)


def _schedule(options: argparse.Namespace) -> int:
    from loopline.pipelines.launching import schedule
    from loopline.pipelines.launching.table import show_schedule

    done = schedule(
        options.pipeline,
        read_arguments(options),
        cron=options.cron,
        every=options.every,
        name=options.title,
        experiment=options.experiment,
        image=options.step_image,
        time_zone=options.time_zone,
        **server_of(options),
    )
    print(show_schedule(done.schedule))
    print(f"Pipeline {done.version}.")
    for other in done.replaced:
        print(f"It replaces the schedule of {other.created_at:%Y-%m-%d %H:%M} UTC: {other.words}.")
    if not done.made:
        print("It was there already, and stays as it is.")
    for note in done.notes:
        print(f"Note: {note}")
    return 0
