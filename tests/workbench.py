"""A workbench of OpenShift AI on this machine, with the pipeline server of its namespace.

A real one is a pod. Here a mount namespace holds what the platform puts into that pod: the account's token, namespace
and certificate authorities, the names of the cluster's services, the runtime for Elyra, and the variables that the
workbench's start sets. The server answers at the service's own name and port.
"""

import contextlib
import json
import os
import random
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pipeline_server import TOKEN, PipelineServer, pipeline_server

NAMESPACE = "ml"
DASHBOARD = "https://dashboard.apps.example.com"
#: Stands in the runtime's file, as the platform writes it.
PASSWORD = "hidden-password-of-a-bucket"
_SERVICE = f"ds-pipeline-dspa.{NAMESPACE}.svc.cluster.local"
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


@contextlib.contextmanager
def workbench(folder: Path) -> Iterator[tuple[PipelineServer, Callable[..., subprocess.CompletedProcess]]]:
    """Run a server; yields it and what runs a command in the workbench."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine allows no mount namespaces")
    # An address of this one's own, since the port is the platform's.
    address = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
    runtimes, other = folder / ".local/share/jupyter/metadata/runtimes", folder / "other"
    for made in (runtimes, other):
        made.mkdir(parents=True)
    metadata = {
        "public_api_endpoint": f"{DASHBOARD}/experiments/{NAMESPACE}/",
        "api_endpoint": f"https://ds-pipeline-dspa-{NAMESPACE}.apps.example.com",
        "cos_password": PASSWORD,
    }
    (runtimes / "odh_dsp.json").write_text(json.dumps({"schema_name": "kfp", "metadata": metadata}))
    with pipeline_server(other), pipeline_server(folder, (address, 8443), _SERVICE) as (server, _):
        mounts = _mounts(folder, address)

        def run(*command: str, **variables: str) -> subprocess.CompletedProcess:
            kept = {name: value for name, value in os.environ.items() if not name.startswith("KF_PIPELINES_")}
            # As the start of a workbench sets it; for the service it is the wrong authority.
            set_there = {
                "HOME": str(folder),
                "KF_PIPELINES_SA_TOKEN_PATH": f"{_ACCOUNT}/token",
                "KF_PIPELINES_SSL_SA_CERTS": f"{_ACCOUNT}/ca.crt",
            }
            return subprocess.run(
                ["unshare", "-rm", "sh", "-c", " && ".join([*mounts, shlex.join(command)])],
                capture_output=True, text=True, env=kept | set_there | variables, cwd=folder, timeout=180,
            )  # fmt: skip

        yield server, run


def _mounts(folder: Path, address: str) -> list[str]:
    """Return what makes the pod's files."""
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{address} {_SERVICE}\n")
    account = {
        "token": TOKEN,
        "namespace": NAMESPACE,
        "service-ca.crt": (folder / "server.crt").read_text(),
        "ca.crt": (folder / "other" / "server.crt").read_text(),
    }
    for name, text in account.items():
        (folder / f"account-{name}").write_text(text)
    copies = [f"cp {folder}/account-{name} {_ACCOUNT}/{name}" for name in account]
    return [f"mount --bind {hosts} /etc/hosts", "mount -t tmpfs tmpfs /run", f"mkdir -p {_ACCOUNT}", *copies]
