"""Environments of the benchmark's own for libraries that Loopline does not need, made when they are first used."""

import hashlib
import os
import shutil
import subprocess
import venv
from pathlib import Path

from benchmarks.measure import ROOT

#: By name what is installed. What comes after the first it needs and does not ask for itself, or asks for too loosely.
PEERS = {
    "polars": ("polars==2.1.0", "pyarrow<26"),
    "evidently": ("evidently==0.7.23", "pandas<3", "pyarrow<26"),
    "nannyml": ("nannyml==0.13.1", "pandas<3", "pyarrow<26", "statsmodels"),
    "whylogs": ("whylogs==1.6.4", "pandas<3", "pyarrow<26", "scipy", "ipython"),
    "frouros": ("frouros==0.9.0", "pandas<3", "pyarrow<26"),
    "olot": ("olot==1.2.1", "modelcar-base-image==0.1.0"),
    "kserve": ("kserve==0.21.0", "xgboost-cpu==3.1.2"),
}
_LIMIT_S = 600
#: What was used in this process, by package its version, for the record.
USED: dict[str, str] = {}


class PeerMissing(RuntimeError):
    """A peer cannot be installed; the message says why in one line."""


def peer_python(name: str) -> Path:
    """Return the Python of a peer's environment.

    Args:
        name: One of ``PEERS``.

    Returns:
        The interpreter, under ``.loopline/peers``.

    Raises:
        PeerMissing: pip could not install it.
    """
    requirements = PEERS[name]
    digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:8]
    folder = ROOT / ".loopline" / "peers" / f"{name}-{digest}"
    python = folder / "bin" / "python"
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        _install(python, requirements)
        (folder / "made").touch()
    package, _, version = requirements[0].partition("==")
    USED[package] = version
    return python


def _install(python: Path, requirements: tuple[str, ...]) -> None:
    words = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_LIMIT_S, env=variables)
    except subprocess.TimeoutExpired:
        raise PeerMissing(f"not installed: pip took more than {_LIMIT_S} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
        raise PeerMissing(f"not installed: {lines[-1].removeprefix('ERROR: ')[:160]}")
