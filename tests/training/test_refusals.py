"""What cannot be trained is refused in one sentence, before any work."""

import pyarrow as pa
import pytest
from training_tables import OTHERS, make_table

from loopline.components.data.schema import Column, Schema
from loopline.components.data.tables import write_table
from loopline.components.errors import InputError
from loopline.components.training.train import train_boosted_trees, train_estimator
from loopline.components.training.trials import list_parameter_sets


def _refusal(function, tables, **changes) -> str:
    arguments = {"target": "late", "exclude": OTHERS["late"], **changes}
    with pytest.raises(InputError) as caught:
        function(tables.train, tables.validation, tables.schema, tables.model, **arguments)
    assert not tables.model.exists()
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"params": '{"depth": 3}'}, 'XGBoost has no parameter "depth": check its name in XGBoost\'s manual.'),
        ({"params": '{"max_depth": -3}'}, "XGBoost refuses these parameters"),
        ({"params": '{"learning_rate": "fast"}'}, "XGBoost refuses these parameters"),
        ({"params": "max_depth=3"}, "params 'max_depth=3' is not a JSON object"),
        ({"params": "[1]"}, "params '[1]' is not a JSON object"),
        ({"params": '{"seed": 1}'}, "use the argument seed"),
        ({"params": '{"objective": "reg:squarederror"}'}, "follows from the classes"),
        ({"rounds": 0}, "Rounds must be at least 1, not 0."),
        ({"class_weight": '{"yes": 2}'}, "must give a positive weight for each of false, true"),
        ({"target": "lateness"}, "'lateness' is not in the schema"),
        ({"target": ""}, "No target is named"),
        ({"target": "amount", "task": "binary", "exclude": "late,grade"}, "which is no class: use regression"),
        ({"target": "grade", "task": "binary", "exclude": "late,amount"}, "Task binary does not fit target 'grade'"),
        ({"target": "grade", "task": "regression", "exclude": "late,amount"}, "which regression cannot predict"),
        ({"task": "ranking"}, "Task 'ranking' is unknown"),
        ({"exclude": "size,count,color,grade,amount"}, "No feature is left"),
        ({"exclude": "speed"}, "'speed' is not in the schema"),
        ({"features": "size,late"}, "Target 'late' is listed as a feature"),
        ({"features": "when"}, "Column 'when' cannot be a feature: a timestamp"),
    ],
)
def test_xgboost(tables, changes, sentence):
    assert sentence in _refusal(train_boosted_trees, tables, **changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"estimator": "RandomForst"}, "has no classifier named 'RandomForst': did you mean RandomForestClassifier"),
        ({"estimator": "Ridge"}, "scikit-learn has no classifier named 'Ridge'"),
        ({"estimator": "LinearSVC"}, "gives no probabilities"),
        ({"estimator": "GaussianNB", "params": '{"depth": 3}'}, "GaussianNB has no parameter 'depth': it takes"),
        ({"estimator": "RandomForestClassifier", "params": '{"n_estimators": -3}'}, "Got -3 instead"),
    ],
)
def test_sklearn(tables, changes, sentence):
    assert sentence in _refusal(train_estimator, tables, **changes)


def test_data_that_do_not_suit_the_estimator(tables):
    """Counts cannot be negative for a multinomial model; the estimator's own reason is kept."""
    assert "cannot be fitted to these data" in _refusal(train_estimator, tables, estimator="MultinomialNB")


def test_features_named_like_a_prediction(tables):
    columns = (Column("probability_True", "number"), Column("late", "boolean"))
    table = make_table(50, 1).select(["size", "late"]).rename_columns(["probability_True", "late"])
    write_table(tables.train, table)
    Schema(columns).save(tables.schema)
    assert "is named like a prediction" in _refusal(train_boosted_trees, tables, exclude="")


def test_missing_target_values(tables):
    table = make_table(50, 1)
    late = pa.array([None, *table["late"].to_pylist()[1:]], pa.bool_())
    write_table(tables.train, table.set_column(table.schema.get_field_index("late"), "late", late))
    assert "missing in 1 row" in _refusal(train_boosted_trees, tables)


@pytest.mark.parametrize("value", [float("inf"), -1e39])
def test_a_feature_beyond_single_precision(tables, value):
    table = make_table(3000, 1)
    sizes = pa.array([value, *table["size"].to_pylist()[1:]])
    write_table(tables.train, table.set_column(table.column_names.index("size"), "size", sizes))
    assert "Feature 'size' has a value that is infinite, or beyond 3.4e38" in _refusal(train_boosted_trees, tables)


def test_no_rows(tables):
    write_table(tables.train, make_table(0, 1))
    assert "has no rows" in _refusal(train_boosted_trees, tables)


def test_one_class(tables):
    table = make_table(50, 1)
    same = pa.array([True] * 50)
    write_table(tables.train, table.set_column(table.schema.get_field_index("late"), "late", same))
    assert "1 distinct value" in _refusal(train_boosted_trees, tables)


def test_a_column_with_too_many_values_is_left_out_and_named(tables, caplog):
    columns = (Column("size", "number"), Column("color", "category"), Column("late", "boolean"))
    Schema(columns).save(tables.schema)
    caplog.set_level("INFO", "loopline")
    manifest = train_boosted_trees(tables.train, None, tables.schema, tables.model, target="late", rounds=2)
    assert manifest.training["left_out"] == {"color": "too many distinct values to learn from"}
    assert "left out color" in caplog.text


@pytest.mark.parametrize(
    ("text", "sets"),
    [
        ('[{"a": 1}, {"a": 2}, {"a": 1}]', ['{"a": 1}', '{"a": 2}']),
        ('{"a": [1, 2], "b": [0.5]}', ['{"a": 1, "b": 0.5}', '{"a": 2, "b": 0.5}']),
        ("[{}]", ["{}"]),
    ],
)
def test_parameter_sets(text, sets):
    assert list_parameter_sets(text) == sets


@pytest.mark.parametrize("text", ["", "[]", "3", '{"a": 1}', "[1]", '{"a": []}', f'{{"a": {list(range(201))}}}'])
def test_parameter_sets_that_are_none(text):
    with pytest.raises(InputError, match=r"parameter sets?"):
        list_parameter_sets(text)
