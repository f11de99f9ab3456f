"""The application beside the sites: one process that is told where they answer."""

import json
import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import replace

import requests

from loopline.pipelines.sites import state as states
from loopline.pipelines.sites.child import Child, backoff
from loopline.pipelines.sites.ports import free_port, is_free
from loopline.pipelines.sites.process import rotate_log
from loopline.pipelines.sites.state import SiteState, now, sites_home, write_json, write_state

logger = logging.getLogger("loopline")

NAME = "app"
_MODULE = "app.json"
#: Where the application answers when that port is free.
_PORT = 8100
#: Seconds until the next start after it ended: from, at most.
_RESTART_S = (1.0, 30.0)
#: Ends in a row that make it a failure; it is started again all the same.
_DEATHS = 3


class App:
    """The application's process, kept alive.

    Attributes:
        module: What ``python -m`` runs.
        state: What it does.
    """

    def __init__(self, module: str, before: SiteState | None = None):
        """Take up an application; it starts with the first ``tick``.

        Args:
            module: What ``python -m`` runs; it serves on ``PORT`` and answers ``/healthz``.
            before: What it did in the agent's earlier life.
        """
        self.module = module
        self._child: Child | None = None
        self._leaving: Child | None = None
        self._variables: dict[str, str] = {}
        self._due, self._deaths = 0.0, 0
        wanted = int(before.url.rpartition(":")[2]) if before and before.url else _PORT
        self._port = wanted if is_free(wanted) else free_port()
        self.state = SiteState(NAME, url=f"http://127.0.0.1:{self._port}", since=now())

    def tick(self, services: Mapping[str, str], model: str) -> None:
        """Start the application, start it again when it ended or is to be told something else.

        Args:
            services: Where each site answers.
            model: The model's name; empty when unknown.
        """
        variables = {"LOOPLINE_SERVICES": json.dumps(services), "HOST": "127.0.0.1", "PORT": str(self._port)}
        variables |= {"LOOPLINE_MODEL": model} if model else {}
        if self._child and (end := self._child.end()):
            self._child = None
            self._deaths += 1
            self._due = time.monotonic() + backoff(_RESTART_S, self._deaths)
            logger.error("%s: %s %s", NAME, self.module, end)
            self._show(states.RESTARTING if self._deaths < _DEATHS else states.FAILED, f"{self.module} {end}")
        elif self._child and variables != self._variables:
            self.stop()
        if not self._child and self.stopped() and time.monotonic() >= self._due:
            log = sites_home() / NAME / "server-app.log"
            rotate_log(log)
            self._variables = variables
            self._child = Child([sys.executable, "-m", self.module], variables, log)
            self._show(states.STARTING if self._deaths < _DEATHS else states.FAILED, self.state.reason)
        elif self._child and self.state.state != states.READY and _is_healthy(self.state.url):
            self._deaths = 0
            self._show(states.READY, "")

    def stop(self) -> None:
        """Tell it to end; ``stopped`` sees to it."""
        if self._child:
            self._child.terminate()
            self._leaving, self._child = self._child, None

    def stopped(self) -> bool:
        """Return whether it has ended."""
        return self._leaving is None or self._leaving.poll_gone()

    def _show(self, state: str, reason: str) -> None:
        pid = self._child.pid if self._child else 0
        self.state = replace(self.state, state=state, reason=reason, pid=pid, since=now())
        write_state(self.state)


def choose_module(module: str) -> None:
    """Have the agent run an application, now or when it starts.

    Args:
        module: What ``python -m`` runs.
    """
    write_json(sites_home() / _MODULE, module)


def read_module() -> str:
    """Return the application that was chosen, empty for none."""
    try:
        return json.loads((sites_home() / _MODULE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""


def _is_healthy(url: str) -> bool:
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy does not know this machine
            return session.get(f"{url}/healthz", timeout=0.2).ok
    except requests.exceptions.RequestException:
        return False
