"""Files that are small where they lie and enormous where they are read; limits are lowered so that small bombs do."""

import bz2
import gzip
import io
import json
import lzma
import shutil
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from peaks import peak_mb

from loopline.components.arguments import convert_value
from loopline.components.data import local, streams
from loopline.components.data.ingest import ingest
from loopline.components.data.partitions import divide_table
from loopline.components.delivery import fetch
from loopline.components.delivery.build import build_image
from loopline.components.delivery.fetch import fetch_image
from loopline.components.delivery.layout import Layout
from loopline.components.delivery.oci import CONFIG, INDEX, MANIFEST, Document, blob_descriptor, encode
from loopline.components.delivery.reference import ImageReference
from loopline.components.delivery.signing import sign
from loopline.components.documents import reading
from loopline.components.errors import InputError
from loopline.components.model import predictor
from loopline.components.model.directory import read_manifest, seal_model
from loopline.components.model.predictor import load_predictor
from loopline.deploy.start_run import read_parameters_file
from loopline.pipelines.commands.arguments import _read_file

TAR, TAR_GZIP = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip"
ZEROS = bytes(8 * 2**20)


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("table.csv", data)
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, zipped, zstd], ids=lambda one: one.__name__
)
def test_a_table_that_unpacks_to_hundreds_of_times_its_size_is_refused(pack, tmp_path, monkeypatch):
    file, rows = tmp_path / "bomb", b"number\n" + b"1\n" * 2**21
    file.write_bytes(pack(rows))
    monkeypatch.setattr(streams, "FREE_BYTES", 2**20)
    with pytest.raises(InputError, match="unpacks to more than 200 times its size"):
        ingest(str(file), tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()
    monkeypatch.setattr(streams, "FREE_BYTES", 2**30)
    assert ingest(str(file), tmp_path / "out.parquet")["rows"] == 2**21


def test_a_line_without_end_takes_no_memory(tmp_path):
    file = tmp_path / "line.csv.gz"
    with gzip.open(file, "wb", 1) as stream:
        for _ in range(100):
            stream.write(ZEROS.replace(b"\0", b"a"))
    program = """
import sys
from loopline.components.data.ingest import ingest
from loopline.components.errors import InputError
try:
    ingest(sys.argv[1], sys.argv[2])
except InputError:
    pass
else:
    raise SystemExit("it was read")
"""
    assert peak_mb(program, file, tmp_path / "out.parquet") < 700


def test_a_folder_with_no_end_of_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "MOST_FILES", 5)
    for number in range(6):
        (tmp_path / f"{number}.csv").write_text("a\n1\n")
    for uri in (tmp_path, tmp_path / "*.csv"):
        with pytest.raises(InputError, match="more than 5 files"):
            divide_table(str(uri))


@pytest.fixture
def image(samples, monkeypatch, tmp_path):
    """Returns a function that adds a layer to a signed image, as whoever holds the key could."""
    facts = json.loads((samples / "facts.json").read_text())
    monkeypatch.setenv("COSIGN_PRIVATE_KEY", facts["key"])

    def add(data: bytes, kind: str = TAR) -> str:
        reference = ImageReference.parse(build_image(samples / "model", f"oci:{tmp_path / 'images'}"))
        store = Layout(reference.location)
        index = store.get_manifest(reference.digest).content
        content = store.get_manifest(index["manifests"][0]["digest"]).content
        with store.open_blob(content["config"]) as stream:
            config = json.loads(b"".join(stream.chunks()))
        config["rootfs"]["diff_ids"].append("sha256:" + "0" * 64)
        config, layers = encode(config), [*content["layers"], blob_descriptor(kind, data)]
        manifest = Document.build(MANIFEST, config, data, config=blob_descriptor(CONFIG, config), layers=layers)
        made = Document.build(INDEX, manifests=[manifest.descriptor()], annotations=index["annotations"])
        store.push_manifest(manifest)
        store.push_manifest(made, "made")
        sign(reference.at(made.digest).uri)
        return reference.at(made.digest).uri

    return add


def archive(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_a_layer_that_unpacks_to_hundreds_of_times_its_size_is_refused(image, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "FREE_BYTES", 2**20)
    bomb = image(gzip.compress(archive(("models/zeros", ZEROS))), TAR_GZIP)
    with pytest.raises(InputError, match="unpacks to more than 200 times its size"):
        fetch_image(bomb, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_a_header_that_is_a_bomb_is_refused(image, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "FREE_BYTES", 2**20)
    info = tarfile.TarInfo("models/a")
    info.pax_headers["comment"] = "0" * len(ZEROS)
    with pytest.raises(InputError, match="unpacks to more than 200 times its size"):
        fetch_image(image(gzip.compress(info.tobuf(tarfile.PAX_FORMAT)), TAR_GZIP), tmp_path / "fetched")


def test_a_layer_of_no_end_of_files_is_refused(image, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MOST_MEMBERS", 20)
    many = archive(*((f"models/{number}", b"") for number in range(30)))
    with pytest.raises(InputError, match="more than 20 files"):
        fetch_image(image(many), tmp_path / "fetched")


def test_a_file_that_is_a_hole_of_a_terabyte_is_refused(image, tmp_path):
    info = tarfile.TarInfo("models/hole")
    info.size = 512
    info.pax_headers = {"GNU.sparse.size": str(2**40), "GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,512"}
    hole = info.tobuf(tarfile.PAX_FORMAT) + bytes(512 + 1024)
    with tarfile.open(fileobj=io.BytesIO(hole)) as archive:
        assert archive.getmembers()[0].size == 2**40
    with pytest.raises(InputError, match="neither a file nor a folder of a model"):
        fetch_image(image(hole), tmp_path / "fetched")


def test_a_skops_file_that_is_a_bomb_is_not_unpacked(samples, tmp_path, monkeypatch):
    model = tmp_path / "model"
    shutil.copytree(samples / "model", model)
    (model / "model.onnx").unlink()
    (model / "model.skops").write_bytes(zipped(ZEROS))
    manifest = read_manifest(model)
    manifest.format, manifest.file = "skops", "model.skops"
    seal_model(model, manifest)
    monkeypatch.setattr(predictor, "_FREE_BYTES", 2**20)
    with pytest.raises(InputError, match=r"unpacks to 8,388,608 bytes"):
        load_predictor(model)


def laughs() -> str:
    """Some hundred bytes that stand for a billion values."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    return "\n".join(lines)


@pytest.mark.parametrize("read", [lambda file: _read_file(str(file)), read_parameters_file], ids=["run", "event"])
@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (laughs(), "expand to too many values"),
        ("a: &a [*a]", "holds itself"),
        ("a: " + "[" * 3000, "is not a "),
        ("a: !!python/object/apply:os.system ['touch {}']", "could not determine a constructor"),
        ("!!python/object/new:subprocess.Popen [[touch, x]]", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
    ],
    ids=["laughs", "itself", "deep", "apply", "new", "name"],
)
def test_yaml_neither_expands_nor_runs(text, sentence, read, tmp_path):
    file, touched = tmp_path / "parameters.yaml", tmp_path / "touched"
    file.write_text(text.format(touched) if "{}" in text else text)
    with pytest.raises(InputError, match=sentence):
        read(file)
    assert not touched.exists()


def test_references_that_save_writing_are_read(tmp_path):
    file = tmp_path / "parameters.yaml"
    file.write_text("a: &one {x: 1}\nb: *one\n")
    assert _read_file(str(file)) == {"a": {"x": 1}, "b": {"x": 1}}


@pytest.mark.parametrize("kind", ["LIST", "STRUCT"])
def test_json_that_is_nested_without_end_is_refused(kind):
    with pytest.raises(InputError, match="must be a JSON"):
        convert_value("x", kind, "[" * 100_000)


def test_what_is_larger_than_memory_is_named(tmp_path):
    with pytest.raises(InputError, match="is not a page"), reading(tmp_path, "a page", "write it again"):
        bytearray(2**60)


def test_the_limits_are_those_that_the_documentation_names():
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
    for number in (streams.MOST_TIMES, f"{local.MOST_FILES:,}", f"{fetch.MOST_MEMBERS:,}"):
        assert f"{number}" in text
