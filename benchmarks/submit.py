"""What `loopline submit` costs beside KFP's own call, against the server of the tests."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import markdown, measure, spread

_REPEATS = 7
_ARGUMENTS = {"uri": "s3://bucket/flights.parquet", "target": "late", "name": "flights"}
_FILE = "compiled/training.yaml"


def bare(host: str, token: str, authority: str) -> None:
    """Start the pipeline as KFP's documentation does it."""
    import kfp
    from kfp.client import ServiceAccountTokenVolumeCredentials

    client = kfp.Client(host=host, credentials=ServiceAccountTokenVolumeCredentials(path=token), ssl_ca_cert=authority)
    client.create_run_from_pipeline_package(_FILE, arguments=_ARGUMENTS, experiment_name="training")


def run() -> str:
    """Start a run both ways in turn, each in a process of its own; returns a Markdown table."""
    from tests.pipeline_server import pipeline_server

    program = Path(sys.executable).with_name("loopline")
    words = [word for name, value in _ARGUMENTS.items() for word in (f"--{name}", value)]
    seconds: dict[str, list[float]] = {"bare": [], "new": [], "held": []}
    with tempfile.TemporaryDirectory() as folder, pipeline_server(Path(folder)) as (server, variables):
        names = {"host": "ENDPOINT", "token": "SA_TOKEN_PATH", "authority": "SSL_SA_CERTS"}
        settings = {name: variables[f"KF_PIPELINES_{variable}"] for name, variable in names.items()}
        for _ in range(_REPEATS):
            seconds["bare"].append(measure("benchmarks.submit", "bare", **settings).whole)
            server.versions.clear()
            for case in ("new", "held"):
                started = time.perf_counter()
                subprocess.run(
                    [str(program), "submit", "training", *words, "--detach"],
                    env=os.environ | variables, check=True, capture_output=True,
                )  # fmt: skip
                seconds[case].append(time.perf_counter() - started)
        assert len(server.runs) == 3 * _REPEATS
    titles = {
        "bare": "`create_run_from_pipeline_package`, nothing uploaded",
        "new": "`loopline submit --detach`, content new",
        "held": "`loopline submit --detach`, content held",
    }
    middle = sorted(seconds["bare"])[_REPEATS // 2]
    rows = [
        [titles[case], spread(values, 2), f"{sorted(values)[_REPEATS // 2] - middle:+.2f}"]
        for case, values in seconds.items()
    ]
    return markdown(["side, a whole process", "seconds: median (min-max)", "added"], rows)
