"""A model's whole life with canaries for secrets, against real servers: none of it is in what is left behind.

MLflow, the registry, the object store and the model server are real; Git's own server side answers over HTTP. MLflow
has a login in a proxy before it. The pipeline server and the Pushgateway are stand-ins that take a login.
"""

import base64
import contextlib
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import elyra_nodes
import mlflow_server
import pipeline_server
import pytest
from canaries import Search, password, token
from config_repositories import GitServer, make_repository, named_image, serve_git
from delivery_registry import Handler, RunningRegistry, proxy, run_registry, run_server, set_password, write_login
from elyra_world import World
from forked_steps import forked_steps
from import_budget import ALLOWED
from object_stores import running_store
from planted import USER, Planted, Watch, plant, watching

from loopline.components.data.tables import read_table
from loopline.components.environment import environment

BUCKET = "canaries"
#: What has to do with a server or with what is kept; the rest of a life is run as far as these need it.
COMPONENTS = (
    "ingest_data", "register_model", "promote_model", "load_model", "score_partition", "build_model_image",
    "test_model_image", "promote_to_site", "check_site", "collect_traffic", "check_service",
    "decide_retraining", "annotate_model", "trigger_pipeline",
)  # fmt: skip


class ServedWorld(World):
    """A life whose data, images and configuration are on servers that ask for a login."""

    registry: RunningRegistry
    git: GitServer

    @functools.cached_property
    def build_model_image(self):
        image = self.registry.image("models/cells")
        return self.run("build_model_image", model=self.load_model["model"], image=image, version=1)

    @functools.cached_property
    def bare(self) -> Path:
        return make_repository(self.git.root, url=self.served.url)

    @property
    def repository(self) -> str:
        return f"{self.git.url}/{self.bare.name}"

    @functools.cached_property
    def promote_to_site(self):
        image = self.test_model_image["output"]
        found = self.run("promote_to_site", image=image, sites="edge", repository=self.repository)
        assert named_image(self.bare, "edge") == image
        return found

    @functools.cached_property
    def score_partition(self):
        found = self.run(
            "score_partition", model=self.load_model["model"], uri=self.list_partitions["output"][0],
            output=f"s3://{BUCKET}/scored",
        )  # fmt: skip
        assert found["output"].startswith(f"s3://{BUCKET}/scored")
        return found


def _behind_login(host: str, logins: set[str]) -> type[Handler]:
    """Return the handler of a proxy that lets nobody to a server without one of some logins."""

    def refuse(handler: Handler) -> bool:
        if handler.headers.get("Authorization") in logins:
            return False
        handler.send(401, b"who are you?")
        return True

    made = proxy(host, refuse)
    made.do_PATCH = made.do_DELETE = made.do_GET
    return made


class _Gateway(Handler):
    """Takes figures from who has a login."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send(200 if self.headers.get("Authorization") == _basic("pushgateway") else 401)


def _basic(name: str) -> str:
    return "Basic " + base64.b64encode(f"{USER}:{password(name)}".encode()).decode()


class Life:
    """A life that was lived, and what was seen of it.

    Attributes:
        world: The world it was lived in.
        planted: The secrets.
        watch: What was seen of the process list.
        printed: What the steps printed, by component.
        folder: Where all of it is.
    """

    def __init__(self, folder: Path, table: Path):
        self.folder, self.table, self.watch, self.printed = folder, table, Watch(), {}

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._begin(stack.enter_context)
            self._stack = stack.pop_all()
        return self

    def _begin(self, enter) -> None:
        folder = self.folder
        registry = enter(run_registry(folder / "registry", login=True))
        set_password(folder / "registry", password("registry"))
        (folder / "mlflow").mkdir()
        tracking, _ = enter(mlflow_server.run_server(folder / "mlflow"))
        host = enter(run_server(_behind_login(tracking.removeprefix("http://"), {_basic("mlflow")})))
        gateway = enter(run_server(_Gateway))
        store = enter(running_store(enter(pytest.MonkeyPatch.context()), BUCKET))
        self.planted = self._plant(registry.host, host, gateway, os.environ["AWS_S3_ENDPOINT"])
        store.fput_object(BUCKET, "table.parquet", str(self.table))
        self.store = store
        self.world = ServedWorld(folder / "world", f"s3://{BUCKET}/table.parquet", self.planted.variables)
        self.world.registry = registry
        (folder / "git").mkdir()
        self.world.git = enter(serve_git(folder / "git", USER, password("git")))
        enter(mock.patch.object(pipeline_server, "TOKEN", token("pipelines")))
        enter(mock.patch("pipeline_server.handler.TOKEN", token("pipelines")))
        self.watch = enter(watching())

    def _plant(self, registry: str, mlflow: str, gateway: str, store: str) -> Planted:
        folder = self.folder
        for name in ("world", "tmp"):
            (folder / name).mkdir()
        planted = plant(folder / "planted", mlflow, "127.0.0.1:9", folder / "world" / "home")
        write_login(folder / "planted" / "auth.json", registry, USER, password("registry"))
        url = planted.variables["PROMETHEUS_PUSHGATEWAY_URL"].replace(mlflow, gateway)
        planted.variables.update(
            AWS_S3_ENDPOINT=store, PROMETHEUS_PUSHGATEWAY_URL=url, TMPDIR=str(folder / "tmp"), OMP_WAIT_POLICY="PASSIVE"
        )
        # The model's log goes to nobody, and no Prometheus is asked: the service is asked itself.
        del planted.variables["PROMETHEUS_URL"], planted.variables["GIT_API_URL"]
        return planted

    def run(self) -> None:
        """Live it: node by node, then training as a pipeline on this machine."""
        modules = sorted({name for names in ALLOWED.values() for name in names.split()} - {"alibi_detect"})
        with forked_steps(modules) as steps, pytest.MonkeyPatch.context() as patch:
            for component in COMPONENTS:
                said = self.printed[component] = []

                def start(words, variables, said=said):
                    # Only what was planted: this process has settings of its own.
                    done = steps.start(words, variables)
                    said.append(done.stdout + done.stderr)
                    return done

                patch.setattr(elyra_nodes, "start", start)
                getattr(self.world, component)
        self.printed["loopline run training"] = [self._run_pipeline()]

    def _run_pipeline(self) -> str:
        """Run training with each step a process that is started by itself: its words are in the process list."""
        words = ["--uri", f"s3://{BUCKET}/table.parquet", "--target", "target", "--name", "cells", "--rounds", "5"]
        variables = {**self.planted.variables, "LOOPLINE_FRESH_STEPS": "1"}
        done = subprocess.run(
            [Path(sys.executable).with_name("loopline"), "run", "training", *words],
            env=variables, capture_output=True, text=True, cwd=self.folder / "world",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def __exit__(self, *error):
        self.world.close()
        self._stack.close()


@pytest.fixture(scope="module")
def life(tmp_path_factory, bundled):
    if not os.environ.get("LOOPLINE_ALL_SECRETS"):
        pytest.skip("a whole life takes minutes: LOOPLINE_ALL_SECRETS=1 runs it")
    if not shutil.which("docker-registry") or not shutil.which("htpasswd"):
        pytest.skip("there is no docker-registry or htpasswd here: install docker-registry and apache2-utils")
    with Life(tmp_path_factory.mktemp("life"), bundled["breast_cancer"]) as one:
        one.run()
        yield one


@pytest.fixture
def found(life):
    return Search(life.planted.parts)


def test_the_servers_were_asked_with_the_secrets(life):
    """Otherwise nothing could have leaked."""
    assert life.world.register_model["output"] == 1
    assert life.world.check_site["output"] == "edge"
    assert life.world.decide_retraining["output"] == "wait"
    with environment(life.planted.variables):
        assert read_table(life.world.ingest_data["data"].path).num_rows == 569


def test_what_was_printed(life, found):
    for component, texts in life.printed.items():
        for text in texts:
            found.text(component, text)
    assert found.leaks == []
    assert found.size > 1_000


def test_the_process_list(life, found):
    life.watch.search(found)
    assert found.leaks == []
    assert any(b"git-remote-http" in line for line in life.watch.lines), "it was not looked often enough"
    assert any(b"--executor_input" in line for line in life.watch.lines)


def test_artifacts_reports_logs_and_what_is_kept_at_home(life, found):
    """The folders of runs, data, models, reports, logs, and images in the folder of Loopline."""
    found.folder(life.folder / "world", leave_out=(life.folder / "world" / "token",))
    assert found.leaks == []
    assert found.files > 100
    print(f"artifacts: {found.files} files, {found.size / 1e6:.1f} MB")


def test_mlflow_its_database_tags_and_artifacts(life, found):
    found.folder(life.folder / "mlflow")
    assert found.leaks == []
    assert any((life.folder / "mlflow" / "artifacts").rglob("loopline.json"))
    print(f"MLflow: {found.files} files, {found.size / 1e6:.1f} MB")


def test_images_their_layers_configurations_and_signatures(life, found):
    found.folder(life.world.registry.data)
    assert found.leaks == []
    assert found.files > 10
    print(f"registry: {found.files} blobs and members, {found.size / 1e6:.1f} MB")


def test_the_configuration_repository(life, found):
    found.folder(life.folder / "git")
    assert found.leaks == []
    assert any(life.folder.glob("git/*.git"))


def test_objects_in_the_store(life, found):
    names = [item.object_name for item in life.store.list_objects(BUCKET, recursive=True)]
    for name in names:
        found.data(name, life.store.get_object(BUCKET, name).read())
    assert found.leaks == []
    assert any(name.startswith("scored/") for name in names)


def test_nothing_is_left_in_temporary_files(life, found):
    found.folder(life.folder / "tmp")
    assert found.leaks == []
    assert list((life.folder / "tmp").iterdir()) == []


def test_the_compiled_pipelines(found):
    from loopline.pipelines.spec import compiled_folder

    found.folder(compiled_folder())
    assert found.leaks == []
