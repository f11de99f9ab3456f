"""Whether a window's data can be trusted: what is broken must be mended, and nothing learned from it."""

from collections.abc import Mapping

from loopline.components.monitoring.evidence import Evidence

#: Reasons of collect_traffic to drop a row that leave the data whole.
_HARMLESS = ("duplicate",)


def find_broken(seen: Evidence, max_dropped: float) -> list[str]:
    """Return what is broken, in sentences that say what to do.

    Args:
        seen: The window.
        max_dropped: The largest share of rows, values, files or truth that may be unusable.
    """
    found = []
    if seen.drift["verdict"] == "broken":
        found += seen.drift.get("broken") or [seen.drift.get("reason") or "Columns hold what they never held."]
    found += _dropped_rows(seen, max_dropped)
    found += _lost_values(seen, max_dropped)
    found += _broken_files(seen, max_dropped)
    found += _broken_truth(seen.counts.get("truth") or {}, max_dropped)
    return found


def _dropped_rows(seen: Evidence, most: float) -> list[str]:
    dropped = {reason: n for reason, n in (seen.counts.get("dropped") or {}).items() if reason not in _HARMLESS}
    count = sum(dropped.values())
    if not count or count <= most * (count + seen.rows):
        return []
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(dropped.items(), key=lambda pair: -pair[1]))
    return [
        f"{count:,} of {count + seen.rows:,} logged rows cannot be used ({reasons}), {count / (count + seen.rows):.0%} "
        f"where {most:.0%} may be: look at the clocks and the logs of the sites."
    ]


def _lost_values(seen: Evidence, most: float) -> list[str]:
    return [
        f"{lost:,} of {seen.rows:,} values of {column!r} are not of its type, and {most:.0%} may be: look at what "
        "sends them."
        for column, lost in (seen.counts.get("nulled") or {}).items()
        if seen.rows and lost > most * seen.rows
    ]


def _broken_files(seen: Evidence, most: float) -> list[str]:
    broken = seen.counts.get("broken_files") or []
    files = len(broken) + (seen.counts.get("files") or 0)
    if not broken or len(broken) <= most * files:
        return []
    return [
        f"{len(broken):,} of {files:,} files of the traffic log cannot be read, such as {broken[0]}, and {most:.0%} "
        "may be: look at what writes them."
    ]


def _broken_truth(truth: Mapping, most: float) -> list[str]:
    wrong = {kind: truth.get(kind) or 0 for kind in ("contradictory", "ambiguous", "unknown")}
    about = (truth.get("rows") or 0) - (truth.get("without_prediction") or 0) - (truth.get("unlabeled") or 0)
    count = sum(wrong.values())
    if not count or count <= most * about:
        return []
    kinds = ", ".join(f"{n:,} {kind}" for kind, n in wrong.items() if n)
    return [
        f"The truth contradicts itself or the model's classes in {count:,} of {about:,} rows ({kinds}), and {most:.0%} "
        "may do so: look at where it comes from and at truth_key."
    ]
