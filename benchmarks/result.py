"""What a benchmark found: text, tables of sides, curves of growth; kept as JSON with the machine and the versions."""

import datetime
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from benchmarks.measure import ROOT

RESULTS = Path(__file__).with_name("results")
#: The packages whose versions a figure may hang on.
PACKAGES = (
    "kfp", "pyarrow", "pandas", "numpy", "scipy", "scikit-learn", "xgboost-cpu", "onnxruntime", "mlflow", "pandera",
    "alibi-detect", "mlserver", "optuna", "numba",
)  # fmt: skip


@dataclass(frozen=True)
class Text:
    """A passage of Markdown."""

    text: str


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: What it is called in the table.
        samples: By measure (``seconds``, ``peak MB``, ``requests/s``) what each run gave; empty when it could not run.
        role: ``ours``, ``peer``, ``limit`` (what no program can beat) or ``other`` (listed, not compared).
        note: What a reader must know, or why there are no samples.
    """

    name: str
    samples: dict[str, list[float]]
    role: str = "peer"
    note: str = ""

    def median(self, measure: str) -> float:
        return statistics.median(self.samples[measure])


@dataclass(frozen=True)
class Table:
    """Sides that did the same work, in turn.

    Attributes:
        title: What was done, on what.
        measures: What is compared. More is better where the name ends in ``/s``, else less is.
        sides: Who did it.
    """

    title: str
    measures: Sequence[str]
    sides: Sequence[Side]

    def measured(self, role: str, measure: str) -> list[Side]:
        """Return the sides of a role that have this measure, the best first."""
        sides = [side for side in self.sides if side.role == role and side.samples.get(measure)]
        return sorted(sides, key=lambda side: side.median(measure), reverse=measure.endswith("/s"))


@dataclass(frozen=True)
class Point:
    """What one size cost.

    Attributes:
        x: The size.
        samples: By measure what each run gave.
    """

    x: float
    samples: dict[str, list[float]]


@dataclass(frozen=True)
class Curve:
    """How costs grow with a size.

    Attributes:
        title: What was done.
        along: What grows: rows, columns, partitions, sites, tasks.
        measures: What it costs.
        lines: By name of the work its points, the smallest size first.
    """

    title: str
    along: str
    measures: Sequence[str]
    lines: dict[str, list[Point]]


@dataclass(frozen=True)
class Result:
    """What one run of a benchmark found, and where.

    Attributes:
        name: The benchmark.
        title: The headline of its section.
        parts: What it found, in the order to be read.
        date: The day, ISO 8601.
        took_s: Seconds it took, 0 where that is not known.
        machine: Cores, memory, system and what else it ran on.
        versions: By package its version.
        peers: Of what was fetched for the benchmark alone, by package its version.
        measured: The raw costs of every process that was measured.
    """

    name: str
    title: str
    parts: Sequence[Text | Table | Curve]
    date: str
    took_s: float
    machine: dict[str, str]
    versions: dict[str, str]
    peers: dict[str, str] = field(default_factory=dict)
    measured: list[dict] = field(default_factory=list)

    def save(self, folder: Path = RESULTS) -> Path:
        """Write the result; returns the file."""
        folder.mkdir(exist_ok=True)
        content = asdict(self)
        content["parts"] = [{"kind": type(part).__name__, **asdict(part)} for part in self.parts]
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(_rounded(content), indent=1) + "\n", encoding="utf-8")
        return path

    @classmethod
    def load(cls, path: Path) -> "Result":
        """Read what ``save`` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**content, "parts": [_part(**part) for part in content["parts"]]})

    def part(self, kind: type, title: str = ""):
        """Return the first table or curve whose title begins so."""
        return next(part for part in self.parts if isinstance(part, kind) and part.title.startswith(title))


def load_results(folder: Path = RESULTS) -> dict[str, Result]:
    """Return every kept result by the name of its benchmark."""
    results = [Result.load(path) for path in sorted(folder.glob("*.json"))]
    return {result.name: result for result in results}


def _part(kind: str, **values) -> Text | Table | Curve:
    if kind == "Text":
        return Text(**values)
    if kind == "Table":
        return Table(**{**values, "sides": [Side(**side) for side in values["sides"]]})
    lines = {name: [Point(**point) for point in points] for name, points in values["lines"].items()}
    return Curve(**{**values, "lines": lines})


def _rounded(value):
    """Round to what a clock can tell, which keeps the files small."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {str(key): _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


def today() -> str:
    return datetime.date.today().isoformat()


def describe_machine() -> dict[str, str]:
    """Return what the figures were measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cores": f"{os.cpu_count()} {platform.machine()} cores",
        "processor": processor or "unnamed",
        "memory": f"{memory:.0f} GiB",
        "system": system,
        "python": f"Python {platform.python_version()}",
        "busy": f"{busy_cores():.1f}",
        "commit": _commit(),
    }


def busy_cores(seconds: float = 1.0) -> float:
    """Return how many cores others keep busy, while this process sleeps for so long."""

    def used() -> int:
        # user, nice, system, and interrupts; idle and waiting are the fourth and fifth.
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(fields) - fields[3] - fields[4]

    before = used()
    time.sleep(seconds)
    return (used() - before) / os.sysconf("SC_CLK_TCK") / seconds


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def describe_versions() -> dict[str, str]:
    """Return the versions of the packages that matter, of those that are there."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
