"""The license report: in sync with the lock, and no license slips in."""

import importlib.metadata
from pathlib import Path

import pytest

from loopline.components.errors import InputError
from loopline.components.licenses import NOTED, PERMISSIVE, UNKNOWN, license_of, unlooked
from loopline.deploy.inventory import license_report as module
from loopline.deploy.inventory.__main__ import main
from loopline.deploy.inventory.license_report import license_report
from loopline.deploy.inventory.locked import read_lock

ROOT = Path(__file__).parents[2]


def test_the_report_is_that_of_the_lock():
    text = (ROOT / "docs" / "licenses.md").read_text()
    assert text == license_report(ROOT / "requirements"), "run `python3 make.py licenses`"


def test_every_license_was_looked_at():
    for name in read_lock(ROOT / "requirements"):
        assert not unlooked(name, license_of(name)), name


def test_what_is_no_open_source_is_said_first():
    text = (ROOT / "docs" / "licenses.md").read_text()
    decide = text[: text.index("## Every package")]
    for words in ("alibi-detect is under the Business Source License 1.1", "a license from Seldon", "EXTRAS=serving"):
        assert words in decide.replace("\n", " ")
    lock = read_lock(ROOT / "requirements")
    assert lock["alibi-detect"].needs == ["drift"], "the image without the extra would hold it"
    for license_, packages in NOTED.items():
        assert license_ not in PERMISSIVE
        assert all(f"{license_}: " in decide and name in decide for name in packages)


def test_strong_copyleft_is_not_in_the_step_image():
    lock = read_lock(ROOT / "requirements")
    for name, package in lock.items():
        strong = "GPL" in license_of(name)
        assert not (strong and {"core", "serving", "drift"} & set(package.needs)), name


@pytest.mark.parametrize(
    ("fields", "expression"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: GPL", "MIT OR Apache-2.0"),
        ("License: Apache 2.0", "Apache-2.0"),
        ("License: MIT", "MIT"),
        ("License: the text of something", UNKNOWN),
        ("Classifier: License :: OSI Approved :: ISC License (ISCL)", "ISC"),
        ("Classifier: License :: OSI Approved :: GNU Affero General Public License v3", UNKNOWN),
        ("License: UNKNOWN", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_a_license_is_read_of_what_a_package_says(fields, expression, tmp_path, monkeypatch):
    info = tmp_path / "odd_part-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: odd-part\nVersion: 1.0\n{fields}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.metadata.version("odd-part") == "1.0"
    assert license_of("odd-part") == expression


def test_the_bsd_licenses_are_told_apart_by_their_text(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    two = "Redistributions in binary form must reproduce the above copyright notice."
    for name, text, expression in (
        ("two", two, "BSD-2-Clause"),
        ("three", f"{two} Neither the name of the holder nor ...", "BSD-3-Clause"),
        ("none", "Do as you like.", UNKNOWN),
    ):
        info = tmp_path / f"{name}_part-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-part\nVersion: 1.0\nLicense: BSD\n")
        (info / "LICENSE").write_text(text)
        (info / "RECORD").write_text(f"{info.name}/LICENSE,,\n")
        assert license_of(f"{name}-part") == expression


@pytest.mark.parametrize(
    ("name", "expression", "found"),
    [
        ("a", "MIT", []),
        ("a", "MIT AND (Apache-2.0 OR BSD-3-Clause)", []),
        ("a", "MPL-2.0", ["MPL-2.0"]),
        ("certifi", "MPL-2.0", []),
        ("certifi", "AGPL-3.0-only", ["AGPL-3.0-only"]),
        ("a", UNKNOWN, [UNKNOWN]),
    ],
)
def test_a_license_counts_for_the_packages_it_was_looked_at_for(name, expression, found):
    assert unlooked(name, expression) == found


def test_a_new_license_stops_the_report(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(module, "license_of", lambda name: "SSPL-1.0" if name == "pandas" else "MIT")
    with pytest.raises(InputError, match=r"Nobody has looked at the licenses of pandas \(SSPL-1.0\): read them, then"):
        license_report(ROOT / "requirements")
    monkeypatch.chdir(ROOT)
    assert main(["licenses", str(tmp_path / "licenses.md")]) == 2
    assert "pandas (SSPL-1.0)" in capsys.readouterr().err and not (tmp_path / "licenses.md").exists()
