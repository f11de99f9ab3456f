"""A layer of an image."""

import io
import tarfile

import pytest

from loopline.components.delivery.layer import Layer
from loopline.components.delivery.oci import digest_of
from loopline.components.errors import InputError


def test_a_layer_is_a_tar_archive_that_says_nothing_of_the_machine(tmp_path):
    (tmp_path / "b.bin").write_bytes(b"x" * 3_000_001)
    (tmp_path / "b.bin").chmod(0o600)
    name = "models/" + "long/" * 30 + "ä.txt"
    layer = Layer({"models/b.bin": tmp_path / "b.bin", name: b"text", "models/empty": b""})
    data = b"".join(layer.chunks())
    assert (layer.blob.size, layer.blob.digest) == (len(data), digest_of(data))
    assert len(data) % tarfile.RECORDSIZE == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
        assert archive.extractfile("models/b.bin").read() == (tmp_path / "b.bin").read_bytes()
        assert archive.extractfile(name).read() == b"text"
    folders = [member.name for member in members if member.isdir()]
    files = [member.name for member in members if member.isreg()]
    assert folders == sorted(folders) and folders[:2] == ["models", "models/long"]
    assert files == sorted(["models/b.bin", "models/empty", name])
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
    assert {m.mode for m in members if m.isreg()} == {0o644} and {m.mode for m in members if m.isdir()} == {0o755}


def test_the_order_of_files_does_not_matter():
    assert Layer({"b": b"1", "a": b"2"}).blob.digest == Layer({"a": b"2", "b": b"1"}).blob.digest


@pytest.mark.parametrize("now", [b"short", b"longer than it was"])
def test_a_file_that_changes_while_it_is_read_is_refused(now, tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(b"as planned")
    layer = Layer({"model.onnx": file})
    file.write_bytes(now)
    with pytest.raises(InputError, match=r"model.onnx changed while it was read"):
        list(layer.chunks())
