"""What is soaked: a model, an image place, a configuration repository and three sites, all of this machine."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from benchmarks.soak.load import Order

#: The rows that the model learns from, and those that are sent in turn.
ROWS, BODIES = 8_000, 500
SITES = ("edge", "cloud", "datacenter")
#: Seconds that a command may take.
COMMAND_S = 600.0
_COMMAND = [sys.executable, "-m", "loopline.pipelines.cli"]


@dataclass
class World:
    """The loop on this machine, in a home of its own.

    Attributes:
        model: The model's name.
        target: What it predicts.
        folder: Everything is in it.
        registry: The registry that images go to; None for a folder.
        place: The images' place, as a pipeline takes it.
        bad: A signed and tested image that no server can load.
        labels: What the rows that are sent turned out to be.
        newest: The newest version that was registered.
        versions: The versions that were delivered.
    """

    model: ClassVar[str] = "soak"
    target: ClassVar[str] = "late"

    folder: Path
    registry: object | None = None
    place: str = ""
    bad: str = ""
    labels: list[bool] = field(default_factory=list)
    newest: int = 0
    versions: list[int] = field(default_factory=list)

    @property
    def home(self) -> Path:
        """``LOOPLINE_HOME`` of all that runs."""
        return self.folder / "home"

    @property
    def data(self) -> Path:
        """What the model learns from, CSV."""
        return self.folder / "data.csv"

    @property
    def truth(self) -> Path:
        """What the rows of the last window turned out to be, CSV."""
        return self.folder / "truth.csv"

    def run(self, *words: str) -> tuple[int, str]:
        """Run a ``loopline`` command as a user does; returns its exit code and what it printed."""
        done = subprocess.run(
            [*_COMMAND, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S,
            env=os.environ | {"LOOPLINE_HOME": str(self.home)},
        )
        with open(self.folder / "commands.log", "a", encoding="utf-8") as log:
            log.write(f"$ loopline {' '.join(words)}\n{done.stdout}exit {done.returncode}\n\n")
        return done.returncode, done.stdout

    def begin(self) -> str:
        """Train a model, bring up the sites and deliver to them; returns what went wrong."""
        _write_data(self.data)
        return self.train(seed=0) or _problem(*self.run("sites", "up")) or self.deliver(SITES)

    def train(self, seed: int) -> str:
        """Train and register a version, another one for each seed; returns what went wrong, empty when nothing."""
        words = [f"--uri={self.data}", f"--target={self.target}", f"--name={self.model}", "--rounds=20"]
        words.append(f"--seed={seed}")
        code, text = self.run("run", "training", *words)
        if found := re.search(r"(?m)^  version: (\d+)$", text):
            self.newest = int(found[1])
        return _problem(code, text)

    def deliver(self, sites: tuple[str, ...]) -> str:
        """Deliver the newest version to some sites, the first of them as the canary; returns what went wrong."""
        first, *others = sites
        waves = [f"--wave-1={first}", f"--wave-2={','.join(others)}", "--wave-3="]
        words = [f"--name={self.model}", f"--model-version={self.newest}", f"--image={self.place}", "--deadline-s=90"]
        # The budget holds on a machine that does nothing else; here everything runs at once.
        problem = _problem(*self.run("run", "delivery", *words, *waves, "--p99-ms=5000"))
        if not problem:
            self.versions.append(self.newest)
        return problem

    def roll_back(self, site: str, reason: str) -> str:
        """Put a site back to the image before, as a user does; returns what went wrong."""
        return _problem(*self.run("sites", "rollback", site, f"--reason={reason}"))

    def monitor(self, start: str, end: str) -> str:
        """Judge a window of the traffic; returns what went wrong."""
        words = [f"--name={self.model}", f"--target={self.target}", f"--history={self.data}", f"--truth={self.truth}"]
        words += [f"--start={start}", f"--end={end}", "--engine=scipy", "--wave-3="]
        return _problem(*self.run("run", "monitoring", *words))

    def order(self, per_second: float) -> Order:
        """Return what the load sends: rows that the model learned from, one at a time."""
        from loopline.components.delivery.inference import build_request, infer_path, load_features
        from loopline.pipelines.sites.state import read_states, sites_home

        states = read_states()
        model = sites_home() / "images" / states[0].running.rpartition("@")[2].replace(":", "-") / "models"
        rows = self.rows().slice(0, BODIES)
        self.labels = rows.column(self.target).to_pylist()
        features = load_features(model)
        bodies = [build_request(rows.slice(number, 1), features) for number in range(rows.num_rows)]
        urls = {state.site: state.url for state in states}
        return Order(urls, infer_path(self.model), bodies, per_second, str(self.folder / "requests.csv"))

    def rows(self):
        """Return the rows to send, with what they turned out to be."""
        import pandas as pd
        import pyarrow as pa

        return pa.Table.from_pandas(pd.read_csv(self.data), preserve_index=False)

    def processes(self) -> dict[str, int]:
        """Return the processes that live long, by what they are."""
        from loopline.pipelines.sites.process import find_agent
        from loopline.pipelines.sites.state import read_states

        found = {f"model server of {state.site}": state.pid for state in read_states()}
        found["agent of the sites"] = agent.pid if (agent := find_agent()) else 0
        if self.registry:
            found["registry (not Loopline's)"] = self.registry.pid
        return {name: pid for name, pid in found.items() if pid}

    def leftovers(self) -> list[str]:
        """Return the processes that still run in this home, but for the registry."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            if self.registry and process.name == str(self.registry.pid):
                continue
            with contextlib.suppress(OSError):
                command = (process / "cmdline").read_bytes()
                if str(self.home).encode() in command + (process / "environ").read_bytes():
                    found.append(f"{process.name} {command.replace(bytes(1), b' ').decode(errors='replace')[:200]}")
        return found


@contextlib.contextmanager
def open_world(folder: Path, kind: type[World] = World) -> Iterator[World]:
    """Bring up what is soaked; everything ends with the ``with`` block.

    Args:
        folder: For all that is written; it is made.
        kind: How it begins, and what is done to it.

    Raises:
        RuntimeError: That does not work even without load and faults.
    """
    from loopline.components.environment import environment
    from loopline.pipelines.sites.process import stop_agent

    folder.mkdir(parents=True)
    world = kind(folder)
    with contextlib.ExitStack() as stack:
        stack.enter_context(environment({"LOOPLINE_HOME": str(world.home)}))
        stack.callback(stop_agent)
        if shutil.which("docker-registry"):
            from tests.delivery_registry import run_registry

            world.registry = stack.enter_context(run_registry(folder / "registry"))
        world.place = world.registry.image("models/soak") if world.registry else f"oci:{folder}/images"
        if problem := world.begin():
            raise RuntimeError(f"There is nothing to soak: {problem}")
        world.bad = _build_bad(world)
        yield world


def _problem(code: int, text: str) -> str:
    return "" if code == 0 else f"exit code {code}: {' '.join(text.split())[-400:]}"


def _write_data(file: Path) -> None:
    from loopline.examples.flights.prepare import flights_with_weather

    table = flights_with_weather().drop(columns=["time_hour", "month"]).sample(ROWS, random_state=0)
    table.to_csv(file, index=False)


def _build_bad(world: World) -> str:
    """Build an image whose model is none, signed and tested by nobody's care."""
    from loopline.components.delivery.attestation import attest_tested
    from loopline.components.delivery.build import build_image
    from loopline.components.delivery.fetch import fetch_image
    from loopline.components.model.directory import read_manifest, seal_model
    from loopline.pipelines.sites.state import read_states

    model = fetch_image(read_states()[0].running, world.folder / "bad").folder
    (model / "model.onnx").write_bytes(b"not a graph")
    seal_model(model, read_manifest(model))
    image = build_image(model, world.place, version=10_000)
    attest_tested(image, {"result": "PASSED", "configuration": [], "passedTests": ["golden"]})
    return image
