"""Estimates held against the truth that they did without."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from monitoring_models import TARGETS, make_events

from loopline.components.evaluation.metrics import find_metric, score
from loopline.components.evaluation.scored import predict_rows
from loopline.components.model.predictor import load_predictor
from loopline.components.monitoring.calibration import fit_calibration
from loopline.components.monitoring.estimate import fit_estimator
from loopline.components.monitoring.reference_scores import score_reference

TASKS = ("binary", "multiclass", "regression")


def predicted(model, events: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Return truth and scores of events."""
    predictor = load_predictor(model, threads=1)
    manifest = predictor.manifest
    target = events.column(TARGETS[manifest.task])
    if manifest.task == "regression":
        return target.to_numpy(), predict_rows(predictor, events)
    truth = pc.index_in(target.combine_chunks(), pa.array(manifest.classes)).to_numpy()
    return truth.astype(np.int64), predict_rows(predictor, events)


def estimated(model, events: pa.Table, scores: np.ndarray, metric: str = "", seed: int = 0):
    reference = score_reference(model)
    estimator = fit_estimator(reference, find_metric(reference.task, metric), seed)
    return estimator.expect(scores, events, seed)


def near(events: pa.Table, width: float) -> pa.Table:
    return events.filter(pc.less(pc.abs(pc.subtract(events.column("distance"), 500.0)), width))


WINDOWS = {
    "as at training": lambda: make_events(4_000, 50),
    "other carriers": lambda: make_events(4_000, 51, carriers=(0.1, 0.8, 0.1)),
    "harder rows": lambda: near(make_events(14_000, 52), 40.0),
    "half is missing": lambda: make_events(4_000, 53, missing=0.3),
}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("task", TASKS)
def test_estimate_follows_the_rows(trained, task, window):
    """Every estimate within four of its own standard deviations of what the truth, unseen by it, gives."""
    events = WINDOWS[window]()
    truth, scores = predicted(trained(task), events)
    expected = estimated(trained(task), events, scores)
    found = score(task, truth, scores)
    names = {"binary": {"log_loss", "roc_auc", "brier", "accuracy"}, "multiclass": {"log_loss", "accuracy"}}
    assert expected.values.keys() == names.get(task, {"rmse", "mae"}) | {"skill"}
    for name in expected.values.keys() - {"skill"}:
        assert abs(expected.values[name] - found[name]) < 4 * expected.spreads[name] + 0.01 * abs(found[name])


def test_harder_rows_are_estimated_to_be_harder(trained):
    usual, harder = (WINDOWS[name]() for name in ("as at training", "harder rows"))
    values = []
    for events in (usual, harder):
        _, scores = predicted(trained("binary"), events)
        values.append(estimated(trained("binary"), events, scores))
    first, second = values
    assert second.values["log_loss"] > first.values["log_loss"] + 4 * first.spreads["log_loss"]
    assert second.values["skill"] < first.values["skill"] - 0.05


@pytest.mark.parametrize("task", TASKS)
def test_interval_holds_what_the_truth_gives(trained, task):
    """The distance of the truth from the estimate, in standard deviations, is as that of a normal variable."""
    metric = find_metric(task)
    reference = score_reference(trained(task))
    estimator = fit_estimator(reference, metric)
    distances = []
    for trial in range(30):
        events = make_events(400, 300 + trial)
        truth, scores = predicted(trained(task), events)
        expected = estimator.expect(scores, events, trial)
        distances.append((score(task, truth, scores)[metric.name] - expected.values[metric.name])
                         / expected.spreads[metric.name])  # fmt: skip
    assert np.mean(np.abs(distances) < 1.96) > 0.8
    assert 0.5 < np.std(distances) < 1.6
    assert abs(np.mean(distances)) < 1


def test_any_metric_of_classes_can_be_estimated(trained):
    events = WINDOWS["as at training"]()
    truth, scores = predicted(trained("binary"), events)
    for name in ("f1", "average_precision"):
        expected = estimated(trained("binary"), events, scores, name)
        assert expected.values[name] == pytest.approx(score("binary", truth, scores)[name], abs=0.03)
        assert expected.values["skill"] is not None


def test_many_rows_are_estimated_from_a_part(trained):
    """Three hundred thousand predictions need no more than the hundred thousand that are drawn from them."""
    random = np.random.default_rng(0)
    late = random.beta(2, 2, 300_000)
    scores = np.column_stack([1 - late, late]).clip(1e-6, 1)
    reference = score_reference(trained("binary"))
    estimator = fit_estimator(reference, find_metric("binary"))
    part, whole = (estimator.expect(scores[:rows], None, 0) for rows in (100_000, 300_000))
    assert whole.values["log_loss"] == pytest.approx(part.values["log_loss"], abs=0.003)
    # What is not known of the calibration stays, however many rows there are.
    assert 0.3 < whole.spreads["log_loss"] / part.spreads["log_loss"] < 1.2


def test_reference_rows_that_cannot_tell(trained):
    reference = score_reference(trained("binary"))
    assert fit_estimator(dataclasses.replace(reference, held_out=False), find_metric("binary")) is None
    few = dataclasses.replace(
        reference, truth=reference.truth[:50], scores=reference.scores[:50], table=reference.table.slice(0, 50)
    )
    assert fit_estimator(few, find_metric("binary")) is None


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_calibration_finds_what_was_done_to_probabilities(classes):
    random = np.random.default_rng(classes)
    rows = 20_000
    right = random.dirichlet(np.ones(classes), rows).clip(1e-6)
    right /= right.sum(axis=1, keepdims=True)
    truth = (random.random((rows, 1)) >= right.cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    # Too sure by a third, and fond of the last class.
    stated = right**1.5 * np.append(np.ones(classes - 1), 2.0)
    stated /= stated.sum(axis=1, keepdims=True)
    found = fit_calibration(truth, stated)
    assert found.parameters[0] == pytest.approx(1 / 1.5, abs=0.03)
    assert np.abs(found.apply(stated) - right).mean() < 0.01
    drawn = found.draw(random, 2_000)
    assert drawn.std(axis=0) == pytest.approx(np.sqrt(np.diag(found.covariance)), rel=0.1)
    # The parameters that were undone lie within what it says it does not know.
    undone = np.append(1 / 1.5, np.append(np.zeros(classes - 2), -np.log(2.0) / 1.5))
    assert (np.abs(found.parameters - undone) < 4 * np.sqrt(np.diag(found.covariance))).all()


def test_calibration_of_a_class_that_never_occurs_stays_finite():
    random = np.random.default_rng(0)
    stated = random.dirichlet(np.ones(3), 500).clip(1e-6)
    stated /= stated.sum(axis=1, keepdims=True)
    found = fit_calibration(random.integers(0, 2, 500), stated)
    assert np.isfinite(found.parameters).all()
    assert np.isfinite(found.covariance).all()
    # Hardly ever, in 500 rows; but not never.
    assert 0 < found.apply(stated)[:, 2].mean() < 0.05
