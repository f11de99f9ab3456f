"""A machine on which nothing is set up."""

import os

import pytest


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path):
    """Keep the logins, the cluster and the proxies of this machine's user out."""
    for name in list(os.environ):
        if name.startswith(("JUPYTER_", "XDG_", "OCI_", "NB_", "PIPELINES_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
