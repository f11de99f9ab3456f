"""The images: built of what there is, by builds of either kind; and a workbench started as the platform starts it."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import elyra
import elyra.kfp.bootstrapper
import pytest
import yaml
from container_commands import running
from manifest_schemas import ROOT, build, check, need_crds, need_kustomize
from openshift_manifests import FOLDER, NEWEST, built
from packaging.requirements import Requirement

from loopline.components.image import DEFAULT_IMAGE, VERSION
from loopline.pipelines.sites.ports import free_port

IMAGES = ROOT / "deploy" / "image"
REGISTRY = "image-registry.openshift-image-registry.svc:5000/loopline"
WORKBENCH = f"{REGISTRY}/loopline-workbench:{VERSION}"


@pytest.fixture(scope="module")
def streams():
    """The image streams that the dashboard and Elyra read, by name."""
    need_kustomize()
    return {manifest["metadata"]["name"]: manifest for manifest in build(FOLDER / "workbench")}


def _used() -> set[str]:
    """Return the images of this repository that manifests and pipelines name."""
    images = yaml.safe_load((ROOT / "deploy" / "config-repo" / "images" / "kustomization.yaml").read_text())["images"]
    of_sites = {f"{i['newName']}:{i['newTag']}" for i in images if i["name"].startswith("loopline-")}
    return of_sites | {DEFAULT_IMAGE, WORKBENCH}


def test_shipwright_builds_the_images_that_are_used():
    need_kustomize()
    made = {}
    for spec in (m["spec"] for m in built(NEWEST, ("shipwright",)) if m["kind"] == "Build"):
        assert spec["strategy"] == {"kind": "ClusterBuildStrategy", "name": "buildah"}
        (parameter,) = spec["paramValues"]
        assert parameter["name"] == "dockerfile"
        made[spec["output"]["image"]] = f"{spec['source']['contextDir']}/{parameter['value']}"
    assert set(made) == _used()
    assert all((ROOT / file).is_file() for file in made.values())


def test_build_configs_build_the_same():
    need_kustomize()
    manifests = built(NEWEST, ("buildconfig",))
    assert {m["metadata"]["name"] for m in manifests if m["kind"] == "ImageStream"} == {
        m["metadata"]["name"] for m in manifests if m["kind"] == "BuildConfig"
    }
    made = set()
    for spec in (m["spec"] for m in manifests if m["kind"] == "BuildConfig"):
        assert (ROOT / spec["strategy"]["dockerStrategy"]["dockerfilePath"]).is_file()
        made.add(f"{REGISTRY}/{spec['output']['to']['name']}")
    assert made == _used()


@pytest.mark.parametrize("name", ["Containerfile", "Containerfile.workbench"])
def test_a_containerfile_copies_what_there_is(name):
    text = (IMAGES / name).read_text()
    copied = {s for line in re.findall(r"(?m)^COPY (.+)$", text) for s in line.split()[:-1] if s[0] != "-"}
    assert copied and all((ROOT / source).exists() for source in copied)
    assert re.search(r"(?m)^USER 1001$", text)


def test_the_step_image_holds_every_package():
    text = (IMAGES / "Containerfile").read_text()
    folders = set(re.findall(r"(?m)^    loopline\.\w+ = ([\w/]+)$", (ROOT / "setup.cfg").read_text()))
    assert folders <= set(re.findall(r"(?m)^COPY .* (\S+) \S+$", text)), "a package's folder is not in the image"
    assert re.search(r"(?m)^FROM \S+:\d[\w.]+$", text)


def test_the_workbench_is_built_on_the_steps_and_knows_the_palette(tmp_path):
    text = (IMAGES / "Containerfile.workbench").read_text()
    assert os.access(IMAGES / "start-notebook.sh", os.X_OK)
    assert f"\nARG STEP_IMAGE={DEFAULT_IMAGE}\nFROM ${{STEP_IMAGE}}\n" in text
    # What generic nodes look for there: elyra.pipeline.kfp.processor_kfp.
    assert Path(elyra.kfp.bootstrapper.__file__).name == "bootstrapper.py"
    (command,) = re.findall(r"(?ms)JUPYTER_DATA_DIR=\S+ (elyra-metadata .*?[^\\])$", text)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"JUPYTER_DATA_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": path}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    catalog = json.loads((tmp_path / "metadata" / "component-catalogs" / "loopline.json").read_text())
    (copied,) = re.findall(r"(?m)^COPY .* compiled (\S+)$", text)
    assert catalog["metadata"]["paths"] == [f"{copied}/elyra"]


def test_image_streams_are_valid_and_found(streams):
    need_crds()
    for stream in streams.values():
        check(stream)
        assert stream["metadata"]["namespace"] == "redhat-ods-applications"
        (tag,) = stream["spec"]["tags"]
        assert tag["name"] == VERSION
        assert tag["from"] == {"kind": "DockerImage", "name": WORKBENCH}
    labels = {name: stream["metadata"]["labels"] for name, stream in streams.items()}
    assert labels["loopline-workbench"]["opendatahub.io/notebook-image"] == "true"
    assert labels["loopline-runtime"]["opendatahub.io/runtime-image"] == "true"


def test_the_dashboard_shows_the_versions_that_are_locked(streams):
    (tag,) = streams["loopline-workbench"]["spec"]["tags"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line.strip() and line[0] != "#"]
    locked = {pin.name.lower(): str(pin.specifier)[2:] for pin in pins} | {"loopline": VERSION}
    shown = json.loads(tag["annotations"]["opendatahub.io/notebook-python-dependencies"])
    assert len(shown) > 5
    for entry in shown:
        assert (locked[entry["name"].lower()] + ".").startswith(entry["version"] + "."), entry
    assert json.loads(tag["annotations"]["opendatahub.io/notebook-software"])[0]["name"] == "Python"


def _runtime_image(stream: dict) -> tuple[str, str]:
    """Return the file that OpenShift AI makes of a runtime's image stream, and what is in it.

    The notebook controller needs a cluster; this is what its SyncRuntimeImagesConfigMap does.
    """
    (tag,) = stream["spec"]["tags"]
    entry = json.loads(tag["annotations"]["opendatahub.io/runtime-image-metadata"])[0]
    entry["metadata"]["image_name"] = tag["from"]["name"]
    name = re.sub(r"[^-._a-z0-9]+", "-", entry["display_name"].lower()).strip("-")
    return f"{name}.json", json.dumps(entry)


#: What the notebook controller writes into the secret ds-pipeline-config of a namespace with a dspa.
RUNTIME = {
    "display_name": "Pipeline",
    "schema_name": "kfp",
    "metadata": {
        "tags": [],
        "display_name": "Pipeline",
        "engine": "Argo",
        "runtime_type": "KUBEFLOW_PIPELINES",
        "auth_type": "KUBERNETES_SERVICE_ACCOUNT_TOKEN",
        "api_endpoint": "https://ds-pipeline-dspa-loopline.apps.example.com",
        "public_api_endpoint": "https://data-science-gateway.apps.example.com/external/elyra/loopline",
        "cos_auth_type": "KUBERNETES_SECRET",
        "cos_endpoint": "https://s3.example.com",
        "cos_bucket": "loopline",
        "cos_username": "key",
        "cos_password": "secret-key",
        "cos_secret": "loopline-s3",
    },
}


def _mount(folder: Path, files: dict[str, str]):
    """Lay files out as Kubernetes mounts a secret or a ConfigMap: as links to links."""
    (folder / "..2026").mkdir(parents=True)
    (folder / "..data").symlink_to("..2026")
    for name, text in files.items():
        (folder / "..2026" / name).write_text(text)
        (folder / name).symlink_to(f"..data/{name}")


@contextlib.contextmanager
def _started(root: Path, home: Path, port: int, log: Path):
    """Run the workbench's command, as the dashboard asks for it."""
    words = (
        f"--ServerApp.port={port}\n                  --ServerApp.token=''\n                  --ServerApp.password=''\n"
        "                  --ServerApp.base_url=/notebook/loopline/wb\n                  --ServerApp.quit_button=False"
    )
    environment = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment |= {"APP_ROOT": str(root), "HOME": str(home), "NOTEBOOK_ARGS": words, "PATH": path}
    # Where the packages are, which need not be where the interpreter is.
    prefix = next(folder.parent for folder in Path(elyra.__file__).parents if folder.name == "lib")
    environment |= {"JUPYTER_CONFIG_PATH": f"{prefix}/etc/jupyter", "JUPYTER_PATH": f"{prefix}/share/jupyter"}
    if os.getuid() == 0:
        environment["NOTEBOOK_ARGS"] += " --allow-root"
    with running(["bash", IMAGES / "start-notebook.sh"], environment, log, home) as process:
        yield process


def _get(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def test_a_workbench_starts_as_the_platform_starts_it(streams, tmp_path):
    """Real JupyterLab and Elyra find the pipeline server and the runtime image that are mounted."""
    root, home, log = tmp_path / "app-root", tmp_path / "src", tmp_path / "log"
    home.mkdir()
    _mount(root / "runtimes", {"odh_dsp.json": json.dumps(RUNTIME)})
    _mount(root / "pipeline-runtimes", dict([_runtime_image(streams["loopline-runtime"])]))
    port = free_port()
    url = f"http://127.0.0.1:{port}/notebook/loopline/wb"
    with _started(root, home, port, log) as server:
        end = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError):
                # What the kubelet asks.
                assert _get(f"{url}/api")["version"]
                break
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        runtimes = _get(f"{url}/elyra/metadata/runtimes")["runtimes"]
        assert [(r["name"], r["metadata"]["cos_secret"]) for r in runtimes] == [("odh_dsp", "loopline-s3")]
        images = {i["name"]: i["metadata"] for i in _get(f"{url}/elyra/metadata/runtime-images")["runtime-images"]}
        assert images["loopline"]["image_name"] == WORKBENCH
        server.terminate()
        assert server.wait(30) == 0, "the shell keeps the signal from the server"
    written = home / ".local" / "share" / "jupyter" / "metadata" / "runtimes" / "odh_dsp.json"
    assert written.stat().st_mode & 0o077 == 0, "others may read the keys of the bucket"


def test_a_workbench_starts_without_a_pipeline_server(tmp_path):
    """With nothing mounted the script comes to JupyterLab all the same."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "jupyter").write_text('#!/bin/sh\n[ "$1" = --data-dir ] && echo "$HOME/data" || echo "$@"\n')
    (programs / "jupyter").chmod(0o755)
    environment = {
        "APP_ROOT": str(tmp_path / "none"),
        "HOME": str(tmp_path),
        "PATH": f"{programs}:{os.environ['PATH']}",
    }
    done = subprocess.run(["bash", IMAGES / "start-notebook.sh"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lab --ServerApp.ip=")
    assert f"--ServerApp.root_dir={tmp_path}" in done.stdout
    assert not (tmp_path / "data").exists()
