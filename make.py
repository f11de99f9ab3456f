"""Loopline's commands on a machine that has only Python and git.

    python3 make.py demo     train on real flights, register the model, show where to look
    python3 make.py test     run the tests
    python3 make.py bench    measure speed and memory, print the tables
    python3 make.py compile  compile the pipelines to compiled/
    python3 make.py lint     check format and style
    python3 make.py setup    only make the environment in .venv
    python3 make.py lock     resolve constraints.txt anew from setup.cfg

Each makes the environment in .venv first: the exact versions of constraints.txt, from pip's package index.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
EXTRAS = "drift,serving,examples,elyra,test"
SUPPORTED = ((3, 11), (3, 12))


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
    inputs = [(ROOT / name).read_bytes() for name in ("setup.cfg", "constraints.txt", "make.py")]
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
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run([*pip, "--constraint", "constraints.txt", "--editable", f".[{EXTRAS}]"])
    if done.returncode:
        print(
            "make.py: the packages could not be installed; see the lines above, then run the command again.",
            file=sys.stderr,
        )
        return 1
    stamp.write_text(wanted)
    return 0


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
    """Resolve the newest versions that setup.cfg allows, for both Pythons, into constraints.txt."""
    code = setup()
    if code:
        return code
    python = str(VENV / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "uv"], check=True)
    extras = [word for extra in EXTRAS.split(",") for word in ("--extra", extra)]
    command = [
        python,
        "-m",
        "uv",
        "pip",
        "compile",
        "--universal",
        "--python-version",
        "3.11",
        "--quiet",
        "--no-header",
        "--no-annotate",
        "--upgrade",
        "--output-file",
        "constraints.txt",
        *extras,
        "setup.cfg",
    ]
    return subprocess.run(command).returncode


COMMANDS = {
    "demo": in_venv("loopline", "demo"),
    # Files side by side, each file's tests in one process: they share servers and trained models.
    "test": in_venv("python", "-m", "pytest", "--numprocesses=2", "--dist=loadfile", "--no-loadscope-reorder"),
    "bench": in_venv("python", "-m", "benchmarks"),
    "compile": in_venv("loopline", "compile"),
    "lint": lint,
    "setup": setup,
    "lock": lock,
}

if __name__ == "__main__":
    sys.exit(main())
