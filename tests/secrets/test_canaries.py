"""The search for planted secrets finds them, in every form and wherever they are put: otherwise it proves nothing."""

import base64
import gzip
import io
import json
import subprocess
import tarfile
import zipfile
from urllib.parse import quote, quote_plus

import pyarrow as pa
import pyarrow.parquet
import pytest
from canaries import Search, password, token

FORMS = {
    "plain": str,
    "upper case": str.upper,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 behind a user": lambda text: base64.b64encode(f"user:{text}".encode()).decode(),
    "base64 behind another": lambda text: base64.b64encode(f"admin:{text}".encode()).decode(),
    "base64 of addresses": lambda text: base64.urlsafe_b64encode(f"me:{text}".encode()).decode(),
    "quoted": lambda text: quote(text, safe=""),
    "quoted as a form": quote_plus,
    "every character quoted": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "quoted twice": lambda text: quote(quote(text, safe=""), safe=""),
    "hexadecimal": lambda text: text.encode().hex(),
    "JSON": json.dumps,
    "representation": repr,
}


def _tar(data: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        entry = tarfile.TarInfo("etc/x")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return target.getvalue()


def _zip(data: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.txt", data)
    return target.getvalue()


def _parquet(data: bytes) -> bytes:
    target = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"x": ["a" * 50, data.decode()] * 20}), target, compression="zstd")
    return target.getvalue()


PLACES = {"a file": bytes, "gzip": gzip.compress, "a layer": _tar, "a zip": _zip, "a table": _parquet}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [password("one"), token("two")], ids=["password", "token"])
def test_every_form_is_found(form, secret):
    found = Search()
    found.text("here", f"Authorization: {FORMS[form](secret)}, and more")
    assert found.leaks, FORMS[form](secret)


@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_looked_into(tmp_path, place):
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "file").write_bytes(PLACES[place](password("x").encode()))
    found = Search()
    found.folder(tmp_path)
    assert found.leaks
    assert not Search().leaks


def test_objects_of_git_are_looked_into(tmp_path):
    bare = tmp_path / "config.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(bare)], check=True)
    command = ["git", "-C", str(bare), "hash-object", "-w", "--stdin"]
    subprocess.run(command, input=token("lost").encode(), check=True, capture_output=True)
    found = Search()
    found.folder(tmp_path)
    assert any("objects of" in leak for leak in found.leaks)


def test_names_of_files_are_looked_at(tmp_path):
    (tmp_path / base64.urlsafe_b64encode(token("name").encode()).decode()).write_text("")
    found = Search()
    found.folder(tmp_path)
    assert found.leaks


def test_what_is_no_secret_is_not_found():
    found = Search()
    found.text("here", "user:password, Basic dXNlcjpwYXNzd29yZA==, canary")
    assert (found.leaks, found.files, found.size) == ([], 1, 49)
