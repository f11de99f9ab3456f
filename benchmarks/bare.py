"""The training pipeline's work on the flights as a script of somebody who knows the libraries: no engine, no Loopline.

The same files, rows, parameters, rounds, metrics, intervals and artifacts, step by step as the pipeline has them. What
Loopline does beyond that is left out: inference of types and schema (given here), digests, the reference profile and
golden predictions, quarantined rows, provenance, the comparison with a champion that is not there, thresholds and
baselines in the report. Two things are Loopline's because no library has them: the ONNX model with one named input a
feature, and which rows permutation importance looks at.
"""

import json
from pathlib import Path

FEATURES = (
    "carrier", "origin", "dest", "distance", "weekday", "departure_minute", "arrival_minute", "temp", "dewp", "humid",
    "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib",
)  # fmt: skip
CATEGORIES = ("carrier", "origin", "dest")
TEST_START, VALIDATION_SIZE = "2013-05-16", 0.05
PARAMS = {"max_depth": 6, "learning_rate": 0.1, "subsample": 0.8, "objective": "binary:logistic", "tree_method": "hist",
          "eval_metric": "logloss", "seed": 0}  # fmt: skip


def train_flights(pattern: str, folder: str) -> dict:
    """Do the work.

    Args:
        pattern: The flights of January to May, a glob.
        folder: An empty folder to write to.

    Returns:
        The ROC AUC on the test rows and the registered version.
    """
    folder = Path(folder)
    ingest(pattern, folder / "data.parquet")
    validate(folder / "data.parquet", folder / "valid.parquet")
    split(folder / "valid.parquet", folder)
    categories = train(folder)
    metrics = evaluate(folder, categories)
    return {"roc_auc": metrics["roc_auc"]["value"], "version": register(folder, metrics)}


def ingest(pattern: str, target: Path) -> None:
    """Read compressed CSV, write Parquet."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    pq.write_table(
        pa.concat_tables([pa.csv.read_csv(file) for file in sorted(Path(pattern).parent.glob(Path(pattern).name))]),
        target,
    )


def validate(source: Path, target: Path) -> None:
    """Check types, ranges and gaps with pandera, write the rows that pass."""
    import pandas as pd
    import pandera.pandas as pa

    frame = pd.read_parquet(source)
    numbers = {name: pa.Column(float, nullable=True, coerce=True) for name in FEATURES if name not in CATEGORIES}
    numbers["wind_speed"] = pa.Column(float, pa.Check.le(200), nullable=True, coerce=True)
    text = {name: pa.Column(str) for name in CATEGORIES}
    schema = pa.DataFrameSchema({**text, **numbers, "late": pa.Column(bool), "time_hour": pa.Column()})
    schema.validate(frame, lazy=True).to_parquet(target)


def split(source: Path, folder: Path) -> None:
    """Split by time: the second half of May is the test, the twentieth part before it the validation."""
    import pandas as pd

    frame = pd.read_parquet(source).sort_values("time_hour", kind="stable")
    test = frame["time_hour"] >= pd.Timestamp(TEST_START, tz=frame["time_hour"].dt.tz)
    rest = frame[~test]
    cut = rest["time_hour"].iloc[int(len(rest) * (1 - VALIDATION_SIZE))]
    rest[rest["time_hour"] < cut].to_parquet(folder / "train.parquet")
    rest[rest["time_hour"] >= cut].to_parquet(folder / "validation.parquet")
    frame[test].to_parquet(folder / "test.parquet")


def train(folder: Path) -> dict:
    """Train with early stopping, write the booster and an ONNX model that is checked against it."""
    import numpy as np
    import onnxruntime
    import pandas as pd
    import xgboost

    from loopline.components.data.schema import Column, Schema
    from loopline.components.training.onnx_export import booster_to_onnx
    from loopline.components.training.plan import Plan

    rows = {name: pd.read_parquet(folder / f"{name}.parquet") for name in ("train", "validation")}
    categories = {name: sorted(rows["train"][name].unique()) for name in CATEGORIES}
    matrices = {name: encode(frame, categories) for name, frame in rows.items()}
    types = ["c" if name in CATEGORIES else "q" for name in FEATURES]
    learn = xgboost.QuantileDMatrix(
        matrices["train"], rows["train"]["late"], feature_types=types, enable_categorical=True
    )
    watch = xgboost.QuantileDMatrix(
        matrices["validation"], rows["validation"]["late"], feature_types=types, enable_categorical=True, ref=learn
    )
    booster = xgboost.train(
        PARAMS, learn, 300, evals=[(watch, "validation")], early_stopping_rounds=20, verbose_eval=False
    )
    booster = booster[: booster.best_iteration + 1]
    booster.save_model(folder / "model.ubj")
    columns = [
        Column(name, "category", categories=tuple(categories[name])) if name in CATEGORIES else Column(name, "number")
        for name in FEATURES
    ]
    plan = Plan("late", "binary", [False, True], Schema(tuple(columns)), {}, len(rows["train"]))
    (folder / "model.onnx").write_bytes(booster_to_onnx(booster, plan))
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    some = rows["train"].sample(20_000, random_state=0)
    native = booster.predict(xgboost.DMatrix(encode(some, categories), feature_types=types, enable_categorical=True))
    assert np.allclose(predict(session, some), native, atol=1e-5)
    return categories


def encode(frame, categories: dict):
    """Return the features as a matrix, text as the position of its category."""
    import numpy as np
    import pandas as pd

    columns = [
        pd.Categorical(frame[name], categories[name]).codes if name in CATEGORIES else frame[name] for name in FEATURES
    ]
    matrix = np.column_stack([np.asarray(column, np.float32) for column in columns])
    matrix[:, : len(CATEGORIES)][matrix[:, : len(CATEGORIES)] < 0] = np.nan
    return matrix


def predict(session, frame):
    """Return the probability of being late of each row."""
    import numpy as np

    inputs = {
        name: frame[name].to_numpy(object if name in CATEGORIES else np.float32).reshape(-1, 1) for name in FEATURES
    }
    return session.run(["probabilities"], inputs)[0][:, 1]


def evaluate(folder: Path, categories: dict) -> dict:
    """Score with intervals, overall and by origin and carrier, shuffle the features, draw the report's figures."""
    import numpy as np
    import onnxruntime
    import pandas as pd

    frame = pd.read_parquet(folder / "test.parquet")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    truth, probability = frame["late"].to_numpy(), predict(session, frame)
    metrics = intervals(truth, probability, all_metrics, 500)
    slices = {}
    for column in ("origin", "carrier"):
        for value in frame[column].value_counts().index[:10]:
            chosen = (frame[column] == value).to_numpy()
            slices[f"{column} {value}"] = intervals(truth[chosen], probability[chosen], main_metrics, 200)
    some = frame.sample(10_000, random_state=0)
    before = main_metrics(some["late"].to_numpy(), predict(session, some))["log_loss"]
    random, importance = np.random.default_rng(0), {}
    for name in FEATURES:
        rises = []
        for _ in range(3):
            shuffled = some.assign(**{name: random.permutation(some[name].to_numpy())})
            rises.append(main_metrics(some["late"].to_numpy(), predict(session, shuffled))["log_loss"] - before)
        importance[name] = float(np.mean(rises))
    (folder / "report.html").write_text(draw(truth, probability, slices, importance))
    (folder / "metrics.json").write_text(json.dumps({"metrics": metrics, "slices": slices, "importance": importance}))
    return metrics


def all_metrics(truth, probability) -> dict:
    """The metrics of the report, by scikit-learn."""
    from sklearn import metrics as sk

    called = probability >= 0.5
    return main_metrics(truth, probability) | {
        "average_precision": sk.average_precision_score(truth, probability),
        "brier": sk.brier_score_loss(truth, probability),
        "accuracy": sk.accuracy_score(truth, called),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, called),
        "precision": sk.precision_score(truth, called, zero_division=0),
        "recall": sk.recall_score(truth, called),
        "f1": sk.f1_score(truth, called),
    }


def main_metrics(truth, probability) -> dict:
    """The metrics of a slice."""
    from sklearn import metrics as sk

    return {
        "log_loss": sk.log_loss(truth, probability, labels=[False, True]),
        "roc_auc": sk.roc_auc_score(truth, probability),
    }


def intervals(truth, probability, score, replicates: int) -> dict:
    """Score rows, with percentile bootstrap intervals."""
    import numpy as np

    random, values = np.random.default_rng(0), score(truth, probability)
    drawn = [random.integers(0, len(truth), len(truth)) for _ in range(replicates)]
    found = [score(truth[rows], probability[rows]) for rows in drawn if 0 < truth[rows].sum() < len(rows)]
    bounds = {name: np.quantile([one[name] for one in found], [0.025, 0.975]).tolist() for name in values}
    return {name: {"value": float(value), "interval": bounds[name]} for name, value in values.items()}


def draw(truth, probability, slices: dict, importance: dict) -> str:
    """Draw what the report draws: curves, scores, matrix, calibration, importance and slices, as SVG."""
    import io

    from matplotlib.figure import Figure
    from sklearn import metrics as sk
    from sklearn.calibration import calibration_curve

    def page(*plots) -> str:
        figure = Figure(figsize=(9.8, 4), layout="constrained")
        for axes, plot in zip(figure.subplots(1, len(plots), squeeze=False)[0], plots, strict=True):
            plot(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", bbox_inches="tight")
        return buffer.getvalue()

    false, true, _ = sk.roc_curve(truth, probability)
    precision, recall, _ = sk.precision_recall_curve(truth, probability)
    observed, stated = calibration_curve(truth, probability, n_bins=10, strategy="quantile")
    matrix = sk.confusion_matrix(truth, probability >= 0.5)
    figures = [
        page(lambda axes: axes.plot(false, true), lambda axes: axes.plot(recall, precision)),
        page(
            lambda axes: axes.hist([probability[truth], probability[~truth]], 40, density=True),
            lambda axes: sk.ConfusionMatrixDisplay(matrix).plot(ax=axes),
        ),
        page(lambda axes: axes.plot(stated, observed, "o-"), lambda axes: axes.hist(probability, 40)),
        page(lambda axes: axes.barh(list(importance), list(importance.values()))),
    ]
    for column in ("origin", "carrier"):
        part = {name: one["log_loss"] for name, one in slices.items() if name.startswith(column)}
        middle = [one["value"] for one in part.values()]
        error = list(
            zip(
                *((one["value"] - one["interval"][0], one["interval"][1] - one["value"]) for one in part.values()),
                strict=True,
            )
        )
        figures.append(
            page(
                lambda axes, part=part, middle=middle, error=error: axes.errorbar(
                    middle, list(part), xerr=error, fmt="o"
                )
            )
        )
    return "".join(figures)


def register(folder: Path, metrics: dict) -> int:
    """Log the run in MLflow on SQLite, register the model, make it the champion."""
    import mlflow
    import onnx

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("flights", artifact_location=str(folder / "mlartifacts"))
    with mlflow.start_run(experiment_id=experiment):
        mlflow.log_params(PARAMS)
        mlflow.log_metrics({name: entry["value"] for name, entry in metrics.items()})
        mlflow.log_artifact(str(folder / "report.html"), "report")
        info = mlflow.onnx.log_model(
            onnx.load(str(folder / "model.onnx")), name="model", registered_model_name="flights",
            pip_requirements=["onnxruntime"],
        )  # fmt: skip
    client.set_registered_model_alias("flights", "champion", str(info.registered_model_version))
    return int(info.registered_model_version)
