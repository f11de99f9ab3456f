"""The evaluation stage as Kubeflow Pipelines components."""

from typing import List

from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from loopline.components.step import step


@step
def evaluate_model(
    model: Input[Model],
    test: Input[Dataset],
    metrics: Output[Metrics],
    classification: Output[ClassificationMetrics],
    report: Output[HTML],
    slices: str = "",
    threshold: float = 0.5,
    bootstrap: int = 500,
    importance_repeats: int = 3,
    seed: int = 0,
):
    """Judge a model on test rows: metrics with 95 percent intervals, slices, feature importance and a report.

    Args:
        model: The model directory.
        test: Rows with the model's features and its target; rows without a label are left out and counted.
        metrics: Each metric and its interval (roc_auc, roc_auc_low, roc_auc_high); its file holds the whole
            evaluation as JSON.
        classification: ROC curve (two classes) and confusion matrix; empty for regression.
        report: One page with figures, tables and plots.
        slices: Comma-separated columns to score the model by, part by part.
        threshold: Two classes: the probability from which a row is called positive, between 0 and 1.
        bootstrap: Bootstrap replicates of the intervals; 0 for none, else at least 50.
        importance_repeats: How often each feature is shuffled to see what it is worth; 0 for never.
        seed: Random seed; the same input and parameters give the same figures.
    """
    from loopline.components.evaluation.evaluate import Settings, evaluate, log_classification
    from loopline.components.evaluation.page import evaluation_report
    from loopline.components.parameters import split_names

    settings = Settings(tuple(split_names(slices)), threshold, bootstrap, importance_repeats, seed)
    evaluation = evaluate(model.path, test.path, settings)
    page = evaluation_report(evaluation)
    for name, value in evaluation.flat_metrics().items():
        metrics.log_metric(name, value)
    metrics.log_metric("rows", evaluation.rows)
    log_classification(evaluation, classification)
    evaluation.save(metrics.path)
    page.write(report.path)


@step
def compare_models(
    challenger: Input[Model],
    champion: Input[Model],
    test: Input[Dataset],
    verdict: Output[Artifact],
    report: Output[HTML],
    metric: str = "",
    lower_is_better: str = "auto",
    margin: float = 0.0,
    confidence: float = 0.95,
    bootstrap: int = 1000,
    seed: int = 0,
) -> str:
    """Decide whether a challenger replaces the champion: a paired bootstrap of the difference on the same rows.

    Args:
        challenger: The new model's directory.
        champion: The current model's directory, or one that says there is none yet.
        test: Rows with the features of both and the target.
        verdict: The decision and its evidence as JSON; the main values stand in its metadata.
        report: One page with the distribution of the difference.
        metric: A metric of the task; log_loss for classes and rmse for numbers when empty.
        lower_is_better: auto to go by the metric; true or false is checked against it.
        margin: The challenger must be better by more than this, in the metric's unit.
        confidence: How sure that must be: the interval's share, between 0.5 and 1.
        bootstrap: Bootstrap replicates, at least 50.
        seed: Random seed; the same input and parameters give the same verdict.

    Returns:
        "promote" or "keep".
    """
    from loopline.components.evaluation.compare import Contest, compare
    from loopline.components.evaluation.page import verdict_report

    contest = Contest(metric, lower_is_better, margin, confidence, bootstrap, seed)
    result, differences = compare(challenger.path, champion.path, test.path, contest)
    page = verdict_report(result, differences)
    verdict.metadata.update(result.metadata)
    result.save(verdict.path)
    page.write(report.path)
    return result.verdict


@step
def select_model(
    models: Input[List[Model]],
    best: Output[Model],
    trials: Output[HTML],
    metric: str = "",
    lower_is_better: str = "auto",
) -> int:
    """Pick the best of the models of a sweep by the score each recorded on its validation rows.

    Args:
        models: Model directories of one task, each with a validation score in its manifest.
        best: A copy of the best model's directory; the first among equals.
        trials: A table of all trials.
        metric: A metric the models recorded; log_loss for classes and rmse for numbers when empty.
        lower_is_better: auto to go by the metric; true or false is checked against it.

    Returns:
        The position of the best model, from 0.
    """
    from loopline.components.evaluation.page import trials_report
    from loopline.components.evaluation.select import copy_model, select

    paths = [model.path for model in models]
    selection = select(paths, metric, lower_is_better)
    page = trials_report(selection)
    copy_model(paths[selection.position], best.path)
    best.metadata.update(selection.metadata)
    page.write(trials.path)
    return selection.position
