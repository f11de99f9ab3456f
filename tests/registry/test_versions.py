import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from registry_models import make_model

from loopline.components.errors import InputError
from loopline.components.model.directory import is_absent, read_manifest, seal_model, verify_model
from loopline.components.registry.fetch import fetch
from loopline.components.registry.register import register
from loopline.components.registry.store import open_store
from loopline.components.registry.versions import find_aliases, list_versions, promote


@pytest.fixture
def registered(trained, retrained, home) -> Path:
    """A store with two versions and no champion."""
    register(*trained.paths(), "flights")
    register(*retrained.paths(), "flights")
    return home


def aliases() -> dict:
    with open_store() as store:
        return find_aliases(store, "flights")


def stored_model(home: Path, trained) -> Path:
    """The folder in which MLflow keeps version 1."""
    with open_store() as store:
        uri = store.client.get_model_version_download_uri("flights", "1")
    return Path(uri.removeprefix("file://").replace("%20", " ")) / "data" / "model"


def test_versions_are_listed_with_what_points_at_them(registered, trained):
    promote("flights", 1)
    first, second = list_versions("flights")
    assert (first["version"], first["aliases"]) == (1, ["champion"])
    assert (second["version"], second["aliases"]) == (2, ["challenger"])
    assert first["digest"] == first["tags"]["loopline.model_digest"] == read_manifest(trained.model).digest
    assert first["created"] <= second["created"] <= datetime.now(UTC)
    with pytest.raises(InputError, match="There is no registered model 'fligths': train one, or check the name"):
        list_versions("fligths")


def test_promotion_keeps_the_champion_before(registered):
    assert promote("flights", 1) == 0
    assert promote("flights", 2) == 1
    assert aliases() == {"challenger": 2, "champion": 2, "previous": 1}
    assert promote("flights", 2) == 1
    assert aliases() == {"challenger": 2, "champion": 2, "previous": 1}
    assert promote("flights", 1) == 2
    assert aliases() == {"challenger": 2, "champion": 1, "previous": 2}


def test_a_verdict_of_keep_leaves_the_champion(registered, caplog):
    """For engines without conditions, whose graph runs the step in any case."""
    caplog.set_level("INFO", "loopline")
    assert promote("flights", 1, verdict="keep") == 0
    assert "champion" not in aliases()
    promote("flights", 1, verdict="promote")
    assert promote("flights", 2, verdict="keep") == 1
    assert aliases() == {"challenger": 2, "champion": 1}
    assert "version 1 stays the champion of flights: the verdict is keep" in caplog.text
    with pytest.raises(InputError, match="verdict is 'promte': use promote or keep"):
        promote("flights", 2, verdict="promte")


def test_interrupted_promotion_leaves_a_champion_and_can_be_repeated(registered, monkeypatch):
    promote("flights", 1)
    write = MlflowClient.set_registered_model_alias

    def fail_on_second(self, name, alias, version):
        if alias == "champion":
            raise MlflowException("interrupted")
        write(self, name, alias, version)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", fail_on_second)
        with pytest.raises(InputError, match="interrupted"):
            promote("flights", 2)
    assert aliases()["champion"] == 1
    assert promote("flights", 2) == 1
    assert aliases() == {"challenger": 2, "champion": 2, "previous": 1}


def test_champion_that_another_run_promoted_meanwhile_stays(registered, trained, tmp_path, caplog):
    """Two runs see the same champion; the second promotes first, and the first was never compared with that."""
    caplog.set_level("INFO", "loopline")
    register(*make_model(tmp_path, seed=2).paths(), "flights")
    seen = fetch(tmp_path / "champion", "flights", missing="absent").version
    assert promote("flights", 2, compared_with=seen) == 0
    assert promote("flights", 1, compared_with=seen) == 2
    assert aliases() == {"challenger": 3, "champion": 2}
    assert "version 2 stays the champion of flights: version 1 was compared with no model" in caplog.text
    # The same with a champion to begin with.
    assert promote("flights", 3, compared_with=2) == 2
    assert promote("flights", 1, compared_with=2) == 3
    assert aliases() == {"challenger": 3, "champion": 3, "previous": 2}
    # A retry of the promotion that was done finds it done.
    assert promote("flights", 3, compared_with=2) == 2
    assert promote("flights", 1) == 3
    with pytest.raises(InputError, match="compared_with is -2"):
        promote("flights", 2, compared_with=-2)


def test_unknown_version_is_refused(registered):
    for name, version in (("flights", 3), ("flights", 0), ("flights", -1), ("unknown", 1)):
        with pytest.raises(InputError, match=f"no version {version} of model '{name}'"):
            promote(name, version)
    assert "champion" not in aliases()


def test_fetched_model_is_the_registered_one(registered, trained, retrained, tmp_path):
    promote("flights", 1)
    for target, arguments, source, version in (
        ("a", {}, trained, 1),
        ("b", {"alias": "challenger"}, retrained, 2),
        ("c", {"version": 2}, retrained, 2),
    ):
        fetched = fetch(tmp_path / target, "flights", **arguments)
        assert fetched.version == version
        assert verify_model(tmp_path / target).digest == fetched.digest == read_manifest(source.model).digest
        assert sorted(file.name for file in (tmp_path / target).iterdir()) == sorted(
            file.name for file in source.model.iterdir()
        )


def test_metrics_come_with_the_model_as_long_as_its_run_is_kept(registered, tmp_path):
    measured = {"baseline_roc_auc": 0.5, "roc_auc": 0.9, "roc_auc_high": 0.94, "roc_auc_low": 0.85}
    measured["validation_log_loss"] = 0.5
    fetched = fetch(tmp_path / "model", "flights", version=1)
    assert fetched.metrics == measured
    with open_store() as store:
        store.client.delete_run(fetched.run)
    # What was thrown away can be looked at until it is removed for good.
    assert fetch(tmp_path / "model", "flights", version=1).metrics == measured
    with open_store() as store:
        store.client._tracking_client.store._hard_delete_run(fetched.run)
    again = fetch(tmp_path / "model", "flights", version=1)
    assert again.metrics == {}
    assert again.digest == fetched.digest


def test_fetching_replaces_what_an_attempt_before_left(registered, tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "left-over").write_text("")
    fetch(target, "flights", version=1)
    verify_model(target)
    fetch(target, "flights", missing="absent")
    assert [file.name for file in target.iterdir()] == ["no-model.json"]


@pytest.mark.parametrize(
    "arguments",
    [{"name": "unknown"}, {"name": "flights"}, {"name": "flights", "version": 9}, {"name": "flights", "alias": "x"}],
)
def test_missing_model_fails_or_is_noted(registered, tmp_path, arguments):
    target = tmp_path / "model"
    with pytest.raises(InputError, match="register and promote one"):
        fetch(target, **arguments)
    assert not target.exists()
    assert fetch(target, **arguments, missing="absent").version == 0
    assert is_absent(target)


@pytest.mark.parametrize("arguments", [{"missing": "ignore"}, {"version": -1}])
def test_wrong_parameters_are_refused(registered, tmp_path, arguments):
    with pytest.raises(InputError, match=next(iter(arguments))):
        fetch(tmp_path / "model", "flights", **arguments)


def test_changed_file_is_refused(registered, trained, tmp_path):
    (stored_model(registered, trained) / "model.joblib").write_bytes(b"other")
    with pytest.raises(InputError, match=r"model\.joblib .* is changed"):
        fetch(tmp_path / "model", "flights", version=1)
    # Not even as absent: a changed model is not a missing one.
    with pytest.raises(InputError, match="is changed"):
        fetch(tmp_path / "model", "flights", version=1, missing="absent")
    assert list(tmp_path.glob("model*")) == []


def test_model_sealed_anew_is_refused(registered, trained, retrained, tmp_path):
    """Whoever changes the files can write a manifest that fits them; the tag of the version does not follow."""
    stored = stored_model(registered, trained)
    shutil.copy(retrained.model / "model.joblib", stored / "model.joblib")
    seal_model(stored, read_manifest(stored))
    verify_model(stored)
    with pytest.raises(InputError, match="was registered as sha256"):
        fetch(tmp_path / "model", "flights", version=1)
    assert not (tmp_path / "model").exists()


def test_lost_file_is_refused(registered, trained, tmp_path):
    shutil.rmtree(stored_model(registered, trained))
    with pytest.raises(InputError, match="No such artifact"):
        fetch(tmp_path / "model", "flights", version=1)


def test_version_of_another_hand_is_refused(registered, tmp_path):
    with open_store() as store:
        store.client.create_registered_model("theirs")
        store.client.create_model_version("theirs", (tmp_path / "theirs").as_uri())
    with pytest.raises(InputError, match="not registered by register_model"):
        fetch(tmp_path / "model", "theirs", version=1)
