"""The committed YAML: fresh, small, plain, pinned, and its shipped programs complete."""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import loopline.components
from loopline.components import STAGES
from loopline.components.data import s3 as s3_module
from loopline.pipelines.compile import PIPELINES, compile_pipeline
from loopline.pipelines.settings import SECRETS
from loopline.pipelines.spec import compiled_folder, compiled_names

#: Tasks that read or change something outside their pipeline: the same inputs can mean another result.
OUTSIDE = {
    "ingest-data", "load-model", "register-model", "write-model-card", "update-model-card", "promote-model",
    "build-model-image", "test-model-image",
    "promote-to-site", "check-site", "rollback-site", "collect-traffic", "check-service", "probe-capacity",
    "decide-retraining", "trigger-pipeline", "annotate-model", "list-partitions", "score-partition",
    "plan-sweep", "run-trials", "finish-sweep",
    "divide-table", "profile-partition", "merge-profiles", "prepare-partition",
    "list-windows", "summarize-traffic",
}  # fmt: skip
#: Components that are for pipelines of the user's own: Elyra's, or a loop over any trainer.
APART = {"list_trials", "select_model"}


def _text(name: str) -> str:
    return (compiled_folder() / f"{name}.yaml").read_text(encoding="utf-8")


def _documents(name: str) -> list[dict]:
    return list(yaml.load_all(_text(name), yaml.CSafeLoader))


def _executors(name: str) -> dict[str, dict]:
    executors = _documents(name)[0]["deploymentSpec"]["executors"]
    return {key: entry["container"] for key, entry in executors.items()}


def _tasks(name: str) -> dict[str, dict]:
    """Return the tasks of a pipeline and of the sub-graphs in it, by name, sub-graphs themselves left out."""
    document = _documents(name)[0]
    graphs = [document["root"], *document["components"].values()]
    found = {}
    for graph in graphs:
        for key, task in graph.get("dag", {}).get("tasks", {}).items():
            if "dag" not in document["components"][task["componentRef"]["name"]]:
                found[key] = task
    return found


def _programs() -> dict[str, str]:
    """Return the shipped program of every component in any pipeline and of those apart, as the container runs it."""
    apart = {name: getattr(loopline.components, name).component_spec for name in APART}
    programs = {name: spec.implementation.container.command[-1] for name, spec in apart.items()}
    for name in compiled_names():
        for container in _executors(name).values():
            function = container["args"][container["args"].index("--function_to_execute") + 1]
            programs[function] = container["command"][-1]
    return programs


def test_there_is_one_yaml_for_each_pipeline():
    assert compiled_names() == sorted(PIPELINES)


@pytest.mark.parametrize("name", PIPELINES)
def test_committed_yaml_is_what_a_fresh_compile_gives(name):
    assert _text(name) == compile_pipeline(name), "compiled/ is stale: run `python3 make.py compile` and commit it."


@pytest.mark.parametrize("name", PIPELINES)
def test_yaml_suits_the_dashboard(name):
    text = _text(name)
    assert text.isascii()
    assert len(text) < 1_000_000
    # The engine expands a workflow to about this much; what we write must leave room.
    assert len(text) < 200_000


@pytest.mark.parametrize("name", PIPELINES)
def test_images_are_pinned_and_nothing_is_installed(name):
    for container in _executors(name).values():
        image = container["image"].rsplit("/", 1)[-1]
        assert ":" in image and not image.endswith(":latest"), container["image"]
        assert "pip" not in " ".join(container["command"][:-1])


def test_image_is_chosen_at_compile_time():
    image = "registry.example.com/ml/loopline-step@sha256:" + "0" * 64
    document = yaml.safe_load(compile_pipeline("training", image).split("\n---\n")[0])
    images = {e["container"]["image"] for e in document["deploymentSpec"]["executors"].values()}
    assert images == {image}


@pytest.mark.parametrize("name", PIPELINES)
def test_cached_is_what_depends_on_its_inputs_alone(name):
    for key, task in _tasks(name).items():
        component = re.sub(r"^comp-|-\d+$", "", task["componentRef"]["name"])
        cached = task.get("cachingOptions", {}).get("enableCache", False)
        assert cached == (component not in OUTSIDE), key
        # What runs on other machines can fail with one of them.
        assert bool(task.get("retryPolicy")) == (component in OUTSIDE | {"train-distributed"}), key


@pytest.mark.parametrize("name", PIPELINES)
def test_every_task_has_resources_and_a_title(name):
    for key, task in _tasks(name).items():
        assert task["taskInfo"]["name"] != key, f"{key} has no display name"
    for key, container in _executors(name).items():
        limits = container.get("resources", {})
        assert limits.get("resourceCpuLimit") and limits.get("resourceMemoryLimit"), key
        assert limits.get("resourceCpuRequest") and limits.get("resourceMemoryRequest"), key


@pytest.mark.parametrize("name", PIPELINES)
def test_secrets_come_from_the_cluster_and_are_optional(name):
    platform = _documents(name)[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for executor in platform.values():
        for secret in executor.get("secretAsEnv", []) + executor.get("secretAsVolume", []):
            assert secret["secretName"].startswith("loopline-")
            assert secret["optional"] is True


@pytest.mark.parametrize("name", PIPELINES)
def test_every_step_gets_the_variables_that_its_code_reads(name):
    platform = _documents(name)[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    found, mounted = {}, {}
    for key, executor in platform.items():
        secrets = executor.get("secretAsEnv", [])
        assert {secret["secretName"] for secret in secrets} <= set(SECRETS)
        found[key.removeprefix("exec-")] = {entry["envVar"] for secret in secrets for entry in secret["keyToEnv"]}
        mounted[key.removeprefix("exec-")] = {secret["mountPath"] for secret in executor.get("secretAsVolume", [])}
    s3 = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_S3_ENDPOINT", "AWS_ENDPOINT_URL",
          "AWS_DEFAULT_REGION", "AWS_REGION"}  # fmt: skip
    source = Path(s3_module.__file__).read_text(encoding="utf-8")
    # Files are mounted, not named by a secret.
    assert set(re.findall(r"AWS_[A-Z0-9_]+", source)) - {"AWS_CA_BUNDLE", "AWS_WEB_IDENTITY_TOKEN_FILE"} == s3
    login = {"MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}
    public = {"COSIGN_PUBLIC_KEY"}
    private = {"COSIGN_PRIVATE_KEY", "COSIGN_PASSWORD"}
    approvers = {"LOOPLINE_APPROVERS_KEYS", "LOOPLINE_REQUIRE_APPROVAL"}
    watch = {"PROMETHEUS_URL", "PROMETHEUS_TOKEN", "PROMETHEUS_PUSHGATEWAY_URL"}
    git = {"GIT_USERNAME", "GIT_PASSWORD", "GIT_PROVIDER", "GIT_API_URL"}
    wanted = {
        "ingest-data": s3,
        "train-distributed": s3,
        "load-model": login | s3 | {"MLFLOW_S3_ENDPOINT_URL"},
        "register-model": login | s3 | {"MLFLOW_S3_ENDPOINT_URL"},
        "write-model-card": login | s3 | {"MLFLOW_S3_ENDPOINT_URL"},
        "update-model-card": login | s3 | public | approvers | {"MLFLOW_S3_ENDPOINT_URL"},
        "promote-model": login,
        "build-model-image": public | private,
        "test-model-image": public | private,
        "promote-to-site": public | approvers | git,
        "check-site": public | git | {"LOOPLINE_SITE_TOKEN"},
        "rollback-site": git,
        "collect-traffic": s3,
        "check-service": login | s3 | git | watch,
        "decide-retraining": login | s3 | watch,
        "annotate-model": login,
        "divide-table": s3,
        "profile-partition": s3,
        "merge-profiles": s3,
        "prepare-partition": s3,
        "list-partitions": s3,
        "score-partition": s3,
        "plan-sweep": login,
        "run-trials": login,
        "finish-sweep": login | s3 | {"MLFLOW_S3_ENDPOINT_URL"},
        "summarize-traffic": s3,
    }
    for step, names in found.items():
        component = re.sub(r"-\d+$", "", step)
        assert names >= wanted[component], step
        others = {
            name
            for each in (s3, login, public, private, approvers, git, watch)
            for name in each
            if not each & wanted[component]
        }
        assert not names & others, step
        reads_images = component in {
            "build-model-image", "test-model-image", "promote-to-site", "check-site", "update-model-card",
        }  # fmt: skip
        assert bool(mounted[step]) == reads_images, step


def test_every_other_component_is_in_a_pipeline():
    assert set(_programs()) == set(STAGES)


@pytest.mark.parametrize("component", STAGES)
def test_shipped_program_has_no_undefined_name(component, tmp_path):
    """What KFP ships is the function's source alone: a module constant in it would be a NameError on the cluster."""
    program = _programs()[component]
    file = tmp_path / "program.py"
    # pyflakes cannot look into star imports; these are the names that kfp's own header brings.
    header = (
        "import kfp\nfrom kfp import dsl\n"
        "from kfp.dsl import Artifact, ClassificationMetrics, Dataset, HTML, Input, Markdown, Metrics, Model, Output\n"
        "from kfp.dsl import OutputPath\n"
        "from typing import List, NamedTuple\n"
    )
    kept = [line for line in program.splitlines() if "import *" not in line and not line.startswith("import kfp")]
    file.write_text(header + "\n".join(kept), encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "pyflakes", str(file)], capture_output=True, text=True)
    assert "undefined name" not in done.stdout, done.stdout


@pytest.mark.parametrize("component", STAGES)
def test_shipped_program_imports_only_what_the_image_holds(component):
    for node in ast.walk(ast.parse(_programs()[component])):
        if isinstance(node, ast.ImportFrom):
            modules = [node.module]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            assert module.split(".")[0] in {"kfp", "loopline", *sys.stdlib_module_names}, (
                f"{component} imports {module}"
            )
            assert importlib.util.find_spec(module), f"{component} imports {module}, which does not exist"


def test_undefined_names_would_be_found(tmp_path):
    file = tmp_path / "program.py"
    file.write_text("def f(x: int = 1):\n    return LIMIT + x\n")
    done = subprocess.run([sys.executable, "-m", "pyflakes", str(file)], capture_output=True, text=True)
    assert "undefined name 'LIMIT'" in done.stdout


@pytest.mark.parametrize("name", PIPELINES)
def test_parameters_are_documented(name):
    document = _documents(name)[0]
    assert document["pipelineInfo"]["description"]
    for key, entry in document["root"]["inputDefinitions"]["parameters"].items():
        assert entry.get("description"), f"{name} does not say what {key} is"
    assert json.dumps(document)
