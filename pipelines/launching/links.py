"""Where a browser shows what is on the server."""

import os

from loopline.pipelines.launching.connection import Server


def run_link(server: Server, run_id: str) -> str:
    """Return the address of a run: in the dashboard where that is known, else in the API."""
    if server.dashboard and server.namespace:
        return f"{server.dashboard}/develop-train/pipelines/runs/{server.namespace}/runs/{run_id}"
    page = os.environ.get("KF_PIPELINES_UI_ENDPOINT")  # of Kubeflow's own pages, as its client has it
    if page:
        return f"{page.rstrip('/')}/#/runs/details/{run_id}"
    return f"{server.host}/apis/v2beta1/runs/{run_id}"


def schedule_link(server: Server, recurring_run_id: str) -> str:
    """Return the address of a schedule; see ``run_link``."""
    if server.dashboard and server.namespace:
        return f"{server.dashboard}/develop-train/pipelines/runs/{server.namespace}/schedules/{recurring_run_id}"
    page = os.environ.get("KF_PIPELINES_UI_ENDPOINT")
    if page:
        return f"{page.rstrip('/')}/#/recurringrun/details/{recurring_run_id}"
    return f"{server.host}/apis/v2beta1/recurringruns/{recurring_run_id}"
