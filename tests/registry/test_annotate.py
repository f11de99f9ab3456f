import json
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from loopline.components.errors import InputError
from loopline.components.registry.annotate import annotate
from loopline.components.registry.components import annotate_model
from loopline.components.registry.register import register
from loopline.components.registry.store import open_store
from loopline.components.registry.versions import promote

DECISION = {
    "verdict": "retrain",
    "reasons": ["log loss 0.61 where 0.55 was registered."] * 100,
    "window": {"start": "2026-03-01T00:00:00+00:00", "end": "2026-03-02T00:00:00+00:00"},
    "model_digest": "sha256:judged",
    "drift_score": 0.123456789,
    "metric": {"name": "log_loss", "value": 0.61},
}


def tags(version):
    with open_store() as store:
        found = store.client.get_model_version("flights", str(version)).tags
    return {key.removeprefix("loopline.monitoring."): value for key, value in found.items() if "monitoring" in key}


@pytest.fixture
def versions(trained, retrained, home):
    """Two versions, of which the first is the champion."""
    register(*trained.paths(), "flights")
    register(*retrained.paths(), "flights")
    promote("flights", 1)


@pytest.fixture
def written(monkeypatch):
    """What is written to versions from here on."""
    calls, write = [], MlflowClient.set_model_version_tag

    def counted(client, *arguments):
        calls.append(arguments[2].removeprefix("loopline.monitoring."))
        return write(client, *arguments)

    monkeypatch.setattr(MlflowClient, "set_model_version_tag", counted)
    return calls


@pytest.mark.usefixtures("versions")
def test_tags_of_the_champion_or_of_a_version_are_set_once(written):
    assert annotate("flights", 0, {"ticket": "OPS-17", "verdict": "wait"}) == 1
    assert annotate("flights", 2, {"verdict": "alert"}) == 2
    assert (tags(1), tags(2)) == ({"ticket": "OPS-17", "verdict": "wait"}, {"verdict": "alert"})
    assert annotate("flights", 1, {"ticket": "OPS-17", "verdict": "retrain"}) == 1
    assert tags(1) == {"ticket": "OPS-17", "verdict": "retrain"}
    assert written == ["ticket", "verdict", "verdict", "verdict"]  # the ticket was there already


@pytest.mark.usefixtures("versions")
def test_a_value_that_is_too_long_is_cut(written):
    for _ in range(2):
        annotate("flights", 1, {"note": "x" * 9000})
    assert len(tags(1)["note"]) == 5000
    assert written == ["note"]


@pytest.mark.usefixtures("versions")
def test_the_component_notes_the_decision_with_the_verdict_last(written, tmp_path):
    (tmp_path / "decision").write_text(json.dumps(DECISION))
    artifact = SimpleNamespace(path=str(tmp_path / "decision"))
    number = annotate_model.python_func(decision=artifact, name="flights", version=2, values='{"ticket": "OPS-17"}')
    assert number == 2
    found = tags(2)
    assert found.pop("reasons") == " ".join(DECISION["reasons"])[:1000]
    assert found == {
        "ticket": "OPS-17",
        "window_start": "2026-03-01T00:00:00+00:00",
        "window_end": "2026-03-02T00:00:00+00:00",
        "model_digest": "sha256:judged",
        "drift_score": "0.123457",
        "metric": "log_loss",
        "metric_value": "0.61",
        "verdict": "retrain",
    }
    assert written[-1] == "verdict"


@pytest.mark.usefixtures("versions")
def test_what_is_unknown_gets_no_tag(tmp_path):
    unknown = {**DECISION, "reasons": [], "drift_score": None, "metric": {"name": "log_loss", "value": None}}
    (tmp_path / "decision").write_text(json.dumps(unknown))
    annotate_model.python_func(decision=SimpleNamespace(path=str(tmp_path / "decision")), name="flights")
    assert set(tags(1)) == {"window_start", "window_end", "model_digest", "verdict"}


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize(
    ("name", "version", "values", "message"),
    [
        ("flights", 3, {"verdict": "wait"}, "Model 'flights' has no version 3 to annotate"),
        ("trains", 0, {"verdict": "wait"}, "Model 'trains' has no champion to annotate"),
        ("flights", -1, {"verdict": "wait"}, "version is -1"),
        ("flights", 1, {"a b": "x"}, "'a b' cannot be the name of a tag"),
        ("fl/ghts", 1, {}, "The model name 'fl/ghts' cannot be used"),
    ],
)
def test_what_cannot_be_annotated_is_refused(name, version, values, message):
    with pytest.raises(InputError, match=message):
        annotate(name, version, values)


@pytest.mark.parametrize("text", ["no json", "[]", "{}", '{"window": null}'])
def test_what_is_no_decision_is_refused(tmp_path, text):
    (tmp_path / "decision").write_text(text)
    with pytest.raises(InputError, match="is not a decision"):
        annotate_model.python_func(decision=SimpleNamespace(path=str(tmp_path / "decision")), name="flights")
