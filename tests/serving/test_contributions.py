"""Contributions against Shapley values worked out from their definition, and as the server answers them."""

import itertools
import math

import numpy as np
import pytest
import requests
from serving_models import golden_request, many_rows

from loopline.components.delivery.inference import build_request
from loopline.components.serving.contributions import MAX_ROWS, MAX_VALUES, Explainer

RANDOM = np.random.default_rng(0)
REFERENCE = {
    "size": RANDOM.normal(size=200).astype(np.float32),
    "count": RANDOM.integers(0, 5, 200).astype(np.float32),
    "color": RANDOM.choice(["red", "green", ""], 200).astype(object),
}


def score(columns: dict[str, np.ndarray]) -> np.ndarray:
    """A function in which every feature acts with every other."""
    red = columns["color"] == "red"
    return np.tanh(columns["size"] * (1 + red) + 0.3 * columns["count"]) + red * (columns["count"] > 2)


def exact(row: dict) -> list[float]:
    """Shapley's formula over all subsets, the others' values taken from each reference row in turn."""
    names = list(row)

    def value(known: set) -> float:
        mixed = {
            name: np.full(200, row[name], values.dtype) if name in known else values
            for name, values in REFERENCE.items()
        }
        return float(score(mixed).mean())

    found = []
    for name in names:
        others = [other for other in names if other != name]
        total = 0.0
        for size in range(len(names)):
            weight = math.factorial(size) * math.factorial(len(names) - size - 1) / math.factorial(len(names))
            for subset in itertools.combinations(others, size):
                total += weight * (value({*subset, name}) - value(set(subset)))
        found.append(total)
    return found


def test_close_to_the_definition_and_exact_in_sum():
    explainer = Explainer(score, REFERENCE)
    rows = {"size": np.float32([1.5, -2.0]), "count": np.float32([4, 0]), "color": np.array(["red", "green"], object)}
    found = explainer.explain(rows)
    scores = score(rows)
    for row in range(2):
        expected = exact({name: values[row] for name, values in rows.items()})
        # The scores span about 3; the sample of 100 reference rows leaves a few hundredths.
        np.testing.assert_allclose(found[row], expected, atol=0.1)
        assert np.argmax(np.abs(found[row])) == np.argmax(np.abs(expected))
    np.testing.assert_allclose(found.sum(axis=1) + explainer.baseline, scores, atol=1e-6)
    assert explainer.baseline == pytest.approx(score(REFERENCE).mean(), abs=0.02)
    assert (explainer.explain(rows) == found).all()


def test_what_plays_no_part_gets_nothing():
    explainer = Explainer(lambda columns: 2 * columns["size"], REFERENCE)
    rows = {"size": np.float32([3.0]), "count": np.float32([9]), "color": np.array(["blue"], object)}
    found = explainer.explain(rows)[0]
    assert found[1] == found[2] == 0
    assert found[0] == pytest.approx(6.0 - explainer.baseline, abs=1e-6)


def test_one_feature_and_few_reference_rows():
    explainer = Explainer(lambda columns: columns["size"], {"size": np.float32([1, 2, 3])})
    assert explainer.explain({"size": np.float32([5])}).tolist() == [[3.0]]


def test_many_features_take_bounded_memory():
    """Else a thousand features would take a gigabyte, and keep it."""
    features, largest = 600, 0

    def total(columns):
        nonlocal largest
        largest = max(largest, sum(len(values) for values in columns.values()))
        return sum(columns.values())

    reference = {str(number): RANDOM.normal(size=120).astype(np.float32) for number in range(features)}
    explainer = Explainer(total, reference)
    row = {name: np.float32([number]) for number, name in enumerate(reference)}
    found = explainer.explain(row)
    assert largest <= MAX_VALUES
    assert found.shape == (1, features)
    assert found.sum() + explainer.baseline == pytest.approx(features * (features - 1) / 2, rel=1e-4)


def test_the_server_explains_the_last_class(server, model):
    golden, request = golden_request(model, 3)
    url = server.url + "/v2/models/small-late/infer"
    answer = requests.post(url, json={**request, "parameters": {"contributions": True}}, timeout=30).json()
    outputs = {output["name"]: np.reshape(output["data"], output["shape"]) for output in answer["outputs"]}
    assert list(outputs) == ["label", "probabilities", "contributions", "baseline"]
    assert outputs["contributions"].shape == (3, len(golden.features.columns))
    total = outputs["contributions"].sum(axis=1) + outputs["baseline"]
    np.testing.assert_allclose(total, outputs["probabilities"][:, -1], atol=1e-5)
    assert np.abs(outputs["contributions"]).max() > 0.01


@pytest.mark.parametrize(("wanted", "rows"), [("yes", 1), (1, 1), (True, MAX_ROWS + 1)])
def test_what_cannot_be_explained(server, model, wanted, rows):
    golden, _ = golden_request(model, 4)
    request = build_request(many_rows(golden, rows), golden.features)
    url = server.url + "/v2/models/small-late/infer"
    answer = requests.post(url, json={**request, "parameters": {"contributions": wanted}}, timeout=30)
    assert answer.status_code == 400
    assert "contributions" in answer.json()["error"]
