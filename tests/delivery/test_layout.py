"""OCI layout folders."""

import json
import threading

import pytest

from loopline.components.delivery.build import build_image
from loopline.components.delivery.fetch import resolve
from loopline.components.delivery.layout import Layout
from loopline.components.delivery.oci import CONFIG, MANIFEST, Blob, Document, blob_descriptor, digest_of
from loopline.components.delivery.reference import ImageReference
from loopline.components.errors import InputError


def document(text: str, subject: Document | None = None) -> Document:
    data = text.encode()
    return Document.build(
        MANIFEST,
        b"{}",
        data,
        config=blob_descriptor(CONFIG, b"{}"),
        layers=[blob_descriptor("text/plain", data)],
        subject=subject.descriptor() if subject else None,
        artifactType="text/plain",
    )


def test_other_tools_find_the_image(small_model):
    image = build_image(small_model, version=3)
    reference = ImageReference.parse(image)
    folder = resolve(image).partition("@")[0].removeprefix("oci:")
    with open(f"{folder}/oci-layout") as stream:
        assert json.load(stream) == {"imageLayoutVersion": "1.0.0"}
    with open(f"{folder}/index.json") as stream:
        index = json.load(stream)
    assert index["schemaVersion"] == 2
    named = {
        entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"]
        for entry in index["manifests"]
        if "org.opencontainers.image.ref.name" in entry.get("annotations", {})
    }
    assert named["v3"] == reference.digest
    assert f"sha256-{reference.digest.removeprefix('sha256:')}.sig" in named


def test_a_blob_is_written_once_and_whole(tmp_path):
    layout, read = Layout(tmp_path / "layout"), []
    blob = Blob(digest_of(b"content"), 7, lambda: read.append(1) or [b"con", b"", b"tent"])
    assert not layout.has_blob(blob.digest)
    for _ in range(2):
        layout.push_blob(blob)
    assert len(read) == 1 and layout.has_blob(blob.digest)
    wrong = Blob(digest_of(b"planned"), 7, lambda: [b"another"])
    with pytest.raises(InputError, match="has another digest or size"):
        layout.push_blob(wrong)
    assert not layout.has_blob(wrong.digest)


def test_many_may_tag_and_attach_at_once(tmp_path):
    subject = document("subject")
    Layout(tmp_path / "layout").push_manifest(subject, "subject")
    start, problems = threading.Barrier(8), []

    def work(number: int) -> None:
        start.wait()
        try:
            Layout(tmp_path / "layout").push_manifest(document(f"tagged {number}"), f"v{number}")
            Layout(tmp_path / "layout").push_manifest(document(f"attached {number}", subject))
        except InputError as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    layout = Layout(tmp_path / "layout")
    assert problems == [] and len(layout.referrers(subject.digest)) == 8
    assert [layout.get_manifest(f"v{number}") for number in range(8)] == [
        Document(MANIFEST, document(f"tagged {number}").data) for number in range(8)
    ]


@pytest.mark.parametrize("digest", ["sha256:../../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "0" * 32, None])
def test_a_digest_is_no_path(digest, tmp_path):
    layout = Layout(tmp_path)
    with (
        pytest.raises(InputError, match="is not a digest: write sha256:"),
        layout.open_blob({"digest": digest, "size": 1}),
    ):
        pass


@pytest.mark.parametrize(
    "index", ["not json", "[]", '{"manifests": 1}', '{"manifests": [{}]}', '{"size": NaN}', '{"size": 1e999}']
)
def test_a_damaged_index_is_named(index, tmp_path):
    (tmp_path / "index.json").write_text(index)
    with pytest.raises(InputError, match=r"is not a JSON object|is not a list of manifests|is not a descriptor"):
        Layout(tmp_path).get_manifest("v1")


def test_what_is_not_there_is_none(tmp_path):
    layout = Layout(tmp_path / "nowhere")
    assert layout.get_manifest("v1") is None and layout.get_manifest("sha256:" + "0" * 64) is None
    assert layout.referrers("sha256:" + "0" * 64) == []
    with pytest.raises(InputError, match=r"There is no image oci:.*/nowhere:v1 in OCI layout"):
        resolve(f"oci:{tmp_path}/nowhere:v1")
    assert not (tmp_path / "nowhere").exists()
