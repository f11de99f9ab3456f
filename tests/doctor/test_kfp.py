"""The pipeline server: found, of which version, and with which pipelines, against a stand-in for the real one.

``tests/pipeline_server.py`` says what the stand-in holds to.
"""

import contextlib
import json
import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from delivery_registry import Handler, make_certificate
from doctor_runs import doctor
from pipeline_server import pipeline_server

from loopline.pipelines.doctor.features import FEATURES, Compiled, features_of
from loopline.pipelines.spec import compiled_folder, compiled_names

_IMAGE = re.compile(r"image: \S+loopline-step\S*")
_DIGEST = "registry.example.com/ml/step@sha256:" + "1" * 64


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A pipeline server, and the environment to find it."""
    with pipeline_server(tmp_path) as (running, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield running


@contextlib.contextmanager
def _telling(folder: Path, **told) -> Iterator[dict[str, str]]:
    """Run a server that holds nothing and tells of its health what the real one does, commit and tag among it."""

    class Telling(Handler):
        def do_GET(self) -> None:
            health = self.path.endswith("/healthz")
            self.send(200, json.dumps({"multi_user": False, **told} if health else {}).encode())

    certificate, key = make_certificate(folder / "telling.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    (folder / "token").write_text("a-token")
    with ThreadingHTTPServer(("127.0.0.1", 0), Telling) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield {
            "KF_PIPELINES_ENDPOINT": f"https://127.0.0.1:{server.server_port}",
            "KF_PIPELINES_SA_TOKEN_PATH": str(folder / "token"),
            "KF_PIPELINES_SSL_SA_CERTS": str(certificate),
        }
        server.shutdown()


def _compiled(name: str, image: str = _DIGEST) -> str:
    return _IMAGE.sub(f"image: {image}", (compiled_folder() / f"{name}.yaml").read_text())


@pytest.mark.parametrize(
    ("tag", "state", "words"),
    [
        ("2.14.3", "problem", ("lacks: secrets", "all pipelines")),
        (
            "2.16.0",
            "ok",
            (f"Kubeflow Pipelines 2.16.0 has all that the {len(compiled_names())} compiled pipelines use",),
        ),
        ("2.16.1-rhoai.3", "ok", ("2.16.1",)),
        ("unknown", "warning", ("does not tell its version", "2.15.0 or newer")),
    ],
)
def test_the_servers_version_is_held_against_what_the_pipelines_use(tmp_path, tag, state, words):
    with _telling(tmp_path, tag_name=tag, commit_sha="unknown") as variables:
        found = doctor("kfp", **variables).of("version")
        assert found["state"] == state, found
        for word in words:
            assert word in found["seen"]
        if state == "problem":
            assert found["mend"] == "Upgrade to OpenShift AI 3.4 or newer (Kubeflow Pipelines 2.15.0)."
        if state == "warning":
            assert found["mend"] == "Say which it is: --openshift-ai 3.3|3.4|3.5."
            assert "lacks" in doctor("kfp", "--openshift-ai", "3.3", **variables).of("version")["seen"]
            assert doctor("kfp", "--openshift-ai", "3.4", **variables).of("version")["state"] == "ok"


def test_held_pipelines_are_the_same_or_stale(server, tmp_path):
    server.hold("training", _compiled("training"))
    server.hold("delivery", _compiled("delivery"))
    server.hold("delivery", _compiled("delivery").replace("Load model", "Load an old model"), version="2")
    server.hold("sweep", _compiled("sweep", "registry.example.com/ml/step:0.1.0"))
    examined = doctor("kfp", "--openshift-ai", "3.5")
    held = [finding for finding in examined.findings if finding["title"] == "held pipelines"]
    assert [finding["state"] for finding in held] == ["ok", "warning", "skipped"]
    assert held[0]["seen"] == "as compiled here: sweep and training"
    assert held[1]["seen"] == "not as compiled here: delivery"
    assert "`loopline submit delivery`" in held[1]["mend"]
    assert "monitoring" in held[2]["seen"]
    assert "registry.example.com/ml/step:0.1.0" in examined.of("step image")["seen"]
    server.hold("delivery", _compiled("delivery"), version="3")
    server.hold("sweep", _compiled("sweep"), version="2")
    mended = doctor("kfp", "--openshift-ai", "3.5")
    assert mended.all("warning") == []
    assert "delivery, sweep and training" in str(mended.all("ok"))


def test_other_compiled_pipelines_can_be_looked_at(server, tmp_path):
    (tmp_path / "build").mkdir()
    server.hold("training", _compiled("training"))
    (tmp_path / "build" / "training.yaml").write_text(_compiled("training").replace("Load champion", "Fetch champion"))
    examined = doctor("kfp", "--compiled", str(tmp_path / "build"), "--openshift-ai", "3.4")
    assert examined.of("held pipelines")["seen"] == "not as compiled here: training"
    (tmp_path / "build" / "notes.yaml").write_text("hello: world\n")
    broken = doctor("kfp", "--compiled", str(tmp_path / "build"))
    assert "notes.yaml is not a compiled pipeline" in broken.of("compiled pipelines")["seen"]
    empty = doctor("kfp", "--compiled", str(tmp_path))
    assert "`loopline compile`" in empty.of("compiled pipelines")["mend"]


def test_a_refused_token_and_an_unknown_authority(server, monkeypatch, tmp_path):
    (tmp_path / "token").write_text("wrong-canary")
    refused = doctor("kfp")
    assert "(status 401)" in refused.of("server")["seen"]
    assert "ds-pipeline-user-access-dspa" in refused.of("server")["mend"]
    assert "wrong-canary" not in refused.output
    monkeypatch.delenv("KF_PIPELINES_SSL_SA_CERTS")
    unknown = doctor("kfp")
    assert "signed by an authority that is not known here" in unknown.of("server")["seen"]
    assert "authority in KF_PIPELINES_SSL_SA_CERTS" in unknown.of("server")["mend"]


def test_a_server_that_takes_a_connection_and_says_nothing_is_given_up(tmp_path):
    (tmp_path / "token").write_text("a-token")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"https://127.0.0.1:{silent.getsockname()[1]}"
        examined = doctor("kfp", KF_PIPELINES_ENDPOINT=host, KF_PIPELINES_SA_TOKEN_PATH=str(tmp_path / "token"))
    assert examined.of("server")["seen"] == f"{host} does not answer (no answer within 9 s)"
    assert "KF_PIPELINES_ENDPOINT" in examined.of("server")["mend"]


def test_without_a_server_the_versions_that_will_do_are_told():
    examined = doctor("kfp")
    assert examined.of("compiled pipelines")["seen"] == (
        f"{len(compiled_names())}, for Kubeflow Pipelines 2.15.0 or newer: OpenShift AI 3.4 and 3.5"
    )
    assert examined.of("server")["state"] == "skipped"


def test_settings_that_no_server_knows_are_named(tmp_path):
    text = _compiled("capacity").replace(
        "platforms:\n  kubernetes:\n", "platforms:\n  kubernetes:\n    pipelineConfig: {ttl: 3}\n"
    )
    (tmp_path / "capacity.yaml").write_text(text)
    examined = doctor("kfp", "--compiled", str(tmp_path))
    assert "capacity sets ttl" in str(examined.all("problem"))


def test_every_feature_is_found_where_it_is_used_and_only_there():
    from kfp import compiler, dsl, kubernetes
    from kfp.dsl import Artifact, Collected, Input, Output

    @dsl.component(base_image="x")
    def make(text: str) -> str:
        return text

    @dsl.component(base_image="x")
    def write(text: str, out: Output[Artifact]):
        pass

    @dsl.component(base_image="x")
    def join(found: Input[list[Artifact]]):
        pass

    @dsl.pipeline
    def inner(text: str = "a") -> str:
        return make(text=text).output

    @dsl.pipeline(name="plain")
    def plain(text: str):
        make(text=text)

    @dsl.pipeline(
        name="rich",
        pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi"), active_deadline_seconds=60),
    )
    def rich(text: str):
        nested = inner(text=text).set_retry(2)
        with dsl.ParallelFor(["a", "b"], parallelism=1) as item:
            written = write(text=item)
        join(found=Collected(written.outputs["out"]))
        with dsl.If(nested.output == "a"):
            first = make(text="b")
        with dsl.Else():
            second = make(text="c")
        task = make(text=dsl.OneOf(first.output, second.output)).set_retry(1)
        kubernetes.use_secret_as_env(task, "s", {"k": "V"}, optional=True)
        kubernetes.mount_pvc(task, "claim", "/data", sub_path="part")
        kubernetes.set_security_context(task, run_as_user=1)

    assert [f.title for f in features_of(_read(compiler, plain))] == []
    used = {feature.title for feature in features_of(_read(compiler, rich))}
    never = {"imports into the workspace", "task configuration passed on", "parameters of listed values"}
    assert used == {feature.title for feature in FEATURES} - never


def _read(compiler, pipeline) -> Compiled:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(file))
        return Compiled.read(file)


#: The fields that the SDK can write and KFP 2.14.3 does not know, and the feature that each belongs to.
_NEW = {
    "ComponentSpec.task_config_passthroughs": "task configuration passed on",
    "TaskConfigPassthrough.apply_to_task": "task configuration passed on",
    "TaskConfigPassthrough.field": "task configuration passed on",
    "PipelineDeploymentConfig.ImporterSpec.download_to_workspace": "imports into the workspace",
    "ComponentInputsSpec.ParameterSpec.literals": "parameters of listed values",
    "PipelineConfig.active_deadline_seconds": "how long a run lasts and is kept (PipelineConfig)",
    "PipelineConfig.resource_ttl_on_completion": "how long a run lasts and is kept (PipelineConfig)",
    "PipelineConfig.resource_ttl_on_failure": "how long a run lasts and is kept (PipelineConfig)",
    "PipelineConfig.resource_ttl_on_success": "how long a run lasts and is kept (PipelineConfig)",
    "SecretAsEnv.optional": "secrets and config maps in the environment that may be missing (secretAsEnv.optional)",
    "ConfigMapAsEnv.optional": "secrets and config maps in the environment that may be missing (secretAsEnv.optional)",
    "KubernetesExecutorConfig.security_context": "a security context of its own",
    "SecurityContext.run_as_group": "a security context of its own",
    "SecurityContext.run_as_non_root": "a security context of its own",
    "SecurityContext.run_as_user": "a security context of its own",
    "PvcMount.sub_path": "a folder of a volume (pvcMount.subPath)",
    # What the engine tells a step, and what is an argument of a task: not in the fields of a compiled pipeline.
    "RuntimeArtifact.custom_path": "",
    "CreatePvc.data_source": "",
    "TypedLocalObjectReference.api_group": "",
    "TypedLocalObjectReference.kind": "",
    "TypedLocalObjectReference.name": "",
}


def test_every_field_that_a_server_may_not_know_is_looked_for():
    """Of two releases' protocol buffers: 2.14.3, of which the fields were written down, and the SDK here."""
    from kfp.kubernetes import kubernetes_executor_config_pb2 as platform
    from kfp.pipeline_spec import pipeline_spec_pb2 as spec

    here = {}
    for module in (spec, platform):
        _collect(module.DESCRIPTOR.message_types_by_name.values(), "", here)
    known = json.loads(Path(__file__).with_name("kfp-2.14.3-fields.json").read_text())
    new = {
        f"{message}.{field}" for message, fields in here.items() for field in set(fields) - set(known.get(message, ()))
    }
    assert new == set(_NEW), "find out since which version a server has what is new, and add it to FEATURES"
    assert {title for title in _NEW.values() if title} <= {feature.title for feature in FEATURES}


def _collect(messages, before: str, found: dict[str, list[str]]) -> None:
    for message in messages:
        found[before + message.name] = [field.name for field in message.fields]
        _collect(message.nested_types, f"{before}{message.name}.", found)
