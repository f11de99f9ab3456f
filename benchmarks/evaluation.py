"""evaluate_model's figures with intervals beside scikit-learn's metrics resampled in a loop."""

import json
import tempfile
from pathlib import Path

from benchmarks.race import Runner, race
from benchmarks.result import Table, Text

REPLICATES = 1000


def with_loopline(model: str, test: str, replicates: int = REPLICATES) -> int:
    """Evaluate as the component does, without feature importance; returns the number of metrics with an interval."""
    from loopline.components.evaluation.evaluate import Settings, evaluate
    from loopline.components.evaluation.page import evaluation_report

    found = evaluate(model, test, Settings(bootstrap=replicates, importance_repeats=0))
    evaluation_report(found).write(f"{test}.html")
    return sum(entry["low"] is not None for entry in found.metrics.values())


def with_sklearn(model: str, test: str, replicates: int = REPLICATES) -> int:
    """Predict with ONNX Runtime, then compute the same metrics on rows drawn with replacement, again and again."""
    import numpy as np
    import onnxruntime
    import pyarrow.parquet as pq

    session = onnxruntime.InferenceSession(f"{model}/model.onnx")
    table = pq.read_table(test)
    rows = {
        one.name: table.column(one.name).to_numpy().astype(np.float32).reshape(-1, 1) for one in session.get_inputs()
    }
    probability = session.run(["probabilities"], rows)[0][:, 1]
    truth = table.column("y").to_numpy().astype(int)
    random = np.random.default_rng(0)
    found = []
    for _ in range(replicates):
        drawn = random.integers(0, len(truth), len(truth))
        found.append(_metrics(truth[drawn], probability[drawn]))
    return np.percentile(found, [2.5, 97.5], axis=0).shape[1]


def _metrics(truth, probability) -> list[float]:
    from sklearn import calibration, metrics

    called = probability >= 0.5
    share, stated = calibration.calibration_curve(truth, probability, n_bins=10, strategy="quantile")
    return [
        metrics.roc_auc_score(truth, probability),
        metrics.average_precision_score(truth, probability),
        metrics.log_loss(truth, probability),
        metrics.brier_score_loss(truth, probability),
        abs(share - stated).mean(),
        metrics.accuracy_score(truth, called),
        metrics.balanced_accuracy_score(truth, called),
        metrics.precision_score(truth, called),
        metrics.recall_score(truth, called),
        metrics.f1_score(truth, called),
    ]


def predict_only(model: str, test: str, replicates: int) -> int:
    """Predict the rows and score them once."""
    return with_sklearn(model, test, replicates=1)


def run(rows: int = 5_000, many: int = 1_000_000, repeats: int = 5, replicates: int = REPLICATES) -> list[Table | Text]:
    """Measure each side in processes of its own.

    Args:
        rows: Test rows that both evaluate.
        many: Test rows that Loopline evaluates beside that; what scikit-learn would need is minutes.
        repeats: Runs of each.
        replicates: Resamples of the bootstrap.
    """
    from benchmarks.training import make_data
    from loopline.components.training.train import train_boosted_trees

    with tempfile.TemporaryDirectory(prefix="evaluation-benchmark-") as folder:
        model, paths = f"{folder}/model", {}
        for name, count in (("train", 20_000), ("few", rows), ("many", many)):
            (Path(folder) / name).mkdir()
            make_data(f"{folder}/{name}", count, 20)
            paths[name] = f"{folder}/{name}/train.parquet"
        params = json.dumps({"max_depth": 6})
        train_boosted_trees(paths["train"], None, f"{folder}/train/schema.json", model, params=params, rounds=50)
        few, lots = ({"model": model, "test": paths[name], "replicates": replicates} for name in ("few", "many"))
        bare = ("onnxruntime", "pyarrow.parquet", "sklearn.metrics", "sklearn.calibration")
        sides = [
            Runner("`evaluate_model`", "benchmarks.evaluation:with_loopline", few, "ours", _OURS),
            Runner("scikit-learn in a loop", "benchmarks.evaluation:with_sklearn", few, imports=bare),
            Runner("predicting, and one pass", "benchmarks.evaluation:predict_only", few, "limit", bare),
            Runner(
                f"`evaluate_model`, {many:,} rows", "benchmarks.evaluation:with_loopline", lots, "other", _OURS
            ),
        ]  # fmt: skip
        title = f"{rows:,} test rows x 20 features: ten metrics, each with an interval of {replicates:,} resamples"
        table = race(title, sides, repeats, agree=True)
    return [table, Text("`evaluate_model` also writes the report with its plots. Both compute the same ten metrics.")]


_OURS = ("loopline.components.evaluation.evaluate", "loopline.components.evaluation.page", "onnxruntime")
