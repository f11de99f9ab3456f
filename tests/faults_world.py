"""What steps under faults work with: real services, and for each component inputs with which it succeeds."""

import contextlib
import functools
import http.server
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow.csv
from delivery_registry import make_certificate
from faults_steps import Ended, Steps
from minio import Minio
from mlflow_server import run_guarded_server
from monitoring_models import FEATURES, START, make_events, write_traffic
from monitoring_prometheus import Counters, answering

from loopline.components.data.tables import write_table
from loopline.pipelines.sites.ports import free_port

WINDOW = {"start": START.isoformat(), "end": (START + timedelta(hours=2)).isoformat()}
#: What a run of a step may read from the environment: nothing of this machine's own.
CLEAN = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "OMP_WAIT_POLICY")}
_LOGIN = ("robot", "robot-canary-77")


@contextlib.contextmanager
def guarded_mlflow(folder: Path) -> Iterator[dict[str, str]]:
    """Run an MLflow server with MLflow's own basic authentication; yields the environment of its account.

    MLflow checks a password so slowly that it is most of what a request takes. The stored one is therefore replaced by
    the same password with few rounds; everything else is as MLflow has it.
    """
    from werkzeug.security import generate_password_hash

    folder.mkdir(parents=True)
    with run_guarded_server(folder, _LOGIN, "EDIT") as url:
        with contextlib.closing(sqlite3.connect(folder / "auth.db")) as users, users:
            quick = generate_password_hash(_LOGIN[1], "pbkdf2:sha256:1")
            users.execute("UPDATE users SET password_hash = ?", (quick,))
        yield {
            "MLFLOW_TRACKING_URI": url,
            "MLFLOW_TRACKING_USERNAME": _LOGIN[0],
            "MLFLOW_TRACKING_PASSWORD": _LOGIN[1],
            # How long a client waits before it tries again; MLflow's own are seconds.
            "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
            "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
        }


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Run an S3 server (moto's, in memory) as a process of its own; yields the environment that leads to it."""
    port = free_port()
    folder.mkdir(parents=True)
    with open(folder / "s3.log", "w") as log:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=CLEAN)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None and time.monotonic() < deadline, (folder / "s3.log").read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=5).close()
                break
            time.sleep(0.1)
        yield {
            "AWS_S3_ENDPOINT": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "key-canary-77",
            "AWS_SECRET_ACCESS_KEY": "secret-canary-77",
        }
    finally:
        process.kill()
        process.wait()


def s3_client(variables: dict[str, str], bucket: str) -> Minio:
    """Return a client of a server, with an empty bucket made."""
    host = variables["AWS_S3_ENDPOINT"].removeprefix("http://")
    client = Minio(
        endpoint=host, access_key=variables["AWS_ACCESS_KEY_ID"], secret_key=variables["AWS_SECRET_ACCESS_KEY"],
        secure=False,
    )  # fmt: skip
    client.make_bucket(bucket)
    return client


@contextlib.contextmanager
def file_server(folder: Path) -> Iterator[str]:
    """Serve the files of a folder over plain HTTP; yields the address."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *words):
            super().__init__(*words, directory=str(folder))

        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate that signs itself; returns it alone, as a client trusts it, and with its key."""
    certificate, key = make_certificate(folder / "ca.pem")
    both = folder / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    return certificate, both


class World:
    """The life of a model: what each component is given, and what it left when nothing went wrong.

    Args:
        folder: Where everything is.
        steps: Runs components.
    """

    #: What is given to a component that others are not.
    NAME = "flights"

    def __init__(self, folder: Path, steps: Steps):
        self.folder, self.steps = folder, steps
        folder.mkdir(parents=True, exist_ok=True)
        self._done: dict[str, Ended] = {}

    def out(self, component: str, name: str = "Output") -> Path:
        """Return an output of a component, which is run when it has not been."""
        if component not in self._done:
            ended = self.steps.run(component, **self.inputs(component))
            assert ended.status == 0, f"{component}: {ended.said}"
            self._done[component] = ended
        return self._done[component].out / name

    def value(self, component: str, name: str = "Output") -> object:
        """Return a value that a component gave back."""
        text = self.out(component, name).read_text()
        return json.loads(text) if text[:1] in "[{" else text

    def inputs(self, component: str) -> dict[str, object]:
        """Return what to give a component."""
        return getattr(self, f"_{component}")()

    @functools.cached_property
    def table(self) -> Path:
        path = self.folder / "table.csv"
        pyarrow.csv.write_csv(make_events(1_500).select([*FEATURES, "late"]), path)
        return path

    @functools.cached_property
    def files(self) -> Path:
        folder = self.folder / "files"
        folder.mkdir()
        table = make_events(1_500).select([*FEATURES, "late"])
        for number in range(2):
            write_table(folder / f"{number}.parquet", table.slice(number * 750, 750))
        return folder

    def _ingest_data(self):
        return {"uri": self.table}

    def _validate_data(self):
        return {"data": self.out("ingest_data", "data"), "target": "late"}

    def _split_data(self):
        return {"data": self.out("validate_data", "valid")}

    def _divide_table(self):
        return {"uri": self.files}

    def _profile_partition(self):
        return {"uri": self.files, "partition": self._partitions()[0], "target": "late"}

    def _partitions(self):
        return [json.dumps(one) if not isinstance(one, str) else one for one in self.value("divide_table")]

    def _merge_profiles(self):
        other = self.steps.run(
            "profile_partition", uri=self.files, partition=self._partitions()[1], target="late"
        ).out / "profile"  # fmt: skip
        return {"profiles": [self.out("profile_partition", "profile"), other], "uri": self.files, "target": "late"}

    def _prepare_partition(self):
        return {"uri": self.files, "partition": self._partitions()[0], "plan": self.out("merge_profiles", "plan")}

    def _gather_partitions(self):
        plan = self.out("merge_profiles", "plan")
        other = self.steps.run("prepare_partition", uri=self.files, partition=self._partitions()[1], plan=plan)
        return {"prepared": [self.out("prepare_partition", "prepared"), other.out / "prepared"], "plan": plan}

    def _rows(self):
        rows = {name: self.out("split_data", name) for name in ("train", "validation")}
        return {**rows, "schema": self.out("validate_data", "schema_out")}

    def _train_xgboost(self):
        return {**self._rows(), "rounds": 5, "name": self.NAME, "params": '{"max_depth": 3}', "pipeline_run": "run-1"}

    def _train_sklearn(self):
        return {**self._rows(), "name": self.NAME}

    def _plan_sweep(self):
        return {"name": self.NAME, "trials": 2, "workers": 2, "pipeline_run": "run-1"}

    def _run_trials(self):
        worker = json.dumps(self.value("plan_sweep")[0])
        if worker.startswith('"'):
            worker = json.loads(worker)
        return {**self._rows(), "worker": worker, "trials": 2, "rounds": 3}

    def _finish_sweep(self):
        return {"ran": [self.out("run_trials", "ran")]}

    def _select_model(self):
        return {"models": [self.out("train_xgboost", "model"), self.out("train_sklearn", "model")]}

    def _evaluate_model(self):
        return {
            "model": self.out("train_xgboost", "model"), "test": self.out("split_data", "test"), "bootstrap": 50,
            "importance_repeats": 0,
        }  # fmt: skip

    def _compare_models(self):
        absent = self.steps.run("load_model", name="nobody", missing="absent").out / "model"
        model, test = self.out("train_xgboost", "model"), self.out("split_data", "test")
        return {"challenger": model, "champion": absent, "test": test, "bootstrap": 50}

    def _register_model(self):
        return {
            "model": self.out("train_xgboost", "model"), "metrics": self.out("evaluate_model", "metrics"),
            "report": self.out("evaluate_model", "report"), "name": self.NAME, "pipeline_run": "run-1",
        }  # fmt: skip

    def _write_model_card(self):
        return {
            "model": self.out("train_xgboost", "model"), "metrics": self.out("evaluate_model", "metrics"),
            "verdict": self.out("compare_models", "verdict"), "name": self.NAME,
            "version": self.value("register_model"),
        }  # fmt: skip

    def _build_model_image(self):
        return {"model": self.out("train_xgboost", "model"), "image": f"oci:{self.folder / 'images'}"}

    def _test_model_image(self):
        # The budgets are not what is tested, and others work on this machine.
        return {"image": self.value("build_model_image"), "p99_ms": 60_000.0, "memory_mb": 8_192.0}

    def _update_model_card(self):
        return {
            "model": self.out("train_xgboost", "model"), "image": self.value("test_model_image"), "name": self.NAME,
            "version": self.value("register_model"),
        }  # fmt: skip

    def _promote_model(self):
        return {"name": self.NAME, "version": self.value("register_model")}

    def _load_model(self):
        self.out("promote_model")
        return {"name": self.NAME}

    def _annotate_model(self):
        self.out("promote_model")
        return {"decision": self.out("decide_retraining", "decision"), "name": self.NAME, "values": '{"ticket": "7"}'}

    @functools.cached_property
    def partition(self) -> Path:
        path = self.folder / "partition.parquet"
        write_table(path, make_events(500, 3).select(list(FEATURES)))
        return path

    def _list_partitions(self):
        return {"uri": self.partition}

    def _score_partition(self):
        return {"model": self.out("train_xgboost", "model"), "uri": self.partition, "output": self.folder / "scored"}

    @functools.cached_property
    def log(self) -> tuple[Path, Path]:
        """A traffic log, and the truth about it."""
        folder, truth = self.folder / "log", self.folder / "truth.parquet"
        write_table(truth, write_traffic(folder, self.out("train_xgboost", "model"), make_events(600, seed=5)))
        return folder, truth

    def _collect_traffic(self):
        log, truth = self.log
        return {
            "model": self.out("train_xgboost", "model"), "name": self.NAME, "uri": log, "truth": truth, **WINDOW,
        }  # fmt: skip

    def _seen(self):
        return {"model": self.out("train_xgboost", "model"), "traffic": self.out("collect_traffic", "traffic")}

    def _detect_drift(self):
        return {**self._seen(), "engine": "scipy"}

    def _measure_performance(self):
        return self._seen()

    def _list_windows(self):
        return {"pieces": 2, **WINDOW}

    def _summarize_traffic(self):
        return {
            "model": self.out("train_xgboost", "model"), "name": self.NAME, "uri": self.log[0],
            "window": self.value("list_windows")[0],
        }  # fmt: skip

    def _detect_drift_over_windows(self):
        return {
            "model": self.out("train_xgboost", "model"), "summaries": [self.out("summarize_traffic", "summary")],
            "engine": "scipy",
        }  # fmt: skip

    @functools.cached_property
    def site(self) -> SimpleNamespace:
        """A site's counters; see ``Counters``."""
        counters = Counters("edge", START.timestamp() - 3600)
        counters.grow(answered=100)
        stack = contextlib.ExitStack()
        url = stack.enter_context(answering(counters.show))
        return SimpleNamespace(counters=counters, url=url, close=stack.close)

    def _check_service(self):
        return {"name": self.NAME, "targets": f"edge={self.site.url}", **WINDOW}

    def _decide_retraining(self):
        return {
            "counts": self.out("collect_traffic", "counts"), "drift": self.out("detect_drift", "drift"),
            "performance": self.out("measure_performance", "performance"),
            "service": self.out("check_service", "service"), "name": self.NAME, "min_labels": 100,
        }  # fmt: skip

    def _extend_data(self):
        history = self.folder / "history.parquet"
        if not history.exists():
            write_table(history, make_events(500).select([*FEATURES, "late"]))
        return {"history": history, "recent": self.out("collect_traffic", "traffic"), "target": "late"}
