"""Target columns to classes and back."""

import pyarrow as pa
import pytest

from loopline.components.errors import InputError
from loopline.components.model.targets import class_positions, find_classes, infer_task, is_labeled


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b", None], "binary"),
        (["a", "b", "c"], "multiclass"),
        ([True, False], "binary"),
        ([0, 1, 2], "multiclass"),
        (list(range(21)), "regression"),
        ([0.0, 1.0], "regression"),
    ],
)
def test_task_follows_the_target(values, task):
    assert infer_task(pa.array(values)) == task


@pytest.mark.parametrize("classes", [["late", "ok"], [0, 1], [False, True], [-3, 7, 12]])
def test_labels_map_to_the_positions_of_their_classes(classes):
    column = pa.chunked_array([pa.array(classes[::-1]), pa.array(classes)])
    assert find_classes(column) == classes
    upward = list(range(len(classes)))
    assert class_positions(column, classes).tolist() == [*reversed(upward), *upward]
    assert class_positions(column.dictionary_encode(), classes).tolist() == class_positions(column, classes).tolist()


def test_whole_floats_stand_for_integers():
    column = pa.array([1.0, 0.0, float("nan"), None])
    assert find_classes(column) == [0, 1]
    assert is_labeled(column).tolist() == [True, True, False, False]
    assert class_positions(pa.array([1.0, 0.0]), [0, 1]).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("values", "classes", "message"),
    [
        (["a", "z"], ["a", "b"], "holds 'z', which is not among"),
        (["a", None], ["a", "b"], "missing in 1 row"),
        ([0, 1], [False, True], "kind integer .* kind boolean"),
        ([0.5], [0, 1], "fraction 0.5"),
    ],
)
def test_labels_that_are_no_class_are_refused(values, classes, message):
    with pytest.raises(InputError, match=message):
        class_positions(pa.array(values), classes)


def test_a_constant_target_has_no_task():
    with pytest.raises(InputError, match="1 distinct"):
        infer_task(pa.array(["a", "a"]))
