"""The lock: every file by its hash, complete for each choice of extras, and all that installs goes by it."""

import configparser
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from small_wheels import write_wheel

from loopline.deploy.inventory.locked import read_requirements

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "requirements"
CONTAINERFILES = [*(ROOT / "deploy" / "image").glob("Containerfile*"), ROOT / "examples/flights/app/Containerfile"]


def load_make():
    spec = importlib.util.spec_from_file_location("make", ROOT / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = load_make()
EXTRAS = MAKE.EXTRAS.split(",")


def names(file: str) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement, _ in read_requirements(FOLDER / f"{file}.txt")}


def test_every_file_is_pinned_and_hashed():
    assert {path.stem for path in FOLDER.iterdir()} == {"core", "app", "build", "lock", *EXTRAS}
    for path in FOLDER.iterdir():
        found = read_requirements(path)
        assert found, path
        for requirement, hashes in found:
            assert [one.operator for one in requirement.specifier] == ["=="], requirement
            assert hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", one) for one in hashes), requirement


def test_the_hashes_are_those_of_the_pins():
    """Whatever installs from constraints.txt and whatever installs from requirements/ gets the same versions."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {str(Requirement(line)) for line in lines if line.strip() and line[0] != "#"}
    pinned = {f"{pin.name}=={next(iter(pin.specifier)).version}" for pin in map(Requirement, pins)}
    hashed = {
        f"{one.name}=={next(iter(one.specifier)).version}"
        for file in ("core", *EXTRAS)
        for one, _ in read_requirements(FOLDER / f"{file}.txt")
    }
    assert hashed == pinned, "run `python3 make.py lock`"


@pytest.mark.parametrize("extra", ["", *EXTRAS])
def test_an_extra_brings_all_that_it_needs(extra):
    """`pip check` refuses what lacks something; here it is seen without a download, from what is installed here."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    text = config["options.extras_require"][extra] if extra else config["options"]["install_requires"]
    wanted = [Requirement(line) for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]
    present, seen = names("core") | (names(extra) if extra else set()), set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        assert name in present, f"{requirement} is not locked: run `python3 make.py lock`"
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        for need in map(Requirement, needs):
            extras = requirement.extras or {""}
            if need.marker is None or any(need.marker.evaluate({"extra": one}) for one in extras):
                wanted.append(need)


@pytest.mark.parametrize("file", CONTAINERFILES, ids=lambda file: file.name)
def test_images_install_by_hash_alone(file):
    text = file.read_text().replace("\\\n", " ")
    commands = re.findall(r"pip install [^&\n]*", text)
    assert commands
    for command in commands:
        own = "--no-deps --no-build-isolation ." in command
        assert "--no-deps" in command or "requirements/build.txt" in command, command
        assert own or "--require-hashes" in command, command
        # Builds fetch their tools past the hashes, unless nothing is built or they are there.
        assert "--no-build-isolation" in command or "--only-binary :all:" in command, command
    assert "pip check" in text
    assert not re.search(r"constraint|https?://\S+\.whl", text)
    for name in re.findall(r"requirements/(\w+)\.txt", text):
        assert (FOLDER / f"{name}.txt").is_file()


def test_every_extra_of_the_step_image_is_locked():
    (default,) = re.findall(r"(?m)^ARG EXTRAS=(\S+)$", (ROOT / "deploy/image/Containerfile").read_text())
    assert set(default.split(",")) <= set(EXTRAS)


def test_the_environment_is_installed_by_hash_alone():
    build, packages, own, check = MAKE.install_commands("python")
    assert "--require-hashes" in build and "--only-binary" in build
    assert "--require-hashes" in packages and "--no-build-isolation" in packages
    assert {f"requirements/{name}.txt" for name in ("core", *EXTRAS)} <= set(packages)
    assert check[-1] == "check"
    assert "--no-deps" in own and "--no-build-isolation" in own


def test_a_package_that_was_changed_is_not_installed(tmp_path, monkeypatch):
    """The real commands of `make.py setup` with pip, from a folder in the place of the index."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = str(tmp_path / "venv" / "bin" / "python")
    digest = write_wheel(tmp_path, "some_part", "honest = True")
    (tmp_path / "requirements").mkdir()
    for name in ("build", "core", *EXTRAS):
        line = f"some-part==1.0 --hash=sha256:{digest}\n" if name == "core" else ""
        (tmp_path / "requirements" / f"{name}.txt").write_text(line)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_PYTHON", python)
    _, command, *_ = MAKE.install_commands(sys.executable)
    write_wheel(tmp_path, "some_part", "honest = False")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode and "DO NOT MATCH THE HASHES" in done.stderr
    assert not list((tmp_path / "venv" / "lib").rglob("some_part*"))
    assert write_wheel(tmp_path, "some_part", "honest = True") == digest
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    assert list((tmp_path / "venv" / "lib").rglob("some_part.py"))
