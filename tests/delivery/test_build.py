"""Building a model image: what is in it, where it goes, and that the same model gives the same image."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from loopline.components.delivery import base as base_module
from loopline.components.delivery.build import build_image
from loopline.components.delivery.fetch import fetch_image, read_annotations, resolve
from loopline.components.delivery.layout import Layout
from loopline.components.delivery.oci import CONFIG, MANIFEST, Blob, Document, blob_descriptor, encode
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.registry import Registry
from loopline.components.delivery.store import open_store, read_blob
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest, read_release


def parts(image: str) -> tuple:
    """The store, the index and the manifests of an image."""
    reference = ImageReference.parse(image)
    store = open_store(reference)
    index = store.get_manifest(reference.digest)
    return store, index, [store.get_manifest(entry["digest"]) for entry in index.content["manifests"]]


def test_the_image_is_what_the_specification_and_kserve_want(small_model):
    image = build_image(small_model, version=3, mlflow_run="0123abcd")
    store, index, manifests = parts(image)
    manifest = read_manifest(small_model)
    assert index.content["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert [entry["platform"] for entry in index.content["manifests"]] == [
        {"os": "linux", "architecture": "amd64"},
        {"os": "linux", "architecture": "arm64"},
    ]
    for document in manifests:
        content = document.content
        config = json.loads(read_blob(store, content["config"]))
        assert config["rootfs"]["diff_ids"] == [unpacked_digest(store, layer) for layer in content["layers"]]
        written = [step for step in config["history"] if not step.get("empty_layer")]
        assert len(content["layers"]) == 3 and len(written) >= 2
        assert config["created"] == manifest.provenance["created"]
        assert config["config"]["Entrypoint"] == ["/bin/link-model-and-wait"]
    assert manifests[0].content["layers"][1:] == manifests[1].content["layers"][1:]
    for document in (index, *manifests):
        found = document.content["annotations"]
        assert found["org.opencontainers.image.title"] == found["dev.loopline.model.name"] == "small-late"
        assert found["org.opencontainers.image.version"] == found["dev.loopline.model.version"] == "3"
        assert found["org.opencontainers.image.created"] == manifest.provenance["created"]
        assert found["org.opencontainers.image.revision"] == manifest.provenance["code_version"]
        assert found["org.opencontainers.image.base.name"].startswith("quay.io/opendatahub/odh-modelcar-base-image:")
        assert found["org.opencontainers.image.base.digest"].startswith("sha256:")
        assert found["dev.loopline.model.digest"] == manifest.digest
        assert found["dev.loopline.data.digest"] == manifest.provenance["data_digest"]
        assert found["dev.loopline.mlflow.run"] == "0123abcd"
    assert read_annotations(image) == index.content["annotations"]


def unpacked_digest(store, layer: dict) -> str:
    with store.open_blob(layer) as stream:
        data = b"".join(stream.chunks())
    if layer["mediaType"].endswith("gzip"):
        data = gzip.decompress(data)
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_the_model_comes_back_as_it_was(small_model, registry, tmp_path):
    for name, place in {"layout": "", "registry": registry.image("models/same")}.items():
        fetched = fetch_image(build_image(small_model, image=place, version=3), tmp_path / name)
        files = {file.name: file.read_bytes() for file in Path(small_model).iterdir()}
        found = {file.name: file.read_bytes() for file in fetched.folder.iterdir()}
        release = json.loads(found.pop("release.json"))
        assert found == files
        assert release == {"name": "small-late", "version": 3, "model_digest": read_manifest(small_model).digest}
        # A model from an image can go into the next one.
        again = build_image(fetched.folder, image=place, version=4)
        assert read_release(fetch_image(again, tmp_path / f"{name}-4").folder)["version"] == 4


def test_layout_and_registry_hold_the_same_image_under_its_tag(small_model, registry):
    layout = build_image(small_model, version=5)
    pushed = build_image(small_model, image=registry.image("models/late"), version=5)
    assert ImageReference.parse(layout).digest == ImageReference.parse(pushed).digest
    assert pushed.startswith(f"oci://{registry.host}/models/late@sha256:")
    assert layout.startswith(f"oci:{os.environ['LOOPLINE_HOME']}/images/small-late@sha256:")
    assert resolve(registry.image("models/late:v5")) == pushed
    assert resolve(f"oci:{os.environ['LOOPLINE_HOME']}/images/small-late:v5") == layout
    named = build_image(small_model, image=registry.image("models/late:stable"), version=5)
    assert named == pushed == resolve(registry.image("models/late:stable"))
    unregistered = build_image(small_model)
    digits = read_manifest(small_model).digest.removeprefix("sha256:")
    assert resolve(f"oci:{os.environ['LOOPLINE_HOME']}/images/small-late:model-{digits[:12]}") == unregistered


def test_versions_share_the_model_and_nothing_is_sent_twice(small_model, registry, monkeypatch):
    image, sent, upload = registry.image("models/shared"), [], Registry._upload
    monkeypatch.setattr(
        Registry, "_upload", lambda self, blob, *rest: sent.append(blob.digest) or upload(self, blob, *rest)
    )
    first, second = (parts(build_image(small_model, image=image, version=version))[2] for version in (1, 2))
    layers = [[layer["digest"] for layer in document.content["layers"]] for document in (first[0], second[0])]
    assert layers[0][:2] == layers[1][:2] and layers[0][2] != layers[1][2]
    assert {*layers[0], *layers[1]} <= set(sent) and len(sent) == len(set(sent))
    before = len(sent)
    build_image(small_model, image=image, version=2)
    assert len(sent) == before


#: Builds with surroundings of its own; prints the image.
PROGRAM = """
import os, sys
os.umask(int(sys.argv[2], 8))
from loopline.components.delivery.build import build_image
if len(sys.argv) > 3:  # become another user: here, because that one may not read where Python is installed
    import email.parser, loopline.components.delivery.layout, modelcar_base_image.constants
    os.setgroups([])
    os.setgid(0)
    os.setuid(int(sys.argv[3]))
print(build_image(sys.argv[1], version=3))
"""


#: Runs the rest of its arguments where nothing but the folder before them may be written.
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,ro,bind / && exec "$@"'


def build_elsewhere(
    model: Path, home: Path, *arguments: str, read_only: bool = False, cwd="/", **variables: str
) -> str:
    confine = ["unshare", "--mount", "sh", "-c", READ_ONLY, str(home)] if read_only else []
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        [*confine, sys.executable, "-c", PROGRAM, str(model), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"LOOPLINE_HOME": str(home), **kept, **variables},
    )
    assert done.returncode == 0, done.stderr
    return ImageReference.parse(done.stdout.strip()).digest


def test_the_same_model_gives_the_same_image_anywhere(small_model, tmp_path):
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(small_model, copy, copy_function=shutil.copyfile)
    for number, file in enumerate(sorted(copy.iterdir(), reverse=True)):
        os.utime(file, (1_000_000_000 + number, 1_000_000_000 + number))
        file.chmod(0o600)
    here = build_elsewhere(small_model, tmp_path / "a", "022", TZ="UTC", PYTHONHASHSEED="1")
    there = {"TZ": "Pacific/Auckland", "LC_ALL": "C", "PYTHONHASHSEED": "2"}
    assert build_elsewhere(copy, tmp_path / "b", "077", cwd=tmp_path, **there) == here


def can_confine() -> bool:
    """Whether this machine lets a test make a file system read-only for itself."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="only root can become another user")
def test_any_user_builds_who_may_write_the_temporary_folder_alone(small_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any-user")
    for path in (folder, *folder.parents):  # pytest's own are closed to others
        if path.stat().st_uid == os.geteuid() and path.is_relative_to(tempfile.gettempdir()):
            path.chmod(path.stat().st_mode | 0o011)
    model, home = shutil.copytree(small_model, folder / "model"), folder / "temporary"
    home.mkdir()
    os.chown(home, 1_000_680_000, 0)
    build_elsewhere(model, home, "022", "1000680000", read_only=can_confine(), TMPDIR=str(home))
    assert (home / "images" / "small-late" / "index.json").is_file()
    assert (home / "keys" / "cosign.key").stat().st_mode & 0o777 == 0o600


def test_a_base_by_digest_is_used_and_what_the_registry_has_is_mounted(small_model, registry, monkeypatch):
    embedded = base_module.open_base("")
    other = Registry(registry.host, "bases/modelcar")
    for platform in embedded.platforms:
        for layer in platform.layers:
            other.push_blob(Blob(layer["digest"], layer["size"], lambda layer=layer: whole(embedded.store, layer)))
    index = embedded.store.get_manifest(embedded.digest)
    for entry in index.content["manifests"]:
        document = embedded.store.get_manifest(entry["digest"])
        other.push_blob(Blob.of(read_blob(embedded.store, document.content["config"])))
        other.push_manifest(document)
    other.push_manifest(index, "latest")
    base = f"docker://{registry.host}/bases/modelcar@{embedded.digest}"
    sent = []
    upload = Registry._call
    monkeypatch.setattr(
        Registry, "_call", lambda self, method, *a, **k: sent.append((method, k)) or upload(self, method, *a, **k)
    )
    image = build_image(small_model, image=registry.image("models/mounted"), base=base, version=3)
    mounted = [options["params"]["mount"] for method, options in sent if method == "POST" and options.get("params")]
    assert set(mounted) == {layer["digest"] for platform in embedded.platforms for layer in platform.layers}
    assert read_annotations(image)["org.opencontainers.image.base.name"] == f"{registry.host}/bases/modelcar"
    assert read_annotations(image)["org.opencontainers.image.base.digest"] == embedded.digest
    # One platform of it is a base, too.
    single = f"docker://{registry.host}/bases/modelcar@{index.content['manifests'][1]['digest']}"
    platforms = parts(build_image(small_model, base=single))[1].content["manifests"]
    assert [entry["platform"] for entry in platforms] == [{"os": "linux", "architecture": "arm64"}]


def whole(store, layer):
    with store.open_blob(layer) as stream:
        yield from stream.chunks()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"base": "docker://quay.io/base/image:latest"}, "is named by a tag, which may mean another image tomorrow"),
        ({"base": "oci:/nowhere@sha256:" + "0" * 64}, "There is no image sha256:0000"),
        ({"image": "docker://quay.io/a@sha256:" + "0" * 64}, "has a digest, which is only known once it is built"),
        ({"image": "quay.io/a"}, "is not a reference"),
        ({"image": "oci:/proc/nowhere"}, "cannot be written"),
        ({"version": -1}, "version is -1"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(arguments, sentence, small_model):
    with pytest.raises(InputError, match=sentence) as caught:
        build_image(small_model, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "layers"),
    [({}, 0), ({"rootfs": [1]}, 0), ({"rootfs": {"diff_ids": 3}}, 0), ({"rootfs": {"diff_ids": []}}, 1)],
)
def test_a_base_that_is_no_image_is_refused(config, layers, small_model, tmp_path):
    store, config = Layout(tmp_path / "base"), encode({"os": "linux", "architecture": "amd64", **config})
    listed = [blob_descriptor("application/vnd.oci.image.layer.v1.tar", b"")] * layers
    document = Document.build(MANIFEST, config, config=blob_descriptor(CONFIG, config), layers=listed)
    store.push_manifest(document, "base")
    with pytest.raises(InputError, match=f"Base image {document.digest} and its configuration disagree"):
        build_image(small_model, base=f"oci:{tmp_path}/base@{document.digest}")


def test_a_changed_model_is_not_built(small_model, tmp_path):
    model = shutil.copytree(small_model, tmp_path / "model")
    (model / "model.onnx").write_bytes(b"another")
    with pytest.raises(InputError, match=r"model.onnx in model directory .* is changed"):
        build_image(model)
    assert not (tmp_path / "home" / "images").exists()


def test_an_image_is_not_left_inside_a_pod(small_model, monkeypatch, tmp_path):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("COSIGN_PRIVATE_KEY", "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOOPLINE_HOME")
    with pytest.raises(InputError, match=r"kept inside a pod is lost with it .* name one in a registry"):
        build_image(small_model)
    with pytest.raises(InputError, match=r"There is no key for model images: make the secret loopline-signing"):
        build_image(small_model, image="docker://127.0.0.1:1/models/late")
    assert not (tmp_path / ".loopline").exists()


def test_without_a_key_to_sign_with_nothing_is_stored(small_model, monkeypatch, tmp_path):
    build_image(small_model)
    monkeypatch.setenv("COSIGN_PUBLIC_KEY", str(tmp_path / "home" / "keys" / "cosign.pub"))
    with pytest.raises(InputError, match="There is no key to sign with"):
        build_image(small_model, image=f"oci:{tmp_path}/other")
    assert not (tmp_path / "other").exists()


def test_a_damaged_layout_is_repaired_by_building_again(small_model, tmp_path):
    image = build_image(small_model)
    layout = Layout(ImageReference.parse(image).location)
    for layer in parts(image)[2][0].content["layers"]:
        blob = Path(ImageReference.parse(image).location, "blobs", "sha256", layer["digest"].removeprefix("sha256:"))
        blob.write_bytes(blob.read_bytes()[:-1])
        assert not layout.has_blob(layer["digest"])
    with pytest.raises(InputError, match="damaged or was tampered with"):
        fetch_image(image, tmp_path / "fetched")
    assert build_image(small_model) == image
    fetch_image(image, tmp_path / "fetched")


@pytest.mark.skipif(not shutil.which("skopeo"), reason="there is no skopeo here: install Debian's package of that name")
def test_skopeo_copies_the_image_to_a_registry_as_it_is(small_model, registry, tmp_path):
    image = build_image(small_model, version=3)
    folder = ImageReference.parse(image).location
    copy = [
        "skopeo",
        "--insecure-policy",
        "copy",
        "--multi-arch",
        "all",
        "--preserve-digests",
        "--dest-tls-verify=false",
    ]
    for tag in ("v3", f"sha256-{ImageReference.parse(image).digest.removeprefix('sha256:')}.sig"):
        place = registry.image(f"models/copied:{tag}")
        done = subprocess.run([*copy, f"oci:{folder}:{tag}", place], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    copied = resolve(registry.image("models/copied:v3"))
    assert ImageReference.parse(copied).digest == ImageReference.parse(image).digest
    assert fetch_image(copied, tmp_path / "fetched").version == 3
