"""A timeline of seven months, made up: months without change, better, worse and unclear, and names that bite."""

from loopline.pipelines.replay.scores import Interval, MonthScores
from loopline.pipelines.replay.send import SiteTraffic
from loopline.pipelines.replay.timeline import Commit, Month, MonthDrift, Moved, SiteMonth, Timeline

#: Label, log loss of the control, of the loop, half the interval of the difference, drift score, verdict.
_MONTHS = (
    ("June", 0.553, 0.553, 0.0, 0.24, "retrain"),
    ("July", 0.582, 0.561, 0.006, 0.41, "wait"),
    ("August", 0.496, 0.503, 0.004, 0.33, "wait"),
    ("September", 0.400, 0.384, 0.005, 0.52, "retrain"),
    ("October", 0.457, 0.437, 0.006, 0.47, "wait"),
    ("November", 0.456, 0.456, 0.004, 0.71, "alert"),
    ("December", 0.582, 0.599, 0.008, 0.95, "retrain"),
)
_REASONS = {
    "retrain": "Log loss is 0.561 on 25,310 labeled rows, 9.2 % above the 0.514 of the registration; that is more than "
    "the margin of 5 % and sure at p < 0.01, so a new model is trained.",
    "wait": "Log loss is within 5 % of the registered 0.514: nothing to do until the next window.",
    "alert": "11.4 % of the rows of site edge have no pressure: mend the feed before a model learns from it.",
}


def make_timeline(months: int = 7, bite: str = "") -> Timeline:
    """Return a timeline; ``bite`` is put into every text that comes from outside."""
    version, made = 1, []
    for position, (label, control, loop, half, score, verdict) in enumerate(_MONTHS[:months]):
        promoted = verdict == "retrain" and label != "December"
        after = version + promoted
        made.append(
            Month(
                label=label + bite,
                rows=27_000 + 137 * position,
                labeled=25_310,
                scores=_scores(control, loop, half),
                drift=MonthDrift("drift", score, [Moved("temp" + bite, score), Moved("dewp", score / 2)]),
                verdict=verdict,
                reasons=[_REASONS[verdict] + bite],
                alerts=[_REASONS["alert"] + bite] if verdict == "alert" else [],
                retrained=verdict == "retrain",
                promoted=promoted,
                sites={site + bite: _site(version, after, k, position) for k, site in enumerate(_SITES)},
                commits=[
                    Commit(f"{position}{k}" * 20, site, f"Serve flights version {after} at {site}" + bite)
                    for k, site in enumerate(_SITES)
                    if promoted
                ],
                seconds={"send": 4.1, "monitor": 11.9, "retrain": 31.0 if promoted else 0.0},
            )
        )
        version = after
    return Timeline(
        "flights" + bite, "late", made, trained_on="January to May 2013", units="flights",
        created="2026-11-24T14:00:00+00:00",
    )  # fmt: skip


_SITES = ("edge", "cloud", "datacenter")


def _scores(control: float, loop: float, half: float) -> MonthScores:
    def side(loss: float) -> dict[str, Interval]:
        area, skill = 1 - loss / 1.7, 0.6 - loss
        return {
            "log_loss": Interval(loss, loss - 0.021, loss + 0.022),
            "roc_auc": Interval(area, area - 0.011, area + 0.01),
            "skill": Interval(skill, skill - 0.02, skill + 0.02),
        }

    gain = control - loop
    interval = Interval(gain, gain - half, gain + half)
    gains = {"log_loss": interval, "roc_auc": interval, "skill": interval}
    return MonthScores(27_000, side(loop), side(control), gains, gain == 0 == half, "log_loss")


def _site(version: int, after: int, place: int, position: int) -> SiteMonth:
    def image(number: int) -> str:
        return "sha256:" + f"{number:064x}"

    traffic = SiteTraffic(
        550, 0, int(position == 4), "", 3.1 + place + position % 3, 14.0 + 5 * place + 3 * (position % 2),
        {str(version): 9000}, {image(version): 9000},
    )  # fmt: skip
    return SiteMonth(str(version), image(version), str(after), image(after), traffic)
