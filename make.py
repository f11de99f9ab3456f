"""Loopline's commands on a machine that has only Python and git.

    python3 make.py demo     train on real flights, register the model, show where to look
    python3 make.py test     run the tests
    python3 make.py faults   try every fault on every component
    python3 make.py hostile  feed some 20,000 bad inputs to all that reads what strangers write
    python3 make.py bench    measure speed and memory, print the tables
    python3 make.py soak     three sites under load, with faults, for so many minutes (30); print what was lost
    python3 make.py compile  compile the pipelines to compiled/
    python3 make.py lint     check format and style
    python3 make.py setup    only make the environment in .venv
    python3 make.py lock     resolve constraints.txt and requirements/ anew from setup.cfg
    python3 make.py licenses write docs/licenses.md, from what is installed

Each makes the environment in .venv first, from pip's package index: the versions of constraints.txt, and only files
whose hashes are in requirements/.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
EXTRAS = "drift,serving,examples,elyra,test"
SUPPORTED = ((3, 11), (3, 12))
#: What setup.cfg and the few packages that exist as sources only are built with; on macOS xgboost-cpu is one of them,
#: and for one Python gevent.
BUILD = (
    "setuptools>=77",
    "wheel",
    *(f"{name} ; sys_platform == 'darwin'" for name in ("cffi", "cython>=3.1", "greenlet", "hatchling")),
)
#: What resolves.
LOCK = "uv>=0.9,<1"


def main() -> int:
    """Run the command named on the command line."""
    words = sys.argv[1:]
    if len(words) < 1 or words[0] not in COMMANDS:
        print(__doc__)
        return 2
    os.chdir(ROOT)
    return COMMANDS[words[0]](words[1:])


def setup(_words=()) -> int:
    """Make the environment, unless it is there and still fits."""
    stamp = VENV / "loopline.stamp"
    locked = (f"requirements/{name}.txt" for name in ("build", "core", *EXTRAS.split(",")))
    inputs = [(ROOT / name).read_bytes() for name in ("setup.cfg", "constraints.txt", "make.py", *locked)]
    wanted = hashlib.sha256(b"".join(inputs)).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return 0
    python = find_python()
    print(f"Setting up .venv with {python} (about 2.5 GB, some minutes the first time) ...", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    made = subprocess.run([python, "-m", "venv", str(VENV)], capture_output=True, text=True)
    if made.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        print(made.stdout + made.stderr, file=sys.stderr)
        print(
            "make.py: Python cannot make an environment; on Debian and Ubuntu run `apt install python3-venv`.",
            file=sys.stderr,
        )
        return 1
    for command in install_commands(str(VENV / "bin" / "python")):
        if subprocess.run(command).returncode:
            print(
                "make.py: the packages could not be installed; see the lines above, then run the command again.",
                file=sys.stderr,
            )
            return 1
    stamp.write_text(wanted)
    return 0


def install_commands(python: str) -> list[list[str]]:
    """Return what fills an environment: tools to build with, the packages, then Loopline; each file has its hash.

    Nothing comes in beside them: builds take their tools from the environment, the files are complete, which the last
    command checks, and Loopline brings no packages.
    """
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    hashed = [word for name in ("core", *EXTRAS.split(",")) for word in ("--requirement", f"requirements/{name}.txt")]
    return [
        [*pip, "--require-hashes", "--only-binary", ":all:", "--requirement", "requirements/build.txt"],
        [*pip, "--require-hashes", "--no-deps", "--no-build-isolation", *hashed],
        [*pip, "--no-deps", "--no-build-isolation", "--editable", "."],
        [python, "-m", "pip", "check"],
    ]


def find_python() -> str:
    """Return a Python that Loopline supports, this one if it will do."""
    if sys.version_info[:2] in SUPPORTED:
        return sys.executable
    for major, minor in reversed(SUPPORTED):
        found = shutil.which(f"python{major}.{minor}")
        if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            return found
    raise SystemExit(f"make.py: Loopline needs Python 3.11 or 3.12, and this is {sys.version.split()[0]}: install one.")


def in_venv(*command: str):
    """Return a command that makes the environment and runs something in it."""

    def run(words) -> int:
        code = setup()
        if code:
            return code
        environment = {**os.environ, "PATH": f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"}
        return subprocess.run([str(VENV / "bin" / command[0]), *command[1:], *words], env=environment).returncode

    return run


def lint(words) -> int:
    """Check style, then format."""
    return in_venv("ruff", "check", ".")(words) or in_venv("ruff", "format", "--check", ".")(words)


def lock(_words) -> int:
    """Resolve the newest versions that setup.cfg allows, for both Pythons; then write the hashes of each extra."""
    with tempfile.TemporaryDirectory() as folder:
        # Not .venv: that is made of the lock, which need not fit setup.cfg now.
        python = str(Path(folder) / "bin" / "python")
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes"]
        for command in ([find_python(), "-m", "venv", folder], [*pip, "--requirement", "requirements/lock.txt"]):
            if code := subprocess.run(command).returncode:
                return code
        uv = str(Path(folder) / "bin" / "uv")
        extras = [word for extra in EXTRAS.split(",") for word in ("--extra", extra)]
        Path("constraints.txt").write_text(resolve(uv, "setup.cfg", "--upgrade", *extras))
        write_hashes(uv)
    return 0


def resolve(uv: str, source: str, *options: str, text: str | None = None) -> str:
    """Return what uv resolves some requirements to, a package a line, for both Pythons and all platforms."""
    command = [uv, "pip", "compile", "--universal", "--python-version", "3.11", "--quiet", "--no-header"]
    done = subprocess.run([*command, "--no-annotate", *options, source], input=text, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.returncode)  # uv said why
    return done.stdout


def write_hashes(uv: str) -> None:
    """Write requirements/: the packages of constraints.txt by who needs them, with the hash of each of their files.

    One file for what every installation has and one for what each extra brings beside: any choice of them installs.
    """
    hashed = ("--constraint", "constraints.txt", "--generate-hashes")
    core = packages(resolve(uv, "setup.cfg", *hashed))
    files = {"core": core}
    for extra in EXTRAS.split(","):
        files[extra] = [one for one in packages(resolve(uv, "setup.cfg", *hashed, "--extra", extra)) if one not in core]
    files["app"] = packages(resolve(uv, "examples/flights/app/requirements.txt", *hashed))
    files["build"] = packages(resolve(uv, "-", *hashed, text="\n".join(BUILD)))
    files["lock"] = packages(resolve(uv, "-", "--generate-hashes", "--upgrade", text=LOCK))
    for name, entries in files.items():
        text = "\n".join(["# Written by `make.py lock`.", *entries])
        (ROOT / "requirements" / f"{name}.txt").write_text(text + "\n")


def packages(text: str) -> list[str]:
    """Split a file of requirements: a package with its hashes each."""
    return re.split(r"\n(?=\S)", text.strip())


def faults(words) -> int:
    """Try every fault on every component that it can befall; other runs of the tests try a part."""
    os.environ["LOOPLINE_ALL_FAULTS"] = "1"
    return in_venv("python", "-m", "pytest", "--numprocesses=2", "--dist=loadfile", "tests/faults")(words)


def hostile(words) -> int:
    """Feed many more hostile inputs than the tests do, others each time, and count them."""
    os.environ["LOOPLINE_HOSTILE"] = "full"
    # Each input has a limit of its own.
    return in_venv("python", "-m", "pytest", "--timeout=0", "tests/hostile")(words)


COMMANDS = {
    "demo": in_venv("loopline", "demo"),
    # Files side by side, each file's tests in one process: they share servers and trained models.
    "test": in_venv("python", "-m", "pytest", "--numprocesses=2", "--dist=loadfile", "--no-loadscope-reorder"),
    "hostile": hostile,
    "bench": in_venv("python", "-m", "benchmarks"),
    "soak": in_venv("python", "-m", "benchmarks.soak"),
    "compile": in_venv("loopline", "compile"),
    "faults": faults,
    "lint": lint,
    "setup": setup,
    "lock": lock,
    "licenses": in_venv("python", "-m", "loopline.deploy.inventory", "licenses", "docs/licenses.md"),
}

if __name__ == "__main__":
    sys.exit(main())
