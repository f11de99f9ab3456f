"""The palette's nodes as KFP runs them: placeholders resolved by KFP's own code, the command a process.

KFP's local runner knows no containers without a container engine. Here it is told to start their commands as they are,
``python`` being this one; nothing else of it is changed.
"""

import contextlib
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

import yaml
from kfp import components, dsl, local
from kfp.local import subprocess_task_handler, task_dispatcher, utils

from loopline.pipelines.elyra.palette import file_name
from loopline.pipelines.spec import compiled_folder

PALETTE = compiled_folder() / "elyra"


class NodeFailed(RuntimeError):
    """A node's command failed; the message is what it printed."""


def read_node(component: str) -> dict:
    """Return a node's YAML."""
    return yaml.safe_load((PALETTE / file_name(component)).read_text(encoding="utf-8"))


def run_node(component: str, folder: Path, variables: Mapping[str, str] = (), **inputs: object) -> dict:
    """Run a node's command as it stands in the palette.

    Args:
        component: The component.
        folder: Where its outputs go.
        variables: Environment variables to set.
        inputs: Values, and artifacts as KFP artifacts.

    Returns:
        Its outputs by name as KFP reads them: values in their types, artifacts with their metadata.
    """
    spec = components.load_component_from_file(str(PALETTE / file_name(component))).pipeline_spec
    [(name, described)] = spec.components.items()
    executor = utils.struct_to_executor_spec(spec.deployment_spec["executors"][described.executor_label])
    with starting_containers(variables):
        outputs, _ = task_dispatcher.run_single_task_implementation(
            pipeline_resource_name="run", component_name=name, component_spec=described, executor_spec=executor,
            arguments=inputs, pipeline_root=str(folder), runner=local.SubprocessRunner(use_venv=False),
            raise_on_error=True, block_input_artifact=False, unique_pipeline_id="7",
        )  # fmt: skip
    return outputs


def start(words: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess:
    """Run this Python with some words; a caller with a quicker way puts it in this place."""
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=variables)


@contextlib.contextmanager
def starting_containers(variables: Mapping[str, str] = ()) -> Iterator[list[str]]:
    """Let KFP's local runner start the commands of containers; yields the components that were started."""
    started = []

    class Handler(subprocess_task_handler.SubprocessTaskHandler):
        def validate_image(self, image):
            pass

        def validate_not_container_component(self, full_command):
            pass

        def run(self):
            program, *words = self.full_command
            assert (program, words[:2]) == ("python", ["-m", "loopline.components"])
            started.append(words[2])
            done = start(words, {**os.environ, **dict(variables), **self.env_vars})
            if done.returncode:
                raise NodeFailed(f"{words[2]}: {done.stdout}{done.stderr}")
            return local.status.Status.SUCCESS

    with mock.patch.object(subprocess_task_handler, "SubprocessTaskHandler", Handler), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settings that only matter on a cluster
        yield started


def artifact(kind: type[dsl.Artifact], path: Path) -> dsl.Artifact:
    """Return a file or folder as an artifact."""
    return kind(uri=str(path))
