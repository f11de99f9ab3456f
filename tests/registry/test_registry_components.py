"""The components, run by the local runner."""

from kfp import dsl, local

from loopline.components import load_model, promote_model, register_model
from loopline.components.model.directory import is_absent, read_manifest
from loopline.components.registry.store import open_store
from loopline.components.registry.versions import find_aliases


@dsl.pipeline
def _life(model: str, metrics: str, report: str) -> dsl.Model:
    trained = dsl.importer(artifact_uri=model, artifact_class=dsl.Model, reimport=True)
    measured = dsl.importer(artifact_uri=metrics, artifact_class=dsl.Metrics, reimport=True)
    page = dsl.importer(artifact_uri=report, artifact_class=dsl.HTML, reimport=True)
    registered = register_model(
        model=trained.output, metrics=measured.output, report=page.output, name="flights", pipeline_run="run-7"
    )
    promoted = promote_model(name="flights", version=registered.output)
    return load_model(name="flights").after(promoted).outputs["model"]


def test_life_of_a_model(trained, home, tmp_path):
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "runs"))
    absent = load_model(name="flights", missing="absent").outputs
    assert absent["Output"] == "absent"
    assert absent["found_version"] == 0
    assert absent["found_metrics"] == "{}"
    assert is_absent(absent["model"].path)
    assert absent["model"].metadata["version"] == 0
    fetched = _life(model=str(trained.model), metrics=str(trained.metrics), report=str(trained.report)).output
    digest = read_manifest(trained.model).digest
    assert read_manifest(fetched.path).digest == digest
    assert fetched.metadata.items() >= {"name": "flights", "version": 1, "digest": digest}.items()
    with open_store() as store:
        assert find_aliases(store, "flights") == {"challenger": 1, "champion": 1}
        assert store.client.get_model_version("flights", "1").tags["loopline.pipeline_run"] == "run-7"
