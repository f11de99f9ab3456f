"""The application beside the sites: one process that is told where they answer."""

import json
import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import replace

import requests

from loopline.components.delivery.child import Child
from loopline.pipelines.sites import state as states
from loopline.pipelines.sites.backoff import backoff
from loopline.pipelines.sites.ports import free_port, is_free
from loopline.pipelines.sites.process import rotate_log
from loopline.pipelines.sites.state import SiteState, now, read_json, sites_home, write_json, write_state

logger = logging.getLogger("loopline")

NAME = "app"
_MODULE = "app.json"
#: Where the application answers, when that port is free.
_URL = "http://127.0.0.1:8100"
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
        self._told: tuple[Mapping[str, str], str] = ({}, "")
        self._due, self._deaths = 0.0, 0
        self.state = SiteState(NAME, url=before.url if before and before.url else _URL, since=now())

    def tick(self, services: Mapping[str, str], model: str) -> None:
        """Start the application, start it again when it ended or is to be told something else.

        Args:
            services: Where each site answers.
            model: The model's name; empty when unknown.
        """
        if self._child and (end := self._child.end()):
            self._child = None
            self._fail(end)
        elif self._child and self._told != (services, model):
            self.stop()
            self._show(states.STARTING, "")
        if not self._child and self.stopped() and time.monotonic() >= self._due:
            self._start(services, model)
        elif self._child and self.state.state != states.READY and _is_healthy(self.state.url):
            self._deaths = 0
            self._show(states.READY, "")

    def _start(self, services: Mapping[str, str], model: str) -> None:
        if not is_free(_port(self.state.url)):
            self.state.url = f"http://127.0.0.1:{free_port()}"
        variables = {"LOOPLINE_SERVICES": json.dumps(services), "LOOPLINE_MODEL": model}
        variables |= {"HOST": "127.0.0.1", "PORT": str(_port(self.state.url))}
        log = sites_home() / NAME / "server-app.log"
        try:
            rotate_log(log)
            self._child = Child([sys.executable, "-m", self.module], variables, log)
        except OSError as error:
            self._fail(f"cannot be started ({error})")
            return
        self._told = (dict(services), model)
        self._show(states.STARTING if self._deaths < _DEATHS else states.FAILED, self.state.reason)

    def _fail(self, reason: str) -> None:
        self._deaths += 1
        self._due = time.monotonic() + backoff(_RESTART_S, self._deaths)
        logger.error("%s: %s %s", NAME, self.module, reason)
        self._show(states.RESTARTING if self._deaths < _DEATHS else states.FAILED, f"{self.module} {reason}")

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
        try:
            write_state(self.state)
        except OSError as error:  # a full disk must not end the sites
            logger.error("%s: its state cannot be written (%s)", NAME, error)


def choose_module(module: str) -> None:
    """Have the agent run an application, now or when it starts.

    Args:
        module: What ``python -m`` runs.
    """
    write_json(sites_home() / _MODULE, module)


def read_module() -> str:
    """Return the application that was chosen, empty for none."""
    return read_json(sites_home() / _MODULE, str) or ""


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])


def _is_healthy(url: str) -> bool:
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy does not know this machine
            return session.get(f"{url}/healthz", timeout=0.2).ok
    except requests.exceptions.RequestException:
        return False
