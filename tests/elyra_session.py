"""Elyra in a folder of its own: its programs and JupyterLab, without this machine's settings and without a cluster."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import elyra
import requests

from loopline.pipelines.sites.ports import free_port

TOKEN = "token-of-the-test"
#: Where the environment that Elyra is installed in keeps Jupyter's files.
_PREFIX = Path(elyra.__file__).parents[4]
_BIN = Path(sys.executable).parent


class ElyraSession:
    """A scratch home with a runtime configuration that points nowhere, as it suffices to export.

    Args:
        folder: An empty folder.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folders = {name: folder / name.lower() for name in ("HOME", "DATA", "CONFIG", "RUNTIME")}
        for path in folders.values():
            path.mkdir(parents=True)
        self.config = folders["CONFIG"]
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "ELYRA"))},
            "HOME": str(folders["HOME"]),
            "LOOPLINE_HOME": str(folder / "loopline"),
            "JUPYTER_DATA_DIR": str(folders["DATA"]),
            "JUPYTER_CONFIG_DIR": str(folders["CONFIG"]),
            "JUPYTER_RUNTIME_DIR": str(folders["RUNTIME"]),
            "JUPYTER_PATH": str(_PREFIX / "share" / "jupyter"),
            "JUPYTER_CONFIG_PATH": str(_PREFIX / "etc" / "jupyter"),
        }

    def run(self, program: str, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
        """Run a program of this environment."""
        command = [str(_BIN / program), *words]
        return subprocess.run(command, capture_output=True, text=True, env=self.environment, cwd=cwd or self.folder)

    def add_runtime(self) -> None:
        """Make the runtime configuration ``offline``."""
        done = self.run(
            "elyra-metadata", "create", "runtimes", "--schema_name=kfp", "--name=offline", "--display_name=offline",
            "--api_endpoint=https://unused.invalid", "--cos_endpoint=http://unused.invalid", "--cos_bucket=unused",
            "--cos_auth_type=USER_CREDENTIALS", "--cos_username=x", "--cos_password=xxxxxxxx",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def export(self, pipeline: Path) -> str:
        """Validate a pipeline and export it, as the editor's Export does; returns the YAML."""
        target = self.folder / f"{pipeline.stem}-exported.yaml"
        words = ("--runtime-config", "offline", "--format", "yaml", "--output", str(target), "--overwrite")
        done = self.run("elyra-pipeline", "export", str(pipeline), *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "[Warning]" not in done.stdout and "[Error]" not in done.stdout, done.stdout
        return target.read_text(encoding="utf-8")

    @contextlib.contextmanager
    def lab(self, root: Path) -> Iterator[str]:
        """Run JupyterLab over a folder; yields its address, which needs ``TOKEN``."""
        port = free_port()
        settings = (f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={TOKEN}", f"--port={port}")
        command = [str(_BIN / "jupyter-lab"), "--no-browser", "--ip=127.0.0.1", "--allow-root", *settings]
        with (
            open(self.folder / "lab.log", "w") as log,
            subprocess.Popen(command, env=self.environment, stdout=log, stderr=log, cwd=root) as process,
        ):
            try:
                url = f"http://127.0.0.1:{port}"
                self._await(f"{url}/elyra/pipeline/components/KUBEFLOW_PIPELINES?token={TOKEN}", process)
                yield url
            finally:
                process.terminate()

    def _await(self, url: str, process: subprocess.Popen) -> None:
        for _ in range(240):
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(url, timeout=60).ok:
                    return
            if process.poll() is not None:
                break
            time.sleep(0.25)
        raise AssertionError((self.folder / "lab.log").read_text())
