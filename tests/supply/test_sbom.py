"""The list of the packages in an image, of what real pip reports as it installs them."""

import json
import subprocess
import sys
import venv

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from small_wheels import write_wheel

from loopline.deploy.inventory.__main__ import main


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What pip reports of an installation, and the hashes of the files."""
    folder = tmp_path_factory.mktemp("installed")
    needs = "License: MIT\nRequires-Dist: small_part >=1\nRequires-Dist: nowhere ; extra == 'more'\n"
    hashes = {
        "big_part": write_wheel(folder, "big_part", metadata=needs),
        "small_part": write_wheel(folder, "small_part"),
    }
    venv.create(folder / "venv", with_pip=False)
    command = [sys.executable, "-m", "pip", "--python", str(folder / "venv/bin/python"), "install", "--quiet"]
    command += ["--no-index", "--find-links", str(folder), "--report", str(folder / "report.json"), "big_part"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "report.json", hashes


def test_the_list_is_valid_and_names_the_very_files(report, tmp_path):
    file, hashes = report
    assert main(["sbom", "loopline-step", str(file), str(tmp_path / "sbom.json")]) == 0
    text = (tmp_path / "sbom.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found = json.loads(text)
    assert (found["specVersion"], found["metadata"]["component"]["name"]) == ("1.6", "loopline-step")
    parts = {part["name"]: part for part in found["components"]}
    assert {name: part["hashes"][0]["content"] for name, part in parts.items()} == {
        "big-part": hashes["big_part"],
        "small-part": hashes["small_part"],
    }
    assert parts["big-part"]["purl"] == "pkg:pypi/big-part@1.0"
    edges = {entry["ref"]: entry["dependsOn"] for entry in found["dependencies"]}
    assert edges["pkg:pypi/big-part@1.0"] == ["pkg:pypi/small-part@1.0"]
    assert set(edges["image"]) == {"pkg:pypi/big-part@1.0", "pkg:pypi/small-part@1.0"}
    main(["sbom", "loopline-step", str(file), str(tmp_path / "again.json")])
    assert (tmp_path / "again.json").read_text() == text


def test_a_license_that_is_known_is_named(report, tmp_path):
    """In an image the packages are there, so their licenses can be read; pytest is here."""
    document = json.loads(report[0].read_text())
    document["install"][0]["metadata"] = {"name": "pytest", "version": "9.9"}
    (tmp_path / "report.json").write_text(json.dumps(document))
    main(["sbom", "image", str(tmp_path / "report.json"), str(tmp_path / "sbom.json")])
    parts = {part["name"]: part for part in json.loads((tmp_path / "sbom.json").read_text())["components"]}
    assert parts["pytest"]["licenses"] == [{"expression": "MIT"}]


def test_a_mirror_s_login_is_left_out(report, tmp_path):
    text = report[0].read_text()
    document = json.loads(text)
    document["install"][0]["download_info"]["url"] = "https://robot:canary@pypi.example.com/p/big.whl?token=canary#x"
    (tmp_path / "report.json").write_text(json.dumps(document))
    assert main(["sbom", "image", str(tmp_path / "report.json"), str(tmp_path / "sbom.json")]) == 0
    written = (tmp_path / "sbom.json").read_text()
    assert "https://pypi.example.com/p/big.whl" in written and "canary" not in written


@pytest.mark.parametrize("change", ["no hash", "no report", "no file"])
def test_what_cannot_be_listed_is_said(change, report, tmp_path, capsys):
    file = tmp_path / "report.json"
    document = json.loads(report[0].read_text())
    if change == "no hash":
        document["install"][0]["download_info"] = {"url": "file:///somewhere", "dir_info": {}}
    if change != "no file":
        file.write_text("[]" if change == "no report" else json.dumps(document))
    assert main(["sbom", "image", str(file), str(tmp_path / "sbom.json")]) == 2
    said = capsys.readouterr().err
    assert ("was installed without a hash" if change == "no hash" else "is not a report of pip's") in said
    assert said.count("\n") == 1 and not (tmp_path / "sbom.json").exists()
