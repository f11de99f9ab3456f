"""The process environment: where things live on this machine, and how to set it for a while."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

#: Threads that wait for each other sleep. XGBoost's and scikit-learn's would spin: where two processes share the cores,
#: or a pod may use fewer than the node has, they then wait on a thread that gets no core because of them.
QUIET_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}


def settle() -> None:
    """Set what libraries read when they are imported, unless somebody has.

    A user that is in no passwd and has no ``HOME``, as a pod's may, gets that of CRI-O: MLflow cannot be imported
    without. Where the home cannot be written, matplotlib gets one folder for what it knows of fonts, instead of a new
    one for each process. ONNX Runtime would note an identifier of the machine, and send what it does to its maker.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if os.path.expanduser("~") == "~":  # noqa: PTH111
        os.environ["HOME"] = "/"
    if "MPLCONFIGDIR" not in os.environ and not os.access(Path.home(), os.W_OK):
        folder = Path(tempfile.gettempdir()) / f"matplotlib-{os.getuid()}"
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.stat().st_uid == os.getuid():  # nobody else's
                os.environ["MPLCONFIGDIR"] = str(folder)


def on_cluster() -> bool:
    """Return whether this process runs in a pod: Kubernetes sets this variable in each."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


def home() -> Path:
    """Return Loopline's folder on this machine: ``LOOPLINE_HOME``, else ``.loopline`` in the working directory."""
    return Path(os.environ.get("LOOPLINE_HOME") or ".loopline").expanduser().absolute()


def home_is_kept() -> bool:
    """Return whether what is under ``home()`` outlives this process: not in a pod, unless somebody named the folder.

    A workbench is a pod as well, but its folder is a volume: NB_PREFIX is set by what starts workbenches.
    """
    return bool(os.environ.get("LOOPLINE_HOME") or os.environ.get("NB_PREFIX") or not on_cluster())


def ca_bundle() -> str:
    """Return the file with the certificate authorities to trust; empty for those that come with Python's packages.

    ``REQUESTS_CA_BUNDLE`` is what Python programs read, ``SSL_CERT_FILE`` what OpenShift sets.
    """
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or ""


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the length of a ``with`` block.

    Args:
        values: The variables by name.
    """
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
