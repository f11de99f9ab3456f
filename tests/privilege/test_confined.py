"""Every component runs as a random user who may write nothing but /tmp and has no capabilities."""

import json
import os
import subprocess
import sys
from pathlib import Path

import confine
import pytest

from loopline.components import STAGES

TESTS = Path(confine.__file__).parent
ROOT = TESTS.parent

#: What such a user is, and may: printed as JSON by the very Python that runs the nodes.
_PROBE = """
import json, os, pwd
def refused(path):
    try:
        open(os.path.join(path, "probe"), "w").close()
    except OSError as error:
        return error.strerror
    return ""
status = dict(line.split(":\\t") for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
try:
    name = pwd.getpwuid(os.getuid()).pw_name
except KeyError:
    name = ""
print(json.dumps({
    "ids": [os.getuid(), os.geteuid(), os.getgid()], "groups": os.getgroups(), "name": name,
    "home": os.environ.get("HOME"), "capabilities": {int(status[c], 16) for c in status if c.startswith("Cap")} == {0},
    "no_new_privileges": status["NoNewPrivs"].strip() == "1", "level": os.environ["CONFINED"],
    "closed": {path: refused(path) for path in PLACES}, "open": {path: refused(path) for path in ("/tmp", FOLDER)},
}))
"""


def _confined(folder: Path, *command: object) -> subprocess.CompletedProcess:
    if os.getuid() == 0:
        os.chown(folder, confine.UID, confine.GID)
    words = [sys.executable, TESTS / "confine.py", folder, sys.executable, *command]
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(TESTS), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, env=variables)
    if "nor make namespaces" in done.stderr:
        pytest.skip(done.stderr.strip())
    return done


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    if ROOT.is_relative_to("/tmp"):
        pytest.skip("this copy of the repository lies below /tmp, which is another one for what is confined")
    folder = tmp_path_factory.mktemp("probed")
    places = ["/", "/var/tmp", "/dev/shm", "/etc", "/run", sys.prefix, str(TESTS), str(Path.home())]
    program = f"PLACES, FOLDER = {places!r}, {str(folder)!r}\n{_PROBE}"
    done = _confined(folder, "-c", program)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_user_is_a_random_one_without_rights(probed):
    assert probed["ids"] == [confine.UID, confine.UID, confine.GID]
    assert set(probed["groups"]) <= {0, 65534}
    assert (probed["name"], probed["home"]) == ("", None)
    assert probed["capabilities"] and probed["no_new_privileges"]


def test_only_its_own_folders_can_be_written(probed):
    assert set(probed["open"].values()) == {""}
    if probed["level"] == "user":
        pytest.skip("no mount namespaces here: files are closed by their owners, and not by a read-only file system")
    assert set(probed["closed"].values()) == {"Read-only file system"}


@pytest.fixture(scope="module")
def confined(tmp_path_factory, bundled):
    if ROOT.is_relative_to("/tmp"):
        pytest.skip("this copy of the repository lies below /tmp, which is another one for what is confined")
    folder = tmp_path_factory.mktemp("confined")
    table = folder / "table.parquet"
    table.write_bytes(bundled["breast_cancer"].read_bytes())
    told = folder / "told.jsonl"
    done = _confined(folder, TESTS / "confined_world.py", folder, table, told)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {line["component"]: line for line in map(json.loads, told.read_text().splitlines())}
    assert set(found) == {*STAGES, ""}
    return found


@pytest.mark.parametrize("component", STAGES)
def test_a_component_runs(confined, component):
    assert not confined[component]["error"], confined[component]["error"]


@pytest.mark.parametrize("component", STAGES)
def test_a_component_tries_to_write_nowhere_else(confined, component):
    assert [path for path in confined[component]["written"] if not path.startswith(("/tmp", "/dev/null"))] == []
    # joblib's own warning: workers of a pod have a /dev/shm, and here there is none that can be written.
    said = "\n".join(line for line in confined[component]["printed"].splitlines() if "joblib" not in line)
    for complaint in ("Read-only file system", "not a writable", "Permission denied", "Traceback"):
        assert complaint not in said, said


def test_nothing_is_left_behind(confined):
    # What matplotlib knows of fonts, for all steps.
    assert confined[""]["left"] == [f"/tmp/matplotlib-{confine.UID}"]
