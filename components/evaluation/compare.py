"""Champion against challenger on the same rows."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from loopline.components.data.tables import open_parquet
from loopline.components.documents import write_document
from loopline.components.errors import InputError
from loopline.components.evaluation.bootstrap import check_replicates, choose_rows, resample
from loopline.components.evaluation.cards import verdict_card
from loopline.components.evaluation.metrics import RAISED_BY_RESAMPLING, Metric, find_metric, resolve_direction, score
from loopline.components.evaluation.scored import TestRows, score_rows
from loopline.components.evaluation.weighted import weighted_statistic
from loopline.components.model.directory import Manifest, is_absent, read_manifest
from loopline.components.model.predictor import Predictor, load_predictor

log = logging.getLogger("loopline")


@dataclass(frozen=True)
class Contest:
    """How two models are compared.

    Attributes:
        metric: The metric's name; the task's main one when empty.
        lower_is_better: ``auto``, ``true`` or ``false``.
        margin: By how much the challenger must be better, in the metric's unit.
        confidence: How sure that must be, in (0.5, 1).
        bootstrap: Replicates.
        seed: Of the random numbers.
    """

    metric: str = ""
    lower_is_better: str = "auto"
    margin: float = 0.0
    confidence: float = 0.95
    bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self):
        if not (np.isfinite(self.margin) and self.margin >= 0):
            raise InputError(f"margin is {self.margin}: use 0 or a positive number in the metric's unit.")
        if not 0.5 < self.confidence < 1:
            raise InputError(f"confidence is {self.confidence}: use a share between 0.5 and 1, such as 0.95.")
        if self.bootstrap == 0:
            raise InputError("bootstrap is 0: a comparison needs replicates to know its own uncertainty, such as 1000.")
        check_replicates(self.bootstrap, self.seed)


@dataclass
class Verdict:
    """What became of a comparison.

    Attributes:
        verdict: ``promote`` or ``keep``.
        reason: Why, in one sentence.
        task: ``binary``, ``multiclass`` or ``regression``.
        metric: The metric that decided.
        lower_is_better: Its direction.
        margin: By how much the challenger had to be better.
        confidence: How sure that had to be.
        champion: ``digest`` and ``value``, and ``metrics`` with every value; empty when there is none.
        challenger: The same.
        difference: ``value``, ``low`` and ``high`` of the improvement; positive when the challenger is better.
        rows: Rows compared on.
        unlabeled: Rows left out for want of a label.
        resampled: Rows each replicate was drawn from.
    """

    verdict: str
    reason: str
    task: str
    metric: str
    lower_is_better: bool
    margin: float
    confidence: float
    champion: dict
    challenger: dict
    difference: dict
    rows: int
    unlabeled: int = 0
    resampled: int = 0

    def save(self, path: str | Path) -> None:
        """Write the verdict as JSON."""
        write_document(path, asdict(self))

    @property
    def metadata(self) -> dict:
        """The verdict's main values as flat, finite metadata."""
        values = {
            "verdict": self.verdict,
            "reason": self.reason,
            "metric": self.metric,
            "champion_value": self.champion.get("value"),
            "challenger_value": self.challenger.get("value"),
            "champion_digest": self.champion.get("digest"),
            "challenger_digest": self.challenger.get("digest"),
            "difference": self.difference.get("value"),
            "difference_low": self.difference.get("low"),
            "difference_high": self.difference.get("high"),
            "rows": self.rows,
        }
        return {name: value for name, value in values.items() if value is not None}

    def _repr_html_(self) -> str:
        return verdict_card(self).markup()


def compare(challenger: str | Path, champion: str | Path, test: str | Path, contest: Contest):
    """Compare two models on the same rows by a paired bootstrap of the difference.

    Args:
        challenger: A model directory.
        champion: A model directory, or one that says there is no model yet.
        test: A Parquet file with the features of both and the target.
        contest: How to compare.

    Returns:
        The verdict, and the improvement in each replicate, shape (replicates,); empty when nothing was resampled.

    Raises:
        InputError: The models predict different things, or one of them cannot score the rows.
    """
    new = read_manifest(challenger)
    metric = find_metric(new.task, contest.metric)
    resolve_direction(metric, contest.lower_is_better)
    first = is_absent(champion)
    old = new if first else read_manifest(champion)
    _check_same_question(new, old)
    same = not first and new.digest == old.digest

    predictors = {"challenger": load_predictor(challenger)}
    if not first and not same:
        predictors["champion"] = load_predictor(champion)
    columns = _needed_columns(predictors, test)
    rows = TestRows.find(test, new.target, columns)
    truth, scores = score_rows(rows, predictors, columns)
    sides = {name: _side(one.manifest, metric, truth, scores[name]) for name, one in predictors.items()}
    if same:
        sides["champion"] = sides["challenger"]

    deviations = np.empty(0)
    difference: dict = {}
    resampled = 0
    if "champion" in scores:
        sign = 1.0 if metric.lower_is_better else -1.0
        value = sign * (sides["champion"]["value"] - sides["challenger"]["value"])
        chosen = choose_rows(len(truth), contest.bootstrap, 2 * _passes(new), contest.seed)
        resampled = len(chosen)
        replicates = _resample_difference(new.task, metric, truth, scores, chosen, contest, sign)
        centered = metric.name in RAISED_BY_RESAMPLING
        low, high = replicates.interval("difference", value, contest.confidence, centered)
        if low is None:
            raise InputError(f"{metric.label} is undefined in most resamples of {len(truth)} rows: use more test rows.")
        difference = {"value": value, "low": low, "high": high}
        deviations = value + replicates.deviations("difference", centered)
    verdict, reason = _decide(first, same, metric, contest, difference)
    log.info("%s: %s", verdict, reason)
    result = Verdict(
        verdict=verdict,
        reason=reason,
        task=new.task,
        metric=metric.name,
        lower_is_better=metric.lower_is_better,
        margin=contest.margin,
        confidence=contest.confidence,
        champion=sides.get("champion", {}),
        challenger=sides["challenger"],
        difference=difference,
        rows=len(truth),
        unlabeled=rows.unlabeled,
        resampled=resampled,
    )
    return result, deviations


def _check_same_question(new: Manifest, old: Manifest) -> None:
    for what in ("task", "target", "classes"):
        mine, theirs = getattr(new, what), getattr(old, what)
        if mine != theirs:
            raise InputError(
                f"The challenger's {what} is {mine!r} and the champion's is {theirs!r}: "
                "only models that answer the same question can be compared; register this one under another name."
            )


def _needed_columns(predictors: dict[str, Predictor], test: str | Path) -> list[str]:
    """List the features of all models, and say which model lacks one."""
    with open_parquet(test) as file:
        present = file.schema_arrow.names
    for name, predictor in predictors.items():
        missing = [feature for feature in predictor.features.names if feature not in present]
        if missing:
            raise InputError(
                f"The {name} cannot score the test rows, which lack its feature {', '.join(map(repr, missing))}: "
                "compare on a table with the features of both models."
            )
    return list(dict.fromkeys(feature for one in predictors.values() for feature in one.features.names))


def _side(manifest: Manifest, metric: Metric, truth: np.ndarray, scores: np.ndarray) -> dict:
    metrics = score(manifest.task, truth, scores)
    if metrics.get(metric.name) is None:
        raise InputError(
            f"{metric.label} is undefined on these test rows: compare by another metric or give rows of every class."
        )
    return {"digest": manifest.digest, "format": manifest.format, "value": metrics[metric.name], "metrics": metrics}


def _passes(manifest: Manifest) -> int:
    return max(1, len(manifest.classes)) if manifest.task == "multiclass" else 1


def _resample_difference(task, metric, truth, scores, chosen, contest, sign):
    """Resample both models with the same draws, so that what is common to both cancels out."""
    sides = [
        weighted_statistic(task, truth[chosen], scores[name][chosen], only={metric.name})
        for name in ("champion", "challenger")
    ]

    def difference(counts: np.ndarray) -> dict[str, float | None]:
        champion, challenger = (side(counts)[metric.name] for side in sides)
        return {"difference": None if champion is None or challenger is None else sign * (champion - challenger)}

    return resample(difference, len(chosen), len(truth), contest.bootstrap, contest.seed)


def _decide(first: bool, same: bool, metric: Metric, contest: Contest, difference: dict) -> tuple[str, str]:
    if first:
        return "promote", "There is no champion yet."
    if same:
        return "keep", "The challenger is the same model as the champion."
    value, low, high = (difference[key] for key in ("value", "low", "high"))
    moves = f"improves by {value:.4g}" if value >= 0 else f"gets worse by {-value:.4g}"
    evidence = f"{metric.label} {moves} ({contest.confidence:.0%} interval of the improvement {low:.4g} to {high:.4g})"
    if low > contest.margin:
        return "promote", f"{evidence}, surely more than the margin {contest.margin:g}."
    if value > contest.margin:
        return "keep", f"{evidence}: these rows cannot show that it is more than the margin {contest.margin:g}."
    return "keep", f"{evidence}, not more than the margin {contest.margin:g}."
