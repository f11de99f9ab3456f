"""Train any estimator of scikit-learn by its public name, inside a pipeline that prepares the columns."""

import inspect
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import all_estimators

from loopline.components.data.tables import read_table
from loopline.components.errors import InputError
from loopline.components.model.predictor import as_frame, feature_columns
from loopline.components.parameters import parse_object
from loopline.components.training.plan import Plan


@dataclass
class SklearnModel:
    """A fitted scikit-learn pipeline.

    Attributes:
        pipeline: From feature columns to predictions.
        plan: What it learned from which columns.
    """

    pipeline: Pipeline
    plan: Plan

    native_format = "skops"

    def score(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Predict from feature columns; shapes as ``Predictor.predict`` gives them."""
        frame = as_frame(columns)
        return self.pipeline.predict_proba(frame) if self.plan.is_classification else self.pipeline.predict(frame)

    def save(self, path: Path, allow_pickle: bool) -> str:
        """Write the model with skops, or as a pickle when that is allowed; returns the file's name."""
        if allow_pickle:
            import joblib

            joblib.dump(self.pipeline, path / "model.joblib")
            return "model.joblib"
        from loopline.components.training.skops_file import dump_skops

        dump_skops(self.pipeline, path / "model.skops")
        return "model.skops"

    def to_onnx(self) -> bytes:
        """Convert to ONNX with one input a feature."""
        from loopline.components.training.onnx_export import pipeline_to_onnx

        return pipeline_to_onnx(self.pipeline, self.plan)


def fit_sklearn(train: str | Path, plan: Plan, estimator: str, params: str = "{}", seed: int = 0) -> SklearnModel:
    """Fit an estimator of scikit-learn on a table.

    Args:
        train: The training table; it is read into memory.
        plan: What to learn from which columns.
        estimator: The class's public name, e.g. ``RandomForestClassifier``.
        params: Its parameters as a JSON object.
        seed: Given to every ``random_state``.

    Returns:
        The fitted model.

    Raises:
        InputError: The estimator or a parameter is unknown, or the data do not suit it.
    """
    model = make_estimator(estimator, params, plan, seed)
    table = read_table(train, [*plan.features.names, plan.target])
    labels = plan.encode_target(table.column(plan.target))
    frame = as_frame(feature_columns(table, plan.features))
    del table
    pipeline = Pipeline([("prepare", _preparation(plan, model)), ("estimator", model)])
    try:
        pipeline.fit(frame, labels)
    except ValueError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{estimator} with {params} cannot be fitted to these data: {reason}") from error
    return SklearnModel(pipeline, plan)


def make_estimator(name: str, params: str, plan: Plan, seed: int) -> BaseEstimator:
    """Make an estimator from its public name and JSON parameters.

    Args:
        name: The class's public name, e.g. ``RandomForestClassifier``.
        params: Its parameters as a JSON object.
        plan: What will be learned; a classifier must give probabilities.
        seed: Given to ``random_state`` unless the parameters set it.

    Returns:
        The estimator, not yet fitted.

    Raises:
        InputError: There is no such estimator for the task, or a parameter is unknown or has an impossible value.
    """
    kind = "classifier" if plan.is_classification else "regressor"
    known = dict(all_estimators(type_filter=kind))
    if name not in known:
        close = _close_names(name, known)
        raise InputError(
            f"scikit-learn has no {kind} named {name!r}: {close or 'see its API reference for the names.'}"
        )
    given = parse_object(params, "params", '{"max_depth": 6}')
    allowed = set(inspect.signature(known[name]).parameters)
    unknown = sorted(given.keys() - allowed)
    if unknown:
        raise InputError(f"{name} has no parameter {unknown[0]!r}: it takes {', '.join(sorted(allowed))}.")
    if "random_state" in allowed:
        given.setdefault("random_state", seed)
    try:
        model = known[name](**given)
        model._validate_params()
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} refuses {params}: {str(error).strip().splitlines()[0]}") from None
    if plan.is_classification and not hasattr(model, "predict_proba"):
        raise InputError(
            f"{name} gives no probabilities with {params}: choose a classifier with predict_proba, such as "
            "LogisticRegression or HistGradientBoostingClassifier."
        )
    return model


def _close_names(name: str, known: dict) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else ""


def _preparation(plan: Plan, model: BaseEstimator) -> ColumnTransformer:
    """Impute and scale numbers, turn text into indicator columns; a missing or unseen category has none set."""
    numeric = [column.name for column in plan.features.columns if column.kind != "category"]
    text = [column for column in plan.features.columns if column.kind == "category"]
    sparse = model.__sklearn_tags__().input_tags.sparse and sum(len(c.categories or ()) for c in text) > 200
    parts = []
    if numeric:
        # A column that is missing throughout must keep its place, or the model's inputs would shift.
        parts.append(
            (
                "numeric",
                make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()),
                numeric,
            )
        )
    if text:
        encoder = OneHotEncoder(
            categories=[np.array(column.categories or ("",), object) for column in text],
            handle_unknown="ignore",
            sparse_output=bool(sparse),
            dtype=np.float32,
        )
        parts.append(("text", encoder, [column.name for column in text]))
    return ColumnTransformer(parts, sparse_threshold=1.0 if sparse else 0.0)
