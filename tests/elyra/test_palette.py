"""The committed palette: fresh, plain, pinned; what its nodes read and what the engine may keep."""

import re

import pytest
from elyra_nodes import PALETTE, read_node

from loopline.components import STAGES
from loopline.pipelines.elyra.palette import RUN, file_name, palette_files
from loopline.pipelines.spec import compiled_folder, compiled_names

#: Components whose result depends on their inputs alone.
CACHED = {
    "validate_data", "split_data", "extend_data", "train_xgboost", "train_sklearn", "train_distributed", "list_trials",
    "evaluate_model", "compare_models", "select_model", "detect_drift", "detect_drift_over_windows",
    "measure_performance", "gather_partitions",
}  # fmt: skip
READS = {
    "ingest_data": "loopline-s3",
    "register_model": "loopline-mlflow,loopline-s3",
    "plan_sweep": "loopline-mlflow",
    "run_trials": "loopline-mlflow",
    "finish_sweep": "loopline-mlflow,loopline-s3",
    "write_model_card": "loopline-mlflow,loopline-s3",
    "update_model_card": "loopline-approvers,loopline-mlflow,loopline-registry,loopline-s3,loopline-signing/cosign.pub",
    "promote_model": "loopline-mlflow",
    "build_model_image": "loopline-registry,loopline-signing",
    "promote_to_site": "loopline-approvers,loopline-git,loopline-registry,loopline-signing/cosign.pub",
    "check_site": "loopline-git,loopline-registry,loopline-signing/cosign.pub,loopline-sites",
    "check_service": "loopline-git,loopline-mlflow,loopline-prometheus,loopline-s3",
    "evaluate_model": "",
    "trigger_pipeline": "",
}
IMAGE = "registry.example.com/ml/loopline-step@sha256:" + "0" * 64


@pytest.fixture(scope="module")
def fresh():
    """The palette for another image, from the committed pipelines; that they are fresh is tested with them."""
    return palette_files([file.read_text(encoding="utf-8") for file in compiled_folder().glob("*.yaml")], IMAGE)


def _arguments(component: str) -> list:
    return read_node(component)["implementation"]["container"]["args"]


def test_committed_palette_is_what_a_fresh_compile_gives(fresh):
    image = read_node("ingest_data")["implementation"]["container"]["image"]
    for name, text in fresh.items():
        assert (PALETTE / name).read_text(encoding="utf-8") == text.replace(IMAGE, image), (
            f"compiled/elyra/{name} is stale: run `python3 make.py compile` and commit it."
        )
    assert {file.name for file in PALETTE.iterdir()} == set(fresh)


def test_image_is_chosen_at_compile_time(fresh):
    for text in fresh.values():
        assert re.findall(r"^    image: (.*)$", text, re.M) == [IMAGE]


@pytest.mark.parametrize("component", STAGES)
def test_nothing_in_a_node_means_something_else_to_elyra(component):
    """Elyra writes the YAML between three quotes into Python, and exchanges the quotes of defaults."""
    text = (PALETTE / file_name(component)).read_text(encoding="utf-8")
    assert text.isascii()
    assert "\\" not in text and '"""' not in text
    for entry in read_node(component).get("inputs", ()):
        assert '"' not in entry.get("default", "")
        assert entry["description"]


def test_palette_files_are_no_pipelines():
    assert not {file.removesuffix(".yaml") for file in map(file_name, STAGES)} & set(compiled_names())


@pytest.mark.parametrize(("component", "names"), READS.items())
def test_secrets_are_named_and_no_more_than_needed(component, names):
    arguments = _arguments(component)
    assert (arguments[arguments.index("--secrets") + 1] if "--secrets" in arguments else "") == names


@pytest.mark.parametrize("component", STAGES)
def test_a_node_that_looks_outside_runs_anew_in_each_run(component):
    """Its input of the run, which the engine resolves, is another one each time: no earlier result fits."""
    defaults = {entry["name"]: entry.get("default") for entry in read_node(component).get("inputs", ())}
    assert (defaults.get("pipeline_run") == RUN) == (component not in CACHED or component.startswith("train_"))
