"""The schedules on the server, which it calls recurring runs: look at them, pause, resume and delete them."""

import contextlib
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice

from loopline.components.display import Card
from loopline.components.errors import InputError, TemporaryError
from loopline.pipelines.launching.connection import Server, connect
from loopline.pipelines.launching.links import schedule_link
from loopline.pipelines.launching.steps import OVER
from loopline.pipelines.launching.timing import Timing
from loopline.pipelines.launching.versions import by_name
from loopline.pipelines.launching.zones import Zone, find_zone

#: Leaves the runs of a schedule alone that is deleted; servers up to KFP 2.15 take no notice of it.
_ORPHAN = "ORPHAN"
#: What schedules made here are described by.
_MARK = re.compile(r"Made by loopline schedule, number (\d+), [0-9a-f]+\.")


class ServerSchedule:
    """A schedule on the server. In a notebook it shows itself.

    Args:
        server: The server.
        recurring: The recurring run as the server describes it.
        zone: The time zone of cron expressions.

    Attributes:
        id: Its id.
        name: Its name; the server takes a name more than once.
        created_at: When it was made.
        enabled: Whether it fires.
        parameters: What its runs are given.
        timing: When it fires; None when that cannot be read.
        zone: The time zone of cron expressions.
        number: Counts the schedules of its name; 0 for what was made elsewhere.
        link: Where a browser shows it.
    """

    def __init__(self, server: Server, recurring, zone: Zone):
        self.id = recurring.recurring_run_id
        self.name = recurring.display_name
        self.created_at = recurring.created_at
        self.enabled = recurring.status == "ENABLED"
        self.parameters = dict((recurring.runtime_config and recurring.runtime_config.parameters) or {})
        self.timing = Timing.of_trigger(recurring.trigger, recurring.created_at)
        self.zone = zone
        self.number = int(found[1]) if (found := _MARK.fullmatch(recurring.description or "")) else 0
        self.link = schedule_link(server, self.id)
        self.recurring = recurring
        self._server = server

    @property
    def words(self) -> str:
        """When it fires, in words."""
        if self.timing:
            return self.timing.words
        cron = self.recurring.trigger.cron_schedule if self.recurring.trigger else None
        return f"cron {cron.cron!r}" if cron else "not known"

    @cached_property
    def pipeline(self) -> str:
        """The version of the pipeline; empty when the server does not tell."""
        reference = self.recurring.pipeline_version_reference
        if reference is None:
            return ""
        api = self._server.pipelines
        with contextlib.suppress(InputError):
            name = self._server.look(api.pipeline_service_get_pipeline, reference.pipeline_id).display_name
            if not reference.pipeline_version_id:
                return f"{name}, the newest version"
            call = api.pipeline_service_get_pipeline_version
            version = self._server.look(call, reference.pipeline_id, reference.pipeline_version_id).display_name
            return version if version.startswith(name) else f"{name} {version}"
        return ""

    def next_times(self, count: int = 5) -> list[datetime]:
        """Return the next times at which it fires, in its time zone; none while it is paused.

        Args:
            count: How many.
        """
        if self.timing is None or not self.enabled:
            return []
        return list(islice(self.timing.times(datetime.now(UTC), self.zone.info), count))

    def newest_run(self):
        """Return the run that it started last, as the server describes it; None when it has started none.

        Raises:
            InputError: The server refuses or is away.
        """
        call = self._server.runs.run_service_list_runs
        experiment = {"experiment_id": self.recurring.experiment_id} if self.recurring.experiment_id else {}
        for run in self._server.list(call, "runs", sort_by="created_at desc", **experiment):
            if run.created_at < self.created_at:
                break
            if run.recurring_run_id == self.id:
                return run
        return None

    def pause(self) -> None:
        """Let it fire no more until it is resumed; a run that goes on is left alone.

        Raises:
            InputError: The server refuses or is away.
        """
        self._change(self._server.recurring_runs.recurring_run_service_disable_recurring_run)
        self.enabled = False

    def resume(self) -> None:
        """Let it fire again; of the times that passed meanwhile, the server makes up for the last.

        Raises:
            InputError: The server refuses or is away.
        """
        self._change(self._server.recurring_runs.recurring_run_service_enable_recurring_run)
        self.enabled = True

    def delete(self, force: bool = False) -> None:
        """Delete it. It is paused first, and stays so while a run of it goes on.

        Args:
            force: Delete it in any case. Up to KFP 2.15 a run of it ends with it.

        Raises:
            InputError: A run of it goes on, or the server refuses or is away.
        """
        run = self.retire(force)
        if run is not None:
            raise InputError(
                f"Run {run.run_id} of schedule {self.name} goes on, and might end with it: the schedule is paused; "
                "delete it when the run is over, or now with --force."
            )

    def retire(self, force: bool = False):
        """Pause it, and delete it unless a run of it goes on.

        Args:
            force: Delete it in any case.

        Returns:
            The run that goes on, as the server describes it; None when the schedule is deleted.

        Raises:
            InputError: The server refuses or is away.
        """
        try:
            self.pause()
            run = None if force else self.newest_run()
            if run is not None and run.state not in OVER:
                return run
            call = self._server.recurring_runs.recurring_run_service_delete_recurring_run
            self._change(call, propagation_policy=_ORPHAN)
        except TemporaryError:
            raise
        except InputError:
            # Somebody else may have deleted it just now.
            if any(held.id == self.id for held in held_under(self._server, self.name, self.zone)):
                raise
        return None

    def _change(self, call, **named) -> None:
        self._server.look(call, self.id, **named)

    def __repr__(self) -> str:
        return f"<schedule {self.name}: {self.words}{'' if self.enabled else ', paused'}>"

    def card(self) -> Card:
        """Return what a notebook shows of it."""
        card = Card(f"Schedule {self.name}", "" if self.enabled else "paused")
        card.lead(self.words)
        card.text(f"Times in {self.zone.name}, {self.zone.source}.")
        card.table(["Next"], [(show_time(moment),) for moment in self.next_times()])
        card.link("The schedule on its server", self.link)
        return card

    def _repr_html_(self) -> str:
        return self.card().markup()


class Schedules(list):
    """Schedules by name. In a notebook they show themselves as a table."""

    def _repr_html_(self) -> str:
        card = Card("Schedules" if self else "No schedules")
        card.table(["Schedule", "Fires", "Next", "State", "Pipeline"], [(held.name, *summary(held)) for held in self])
        return card.markup()


def schedules(
    name: str = "", *, time_zone: str = "", host: str = "", token: str = "", token_path: str = ""
) -> Schedules:
    """List the schedules on the server.

    Args:
        name: The one name to look for; all when empty.
        time_zone: The time zone of cron expressions; found when empty.
        host: The server's URL; see ``connection.connect`` for this and the others.
        token: A token for it.
        token_path: A file with one.

    Returns:
        The schedules; those of one name with the newest last.

    Raises:
        InputError: The server cannot be used.
    """
    server = connect(host, token, token_path)
    zone = find_zone(time_zone, server.namespace)
    held = held_under(server, name, zone) if name else _all(server, zone)
    return Schedules(sorted(held, key=lambda entry: (entry.name, *_age(entry))))


def held_under(server: Server, name: str, zone: Zone) -> list[ServerSchedule]:
    """Return the schedules of a name, the oldest first: one, unless it is being replaced or somebody made more.

    Args:
        server: The server.
        name: The name.
        zone: The time zone of cron expressions.

    Raises:
        InputError: The server refuses or is away.
    """
    return sorted(_all(server, zone, filter=by_name(name)), key=_age)


def _age(held: ServerSchedule) -> tuple:
    # The same for everybody, whoever looks. The server tells when they were made in whole seconds.
    return held.number, held.created_at, held.id


def summary(held: ServerSchedule) -> tuple[str, str, str, str]:
    """Return when a schedule fires, when next, whether it is paused, and its pipeline."""
    following = held.next_times(1)
    return held.words, show_time(following[0]) if following else "-", _state(held), held.pipeline or "-"


def mark(number: int) -> str:
    """Return the description of a schedule.

    Args:
        number: Counts the schedules of its name.

    Returns:
        Text that no other schedule has.
    """
    return f"Made by loopline schedule, number {number}, {secrets.token_hex(4)}."


def show_time(moment: datetime) -> str:
    """Return a time as a person reads it, with its time zone."""
    return f"{moment:%a %d %b %Y %H:%M}{f':{moment:%S}' if moment.second else ''} {moment:%Z}"


def _state(held: ServerSchedule) -> str:
    return "on" if held.enabled else "paused"


def _all(server: Server, zone: Zone, **filters) -> Iterator[ServerSchedule]:
    call = server.recurring_runs.recurring_run_service_list_recurring_runs
    for recurring in server.list(call, "recurring_runs", **filters):
        yield ServerSchedule(server, recurring, zone)
