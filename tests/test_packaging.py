"""The distribution: complete, installable, and the same on two machines."""

import configparser
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def config():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def _requirements(config) -> list[Requirement]:
    extras = config["options.extras_require"].values()
    texts = [config["options"]["install_requires"], *extras]
    return [Requirement(line) for text in texts for line in _lines(text)]


def _locked() -> dict[str, set[Version]]:
    found = {}
    for line in _lines((ROOT / "constraints.txt").read_text()):
        pin = Requirement(line)
        assert pin.url is None, line
        assert [s.operator for s in pin.specifier] == ["=="], line
        found.setdefault(pin.name.lower(), set()).add(Version(next(iter(pin.specifier)).version))
    return found


def test_every_package_is_listed(config):
    """A package that is not listed is importable from a checkout and missing from the wheel."""
    mapping = dict(line.split(" = ") for line in _lines(config["options"]["package_dir"]))
    folders = set()
    for package, folder in mapping.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT / folder).parts
            folders.add(".".join((package, *parts)))
    assert set(_lines(config["options"]["packages"])) == folders


def test_the_lock_satisfies_every_requirement(config):
    locked = _locked()
    for requirement in _requirements(config):
        versions = locked[requirement.name.lower()]
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_nothing_slows_the_import_of_kfp():
    """Where rfc3987-syntax is installed, jsonschema builds its grammar at import: for kfp, so for each step."""
    assert "rfc3987-syntax" not in _locked()


def test_this_environment_is_the_locked_one():
    """Otherwise the tests would speak of other versions than the ones a user gets."""
    from importlib.metadata import version

    for name in ("kfp", "scikit-learn", "numpy", "pandas", "xgboost-cpu", "mlflow", "pyarrow", "onnx", "onnxruntime"):
        assert Version(version(name)) in _locked()[name], name


def test_serving_runtime_versions_are_exact(config):
    """Models are loaded by the versions of OpenShift AI's serving runtime."""
    wanted = {"scikit-learn": "1.8.0", "numpy": "1.26.4", "xgboost-cpu": "3.1.2", "pandas": "2.3.3"}
    found = {r.name: str(r.specifier) for r in _requirements(config) if r.name in wanted}
    assert found == {name: f"=={version}" for name, version in wanted.items()}


def test_version_is_one(config):
    from loopline.components.image import VERSION

    assert config["metadata"]["version"] == VERSION


def test_a_wheel_works_in_a_fresh_environment(tmp_path):
    """Loopline comes from the wheel alone; its dependencies are this environment's, linked by path.

    A path file does not process other path files, so this checkout's editable install stays out.
    """
    source = tmp_path / "source"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in files.split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(tmp_path.glob("loopline-*.whl"))

    home = tmp_path / "fresh"
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    site = next((home / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    where = [str(python), "-c", "import loopline.components as c; print(c.__file__)"]
    assert str(site) in subprocess.run(where, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    command = [str(home / "bin" / "loopline"), "compile", "--output", str(tmp_path / "compiled")]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    for file in (ROOT / "compiled").glob("*.yaml"):
        assert (tmp_path / "compiled" / file.name).read_text() == file.read_text()
    for file in (ROOT / "compiled" / "elyra").iterdir():
        assert (site / "loopline" / "compiled" / "elyra" / file.name).read_text() == file.read_text()
    shown = subprocess.run(
        [str(home / "bin" / "loopline"), "run", "training", "--help"], capture_output=True, text=True, cwd=tmp_path
    )
    assert "--target VALUE" in shown.stdout
    assert (site / "loopline" / "examples" / "flights" / "training.yaml").is_file()
    # The template of the configuration repository and the page of the app come along, every file of them.
    made = [
        str(python),
        "-c",
        "from loopline.pipelines.sites.repository import init_config_repository as i; print(i())",
    ]
    environment = {"LOOPLINE_HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    done = subprocess.run(made, check=True, capture_output=True, text=True, cwd=tmp_path, env=environment)
    listed = ["git", "--git-dir", done.stdout.strip(), "ls-tree", "-r", "--name-only", "main"]
    tree = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()
    assert set(tree) == {
        name.removeprefix("deploy/config-repo/") for name in files.split("\0") if name.startswith("deploy/config-repo/")
    }
    for file in (ROOT / "examples" / "flights" / "app" / "static").iterdir():
        assert (site / "loopline" / "examples" / "flights" / "app" / "static" / file.name).is_file()
