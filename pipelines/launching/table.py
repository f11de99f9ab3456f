"""Schedules as a terminal shows them."""

from collections import Counter

from loopline.pipelines.launching.recurring import Schedules, ServerSchedule, show_time, summary

_HEAD = ("SCHEDULE", "FIRES", "NEXT", "STATE", "PIPELINE")


def show_schedule(held: ServerSchedule) -> str:
    """Return a schedule with its next five times.

    Args:
        held: The schedule.
    """
    lines = [f"Schedule {held.name}: {held.words}{'' if held.enabled else ', paused'}.", f"  {held.link}"]
    times = held.next_times()
    if times:
        lines.append(f"Next, in {_zone(held)}:")
        lines += [f"  {show_time(moment)}" for moment in times]
    return "\n".join(lines)


def show_schedules(found: Schedules) -> str:
    """Return schedules as a table.

    Args:
        found: At least one.
    """
    rows = [_HEAD, *((held.name, *summary(held)) for held in found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += ["", f"Times are in {_zone(found[0])}."]
    for name, count in Counter(held.name for held in found).items():
        if count > 1:
            lines.append(
                f"{name} is there {count} times: it was being replaced. `loopline schedule` of this name leaves one."
            )
    return "\n".join(lines)


def _zone(held: ServerSchedule) -> str:
    hint = "" if held.zone.sure else "; --time-zone names another"
    return f"{held.zone.name} ({held.zone.source}{hint})"
