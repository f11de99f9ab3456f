"""Fetching an image: whole or not at all, and nothing but a model."""

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest
from delivery_registry import Handler, proxy, run_registry, run_server

from loopline.components.delivery.attestation import attest_tested
from loopline.components.delivery.build import build_image
from loopline.components.delivery.fetch import fetch_image, read_annotations
from loopline.components.delivery.layout import Layout
from loopline.components.delivery.oci import CONFIG, INDEX, MANIFEST, Document, blob_descriptor, encode
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.signing import sign
from loopline.components.delivery.store import open_store, read_blob
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest

TAR, TAR_GZIP = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip"


def remake(image: str, change=None, annotations=None, change_config=None) -> str:
    """Change a layout's image as its builder could, and sign it: ``change`` gets layers, as descriptor and bytes."""
    reference = ImageReference.parse(image)
    store = open_store(reference)
    index = store.get_manifest(reference.digest).content
    manifests, blobs = [], []
    for number, entry in enumerate(index["manifests"]):
        content = store.get_manifest(entry["digest"]).content
        layers = [[layer["mediaType"], read_layer(store, layer)] for layer in content["layers"]]
        if change:
            change(layers, number)
        blobs += [data for _, data in layers]
        config = json.loads(read_blob(store, content["config"]))
        config["rootfs"]["diff_ids"] = [blob_descriptor("", data)["digest"] for _, data in layers]
        if change_config:
            change_config(config)
        config = encode(config)
        described = [blob_descriptor(kind, data) for kind, data in layers]
        manifests.append(
            Document.build(MANIFEST, config, *blobs, config=blob_descriptor(CONFIG, config), layers=described)
        )
        store.push_manifest(manifests[-1])
    listed = [
        document.descriptor(platform=entry["platform"])
        for document, entry in zip(manifests, index["manifests"], strict=True)
    ]
    made = Document.build(INDEX, manifests=listed, annotations={**index["annotations"], **(annotations or {})})
    store.push_manifest(made, "made")
    sign(reference.at(made.digest).uri)
    return reference.at(made.digest).uri


def read_layer(store: Layout, layer: dict) -> bytes:
    with store.open_blob(layer) as stream:
        return b"".join(stream.chunks())


def archive(*members: tuple) -> bytes:
    """A tar archive of names with their contents, or with a change of the entry."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            data = content if isinstance(content, bytes) else b""
            info.size = len(data)
            if callable(content):
                content(info)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def in_pieces(data: bytes) -> bytes:
    """Compress like builders that let a layer be read from its middle: a stream for each part, as gzip allows."""
    return b"".join(gzip.compress(data[start : start + 512]) for start in range(0, len(data), 512))


def refused(image: str, folder: Path) -> str:
    """Fetch what has to be refused: nothing is left; returns the one sentence."""
    with pytest.raises(InputError) as caught:
        fetch_image(image, folder)
    assert not folder.exists() and not list(folder.parent.glob(f".{folder.name}*"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def add(data: bytes, media_type: str = TAR):
    return lambda layers, _: layers.append([media_type, data])


def test_a_fetched_image_says_what_it_is(small_model, tmp_path):
    image = build_image(small_model, version=3)
    fetched = fetch_image(image, tmp_path / "deep" / "fetched")
    assert fetched.folder == tmp_path / "deep" / "fetched" / "models"
    assert (fetched.reference, fetched.digest) == (image, ImageReference.parse(image).digest)
    assert (fetched.name, fetched.version) == ("small-late", 3)
    assert fetched.model_digest == read_manifest(small_model).digest
    assert fetched.annotations["dev.loopline.model.version"] == "3"
    assert sorted(file.name for file in fetched.folder.parent.iterdir()) == ["image.json", "models"]
    assert {file.stat().st_mode & 0o111 for file in fetched.folder.iterdir()} == {0}


def link(info: tarfile.TarInfo) -> None:
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"


def hard_link(info: tarfile.TarInfo) -> None:
    info.type, info.linkname = tarfile.LNKTYPE, "models/model.onnx"


def device(info: tarfile.TarInfo) -> None:
    info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, 1, 3


def pipe(info: tarfile.TarInfo) -> None:
    info.type = tarfile.FIFOTYPE


@pytest.mark.parametrize(
    "member",
    [
        ("models/../../outside", b"text"),
        ("models/a/../../../outside", b"text"),
        ("/models/../outside", b"text"),
        ("models/link", link),
        ("models", link),
        ("models", b"text"),
        ("models/hard", hard_link),
        ("models/null", device),
        ("models/pipe", pipe),
        ("models/.wh.model.onnx", b""),
        ("models/.wh..wh..opq", b""),
        (".wh.models", b""),
        ("models/null\0", lambda info: info.pax_headers.update(path="models/a\0b")),
    ],
    ids=lambda member: member[0].replace("/", "|").replace("\0", "0"),
)
def test_nothing_but_files_and_folders_below_the_model_is_unpacked(member, small_model, tmp_path):
    image = remake(build_image(small_model), add(archive(member)))
    assert "neither a file nor a folder of a model" in refused(image, tmp_path / "fetched")
    assert not (tmp_path / "outside").exists() and not (tmp_path.parent / "outside").exists()


def test_what_is_elsewhere_in_an_image_is_left_there(small_model, tmp_path):
    data = archive(("etc/passwd", b"text"), ("modelsx/file", b"text"), ("../outside", b"text"), ("etc/link", link))
    fetched = fetch_image(remake(build_image(small_model), add(data)), tmp_path / "fetched")
    assert sorted(file.name for file in fetched.folder.parent.iterdir()) == ["image.json", "models"]
    assert not (tmp_path / "outside").exists() and not (tmp_path / "modelsx").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (add(archive(("models/extra", b"text"))), "extra in model directory"),
        (add(archive(("models/model.onnx", b"text"))), "model.onnx in model directory"),
        (
            add(in_pieces(archive(("etc/a", b"x" * 2000), ("models/extra", b"text"))), TAR_GZIP),
            "extra in model directory",
        ),
        (add(gzip.compress(b"x" * 5000)[:-9] + bytes(9), TAR_GZIP), "is not a tar archive"),
        (add(b"x" * 5000), "is not a tar archive"),
        (add(gzip.compress(b"x" * 5000), TAR_GZIP), "is not a tar archive"),
        (add(b"x" * 5000, TAR_GZIP), "is not a tar archive"),
        (add(gzip.compress(archive(("models/m", b"x" * 90_000)))[:-400], TAR_GZIP), "is not a tar archive"),
        (add(b"", "application/vnd.oci.image.layer.v1.tar+zstd"), "which model images do not have"),
        (lambda layers, _: layers.pop(), "has no release.json beside its model"),
        (lambda layers, number: layers.pop(1) if number else None, "another model for each platform"),
        (lambda layers, number: layers.pop() if not number else None, "another model for each platform"),
    ],
)
def test_an_image_that_is_none_of_a_model_is_refused(change, sentence, small_model, tmp_path):
    assert sentence in refused(remake(build_image(small_model), change), tmp_path / "fetched")


@pytest.mark.parametrize(
    "lie",
    [{"dev.loopline.model.version": "4"}, {"dev.loopline.model.name": "other"}, {"dev.loopline.model.digest": "x"}],
)
def test_an_image_that_says_two_things_is_refused(lie, small_model, tmp_path):
    message = refused(remake(build_image(small_model, version=3), annotations=lie), tmp_path / "fetched")
    assert "says it is" in message and "build it again" in message


@pytest.mark.parametrize("annotations", [["text"], "text", {"dev.loopline.model.version": 3}])
def test_annotations_that_are_none_are_refused(annotations, small_model, tmp_path):
    image = build_image(small_model, version=3)
    reference = ImageReference.parse(image)
    store = open_store(reference)
    content = json.loads(store.get_manifest(reference.digest).data)
    made = Document(INDEX, encode(content | {"annotations": annotations}))
    store.push_manifest(made, "made")
    other = reference.at(made.digest).uri
    sign(other)
    assert "are not text: the image is damaged" in refused(other, tmp_path / "fetched")
    with pytest.raises(InputError, match="are not text"):
        read_annotations(other)


def test_a_configuration_of_other_layers_is_refused(small_model, tmp_path):
    image = remake(build_image(small_model), change_config=lambda config: config["rootfs"]["diff_ids"].pop())
    assert "and its configuration disagree about its layers" in refused(image, tmp_path / "fetched")


def test_every_byte_of_a_layout_is_checked(small_model, tmp_path):
    image = build_image(small_model)
    folder = Path(ImageReference.parse(image).location) / "blobs" / "sha256"
    used = {digits(descriptor) for descriptor in descriptors(image)}
    assert len(used) == 9  # an index, two manifests and configurations, a base layer for each and two above it
    for name in sorted(used):
        original = (folder / name).read_bytes()
        for changed in (original[:-1], original + b"x", original[:100] + b"?" + original[101:]):
            (folder / name).write_bytes(changed)
            message = refused(image, tmp_path / "fetched")
            assert "tampered with" in message or "is not a tar archive" in message, (name, message)
        (folder / name).unlink()
        assert "lacks sha256" in (message := refused(image, tmp_path / "fetched")) or "There is no image" in message
        (folder / name).write_bytes(original)
    fetch_image(image, tmp_path / "fetched")


def descriptors(image: str) -> list[dict]:
    reference = ImageReference.parse(image)
    store = open_store(reference)
    index = store.get_manifest(reference.digest)
    found = [index.descriptor()]
    for entry in index.content["manifests"]:
        content = store.get_manifest(entry["digest"]).content
        found += [entry, content["config"], *content["layers"]]
    return found


def digits(descriptor: dict) -> str:
    return descriptor["digest"].removeprefix("sha256:")


def test_a_verified_folder_is_used_without_its_registry(small_model, tmp_path, monkeypatch):
    with run_registry(tmp_path / "registry", memory=True) as running:
        image = build_image(small_model, image=running.image("models/late"), version=3)
        first = fetch_image(image, tmp_path / "fetched")
    assert fetch_image(image, tmp_path / "fetched") == first
    # What was never asked for cannot be had, and neither can what another key has to vouch for.
    with pytest.raises(InputError, match="cannot be reached"):
        fetch_image(image, tmp_path / "fetched", tested=True)
    monkeypatch.setenv("LOOPLINE_HOME", str(tmp_path / "other-home"))
    with pytest.raises(InputError, match="cannot be reached"):
        fetch_image(image, tmp_path / "fetched")


def test_a_damaged_or_other_folder_is_replaced_and_a_foreign_one_is_not(small_model, tmp_path):
    image, other = (build_image(small_model, version=version) for version in (3, 4))
    folder = tmp_path / "fetched"
    fetched = fetch_image(image, folder)
    (fetched.folder / "model.onnx").write_bytes(b"damaged")
    assert fetch_image(image, folder) == fetched
    assert (fetched.folder / "model.onnx").read_bytes() == (small_model / "model.onnx").read_bytes()
    assert fetch_image(other, folder).version == 4
    folder.joinpath("models", "model.onnx").write_bytes(b"damaged")
    shutil.rmtree(ImageReference.parse(image).location)
    with pytest.raises(InputError, match="There is no image"):
        fetch_image(image, folder)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"foreign is not an empty folder, and not an image fetched before"):
        fetch_image(image, tmp_path / "foreign")
    assert (tmp_path / "foreign" / "thesis.txt").read_text() == "mine"
    with pytest.raises(InputError, match=r"thesis.txt is not an empty folder"):
        fetch_image(image, tmp_path / "foreign" / "thesis.txt")


@pytest.mark.parametrize("damage", [None, b"", b"{}", b"[1]"])
def test_a_damaged_release_is_fetched_again(damage, small_model, tmp_path):
    """Power that fails leaves empty files; nothing but the image itself has the digest of this one."""
    image = build_image(small_model, version=3)
    fetched = fetch_image(image, tmp_path / "fetched")
    release = fetched.folder / "release.json"
    whole = release.read_bytes()
    release.unlink() if damage is None else release.write_bytes(damage)
    assert fetch_image(image, tmp_path / "fetched") == fetched
    assert release.read_bytes() == whole


def test_a_test_result_that_was_verified_is_remembered(small_model, tmp_path):
    image = build_image(small_model)
    fetched = fetch_image(image, tmp_path / "fetched")
    attest_tested(image, {"result": "PASSED"})
    assert fetch_image(image, tmp_path / "fetched", tested=True) == fetched
    shutil.rmtree(ImageReference.parse(image).location)
    assert fetch_image(image, tmp_path / "fetched", tested=True) == fetched


def test_a_replacement_that_is_killed_is_completed(small_model, tmp_path, monkeypatch):
    """A process that dies while it deletes what it replaced has deleted some files of it."""
    image, other = (build_image(small_model, version=version) for version in (3, 4))
    folder = tmp_path / "fetched"
    fetch_image(image, folder)
    pid = os.fork()
    if not pid:

        def delete(path, **_) -> None:
            for file in Path(path).rglob("image.json"):
                file.unlink()
                os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(shutil, "rmtree", delete)
        fetch_image(other, folder)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    assert fetch_image(other, folder).version == 4
    assert [entry.name for entry in tmp_path.iterdir() if "fetched" in entry.name] == ["fetched"]


def test_neighbors_are_left_alone(small_model, tmp_path):
    notes = tmp_path / ".fetched-notes"
    notes.mkdir()
    (notes / "thesis.txt").write_text("mine")
    fetch_image(build_image(small_model), tmp_path / "fetched")
    assert (notes / "thesis.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_named(small_model):
    with pytest.raises(InputError, match=r"/proc/nowhere/fetched cannot be made"):
        fetch_image(build_image(small_model), "/proc/nowhere/fetched")


def test_many_may_fetch_at_once(small_model, tmp_path):
    image, found, problems = build_image(small_model), [], []
    start = threading.Barrier(6)

    def fetch() -> None:
        start.wait()
        try:
            found.append(fetch_image(image, tmp_path / "fetched"))
        except InputError as error:
            problems.append(str(error))

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [] and found == [found[0]] * 6
    assert [entry.name for entry in tmp_path.iterdir() if "fetched" in entry.name] == ["fetched"]


def test_a_killed_fetch_leaves_nothing_that_the_next_one_does_not_clear(small_model, tmp_path):
    """The process is killed while the registry, behind a proxy, holds back the end of the model."""
    asked, killed = threading.Event(), threading.Event()
    program = "import sys; from loopline.components.delivery.fetch import fetch_image; fetch_image(*sys.argv[1:])"

    def answer(request: Handler) -> bool:
        if request.command != "GET" or model not in request.path:
            return False
        request.send_response(200)
        request.send_header("Content-Length", str(size))
        request.end_headers()
        request.wfile.write(running.blob(f"sha256:{model}").read_bytes()[: size // 2])
        request.wfile.flush()
        asked.set()
        killed.wait(30)
        return True

    with run_registry(tmp_path / "registry") as running:
        image = build_image(small_model, image=running.image("models/late"))
        layer = descriptors(image)[4]  # after the index, a manifest, its configuration and the base
        model, size = digits(layer), layer["size"]
        with run_server(proxy(running.host, answer)) as host:
            slow = image.replace(running.host, host)
            command = [sys.executable, "-c", program, slow, str(tmp_path / "fetched")]
            process = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL)
            assert asked.wait(30)
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed.set()
        assert list(tmp_path.glob(".fetched.fetch-*")) and not (tmp_path / "fetched").exists()
        fetch_image(image, tmp_path / "fetched")
    assert [entry.name for entry in tmp_path.iterdir() if "fetched" in entry.name] == ["fetched"]
