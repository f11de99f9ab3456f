"""What large jobs cost, computed from the curves that were measured: the tables of docs/scale.md.

``python3 make.py bench --render`` writes the tables into the page, between the marks that name them.
"""

import json
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import yaml

from benchmarks.measure import ROOT, markdown
from benchmarks.result import Curve, Point, Result, Table, load_results
from loopline.components.data.partitions import MOST_PARTITIONS

PAGE = ROOT / "docs" / "scale.md"
#: The results that the tables are computed from.
SOURCES = ("rows", "training", "drift", "promotions", "compile", "engine")

#: What was not measured here, and is taken to be so.
NETWORK_MB_S = 100.0  # one pod and the object store: a link of 1 Gbit/s
LIST_S = 0.05  # one request to list up to LIST_PAGE objects
LIST_PAGE = 1000
POD_START_S = 15.0  # scheduling, image on the node already, driver and launcher of KFP
POD_DISK_GB = 100.0  # what a step may write before its node runs full
#: Limits of the platform: bytes of an output parameter and of a workflow's template, of a run's parameters, of etcd.
WORKFLOW_KB, PARAMETERS_KB, ETCD_KB = 256.0, 10.0, 1000.0
#: Argo's record of one finished node of a workflow, compressed; three nodes an iteration.
NODE_KB, NODES = 0.25, 3

#: Partitions at once where there are many pods, waves of a delivery, bytes of the name of a site with its comma.
WIDE, WAVES, NAME_BYTES = 64, 3, 11
_STEPS = ("ingest", "validate", "split")
#: Share of the rows that are trained on; windows of an hour in a week.
_TRAINED, _WINDOWS = 0.7, 168


@dataclass(frozen=True)
class Line:
    """A straight line through the two largest sizes of a curve.

    Attributes:
        start: What is paid at size 0.
        slope: What one more costs.
    """

    start: float
    slope: float

    @classmethod
    def through(cls, points: list[Point], measure: str) -> "Line":
        """Fit the last two points; smaller sizes are mostly start."""
        (x1, y1), (x2, y2) = [(point.x, statistics.median(point.samples[measure])) for point in points[-2:]]
        slope = max((y2 - y1) / (x2 - x1), 0.0)
        return cls(y2 - slope * x2, slope)

    def at(self, size: float) -> float:
        return self.start + self.slope * size


def tables(results: dict[str, Result]) -> dict[str, str]:
    """Return the Markdown of every table by its mark; without the results, what is to be measured first.

    Args:
        results: By name, those of ``SOURCES`` among them.
    """
    makers = {"measured": Measured.describe, "data": _data, "sites": _sites, "models": _models, "bends": _bends}
    gaps = missing(results)
    if gaps:
        return dict.fromkeys(makers, f"Not computed: run `python3 make.py bench {' '.join(gaps)}` first.")
    measured = Measured(results)
    return {name: make(measured) for name, make in makers.items()}


def missing(results: dict[str, Result]) -> list[str]:
    """Return the sources that are not there, or were measured before they kept curves."""
    return [name for name in SOURCES if name not in results or not has_figures(results[name])]


def has_figures(result: Result) -> bool:
    """Return whether a result has tables or curves, and not Markdown alone."""
    return any(isinstance(part, Curve | Table) for part in result.parts)


def page_text(text: str, results: dict[str, Result]) -> str:
    """Return the page with its tables computed anew.

    Args:
        text: The page as it is.
        results: Those of ``SOURCES``.
    """
    for name, table in tables(results).items():
        mark = re.compile(rf"(<!-- computed: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not mark.search(text):
            raise ValueError(f"{PAGE.name} has no mark for the table {name!r}")
        text = mark.sub(lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", text)
    return text


def write() -> list[str]:
    """Write the page from the kept results; returns which are missing for that."""
    results = load_results()
    PAGE.write_text(page_text(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    return missing(results)


class Measured:
    """The figures that everything here is computed from.

    Attributes:
        cpu: By step CPU seconds by rows.
        wall: By step seconds by rows, on the cores of the machine.
        memory: By step peak MB by rows.
        csv_row: Bytes of a row of CSV.
        parquet_row: Bytes of a row of Parquet.
        tree_row: CPU seconds to train one row by 100 trees.
        quantized_row: Bytes that XGBoost holds of one row of 20 features.
        drift_row: CPU seconds of a drift verdict for one row.
        push_s: Seconds for one more promotion among those at the same moment.
        to_all: Seconds of one commit to all sites, by sites.
        step_kb: kB of YAML for one more step.
        step_s: Seconds the local engine adds to a step.
    """

    def __init__(self, results: dict[str, Result]):
        rows = results["rows"].part(Curve, "Rows")
        files = results["rows"].part(Curve, "The files").lines
        self.largest = rows.lines["ingest"][-1]
        self.cpu = {step: Line.through(points, "CPU seconds") for step, points in rows.lines.items()}
        self.wall = {step: Line.through(points, "seconds") for step, points in rows.lines.items()}
        self.memory = {step: Line.through(points, "peak MB") for step, points in rows.lines.items()}
        self.peak = {step: statistics.median(points[-1].samples["peak MB"]) for step, points in rows.lines.items()}
        self.csv_row, self.parquet_row = (
            files[name][-1].samples["MB"][0] * 1e6 / files[name][-1].x for name in ("CSV", "Parquet")
        )
        training = results["training"].part(Table)
        trained = int(training.title.partition(" ")[0].replace(",", ""))
        self.tree_row = training.measured("ours", "CPU seconds")[0].median("CPU seconds") / trained
        self.quantized_row = training.measured("limit", "peak MB")[0].median("peak MB") * 2**20 / trained
        # A verdict has a part that does not grow with the rows, so the largest that was measured says most.
        large = results.get("drift-large")
        drift = (large if large and has_figures(large) else results["drift"]).part(Table)
        judged = 2 * int(drift.title.partition(" ")[0].replace(",", ""))
        self.drift_row = drift.measured("ours", "CPU seconds")[0].median("CPU seconds") / judged
        promotions = results["promotions"]
        self.push_s = Line.through(
            promotions.part(Curve, "Promotions at the same").lines["a site for each process"], "seconds"
        ).slope
        sites = promotions.part(Curve, "One promotion").lines
        self.to_all = Line.through(sites["promote to all in one commit"], "seconds")
        self.back = Line.through(sites["roll all back"], "seconds")
        self.step_kb = Line.through(next(iter(results["compile"].part(Curve).lines.values())), "kB of YAML").slope
        engine = results["engine"].part(Table)
        self.step_s = engine.measured("ours", "s a further task")[0].median("s a further task")

    def describe(self) -> str:
        """Return the table of what was measured, a row of it the unit of all that follows."""
        rows = [
            [f"{step}", f"{self.cpu[step].slope * 1e6:.2f}", f"{self.wall[step].slope * 1e6:.2f}",
             f"{self.peak[step]:,.0f}", f"{self.memory[step].slope * 1e6:+.1f}"]
            for step in self.cpu
        ]  # fmt: skip
        size = f"{self.largest.x:,.0f}"
        headers = ["step", "CPU s, a million rows", "wall s", f"peak MB at {size} rows", "MB more, a million rows"]
        lines = [
            f"20 features and a target, {self.csv_row:.0f} bytes a row of CSV and {self.parquet_row:.0f} of Parquet",
            f"training by 100 trees: {self.tree_row * 1e6:.1f} CPU s a million rows",
            f"a drift verdict: {self.drift_row * 1e6:.1f} CPU s a million rows of 30 columns",
            f"one more promotion among those at the same moment: {self.push_s:.2f} s; one commit to all sites: "
            f"{self.to_all.start:.2f} s and {self.to_all.slope * 1e3:.2f} ms a site",
            f"one more step: {self.step_kb:.1f} kB of YAML, {self.step_s:.2f} s on a laptop",
        ]
        return markdown(headers, rows) + "\n\n" + "\n".join(f"- {line}" for line in lines)


def _line(title: str, sizes: Sequence[float], cost: Callable[[float], float], shown: Callable) -> list[str]:
    return [title, *(shown(cost(size)) for size in sizes)]


def _data(measured: Measured) -> str:
    """Compute what CSV of 10 GB to 10 TB costs."""
    sizes = (1e10, 1e11, 1e12, 1e13)
    row = measured.csv_row
    cpu = sum(measured.cpu[step].slope for step in _STEPS) / 3600 / row
    wall = sum(measured.wall[step].slope for step in _STEPS) / 3600 / row
    parquet = measured.parquet_row / row
    train = _TRAINED * measured.tree_row / 3600 / row
    streamed = max(measured.peak[step] for step in ("ingest", "validate"))
    wire = 1e6 * NETWORK_MB_S * 3600
    rows = [
        _line("rows", sizes, lambda size: size / row, _count),
        _line("Parquet, GB", sizes, lambda size: size * parquet / 1e9, _count),
        _line(f"fetch it: wall hours, {WIDE} pods at once", sizes, lambda size: size / wire / WIDE, _hours),
        _line("prepare (ingest, validate, split): CPU hours", sizes, lambda size: size * cpu, _hours),
        _line("prepare: wall hours, 1 pod", sizes, lambda size: size * wall, _hours),
        _line("prepare: wall hours, 8 pods at once", sizes, lambda size: size * wall / 8, _hours),
        _line(f"prepare: wall hours, {WIDE} pods at once", sizes, lambda size: size * wall / WIDE, _hours),
        _line("prepare: MB a pod, streamed", sizes, lambda _: streamed, _count),
        _line(f"split: MB of row hashes in each of {WIDE} pods", sizes, lambda size: 8e-6 * size / row / WIDE, _count),
        _line("gather in one pod: hours to fetch all Parquet", sizes, lambda size: size * parquet / wire, _hours),
        _line(f"train by 100 trees on {_TRAINED:.0%}: CPU hours", sizes, lambda size: size * train, _hours),
        _line("train: wall hours on 16 busy cores", sizes, lambda size: size * train / 16, _hours),
        _line(
            "XGBoost's quantized rows, in memory or on disk, GB", sizes,
            lambda size: _TRAINED * measured.quantized_row * size / row / 1e9, _count,
        ),
        _line("store: raw, ingested, validated, split, GB", sizes, lambda size: size * (1 + 3 * parquet) / 1e9, _count),
    ]  # fmt: skip
    return markdown(["CSV", *(_bytes(size) for size in sizes)], rows)


def _sites(measured: Measured) -> str:
    """Compute what 10 to 10,000 sites cost."""
    counts = (10, 100, 1000, 10_000)
    flushes, day = 86_400 / 10, 86_400
    judged = day * measured.drift_row / 3600
    rows = [
        _line("promote to all, one commit: s", counts, measured.to_all.at, _seconds),
        _line("roll all back: s", counts, measured.back.at, _seconds),
        _line(
            "each by a promotion of its own, all at once: s", counts, lambda count: measured.push_s * count, _seconds
        ),
        _line("names of the sites as a parameter, kB", counts, lambda count: NAME_BYTES * count / 1e3, _seconds),
        _line("files of the traffic log a day, a flush each 10 s", counts, lambda count: count * flushes, _count),
        _line("the same, a flush an hour", counts, lambda count: count * 24, _count),
        _line(
            "to list a day's files: minutes, a flush each 10 s", counts, lambda count: _listing(count * flushes), _hours
        ),
        _line("the same, a flush an hour", counts, lambda count: _listing(count * 24), _hours),
        _line("rows a day at 1 request/s a site", counts, lambda count: count * day, _count),
        _line("a drift verdict on all of them: CPU hours", counts, lambda count: count * judged, _hours),
        _line("the same on a sample of 1%", counts, lambda count: count * judged / 100, _hours),
    ]
    return markdown(["sites", *(f"{count:,}" for count in counts)], rows)


def _models(measured: Measured) -> str:
    """Compute what 1 to 1,000 models cost that are trained and delivered weekly and watched hourly."""
    counts = (1, 10, 100, 1000)
    size = 1_000_000
    steps = {name: steps_of(name, name != "monitoring") for name in ("training", "delivery", "monitoring")}
    train = sum(measured.cpu[step].slope for step in ("ingest", "validate", "split", "evaluate")) * size
    train = (train + _TRAINED * measured.tree_row * size) / 3600
    watch = _WINDOWS * 100_000 * measured.drift_row / 3600
    weekly = steps["training"] + steps["delivery"] + _WINDOWS * steps["monitoring"]
    starts = weekly * POD_START_S / 3600
    rows = [
        _line("runs a week", counts, lambda count: count * (2 + _WINDOWS), _count),
        _line("steps a week", counts, lambda count: count * weekly, _count),
        _line("pods a week: a driver and a step each", counts, lambda count: 2 * count * weekly, _count),
        _line("hours a week in which pods start", counts, lambda count: count * starts, _hours),
        _line("steps that start at any time, on average", counts, lambda count: count * starts / _WINDOWS, _hours),
        _line(f"training on {size:,} rows, weekly: CPU hours", counts, lambda count: count * train, _hours),
        _line("drift of 100,000 rows, hourly: CPU hours a week", counts, lambda count: count * watch, _hours),
        _line("MLflow runs a year", counts, lambda count: count * 52 * (1 + _WINDOWS), _count),
        _line("commits to the configuration repository a year", counts, lambda count: count * 52 * WAVES, _count),
        _line("seconds of pushing a week", counts, lambda count: count * WAVES * measured.push_s, _seconds),
    ]
    head = "; ".join(f"`{name}` runs {count} steps" for name, count in steps.items())
    return (
        f"{head} (monitoring where nothing is to be retrained).\n\n"
        f"{markdown(['models', *(f'{count:,}' for count in counts)], rows)}"
    )


def _bends(measured: Measured) -> str:
    """Compute where each limit is reached, and say what then."""
    disk_rows = POD_DISK_GB * 1e9 / measured.parquet_row
    rows = [
        [
            "Names of sites in a run's parameters",
            f"{PARAMETERS_KB:g} kB / {NAME_BYTES} bytes", f"{PARAMETERS_KB * 1e3 / NAME_BYTES:,.0f} sites",
            "several runs, a part of the sites each",
        ],
        [
            "Steps written out in one pipeline",
            f"{WORKFLOW_KB:g} kB / {measured.step_kb:.1f} kB", f"{WORKFLOW_KB / measured.step_kb:,.0f} steps",
            "a loop has its steps once",
        ],
        [
            "Iterations of one `ParallelFor`",
            f"{ETCD_KB:g} kB / ({NODES} x {NODE_KB} kB)", f"{ETCD_KB / NODES / NODE_KB:,.0f} workers, windows",
            f"Argo's node status offload; a table has {MOST_PARTITIONS} partitions at most, of more rows each",
        ],
        [
            "Promotions that wait for one another",
            f"120 s / {measured.push_s:.2f} s", f"{120 / measured.push_s:,.0f} at the same moment",
            "promote to many sites in one commit; a repository for each region",
        ],
        [
            "One table in one pod (`gather_partitions`, `split_data`, `train_xgboost`)",
            f"{POD_DISK_GB:g} GB / {measured.parquet_row:.0f} bytes", f"{_count(disk_rows)} rows",
            "a larger volume as the pod's disk; train on a sample; partitions stay where they are",
        ],
        [
            "Files of the traffic log, listed each hour within a minute",
            f"60 s / {LIST_S:g} s x {LIST_PAGE:,} files / 360 files",
            f"{60 / LIST_S * LIST_PAGE / 360:,.0f} sites at 10 s a flush",
            "`LOOPLINE_TRAFFIC_FLUSH_S=3600`, then 360 times as many",
        ],
        [
            "Rows of a window that one pod judges within an hour",
            f"3,600 s / {measured.drift_row * 1e6:.1f} us", f"{_count(3600 / measured.drift_row)} rows",
            "`LOOPLINE_TRAFFIC_SAMPLE`: at 1,000,000 rows a verdict sees what matters",
        ],
    ]  # fmt: skip
    return markdown(["what", "arithmetic", "reached at", "then"], rows)


def steps_of(pipeline: str, gated: bool = True) -> int:
    """Count the steps of a compiled pipeline; a loop's once.

    Args:
        pipeline: Its name.
        gated: Whether to count those behind a condition, too.
    """
    spec = next(yaml.safe_load_all((ROOT / "compiled" / f"{pipeline}.yaml").read_text(encoding="utf-8")))

    def count(tasks: dict) -> int:
        found = 0
        for task in tasks.values():
            component = spec["components"][task["componentRef"]["name"]]
            if gated or "condition" not in task.get("triggerPolicy", {}):
                found += count(component["dag"]["tasks"]) if "dag" in component else 1
        return found

    return count(spec["root"]["dag"]["tasks"])


def _count(value: float) -> str:
    for unit, size in (("billion", 1e9), ("million", 1e6)):
        if value >= size:
            return f"{value / size:,.3g} {unit}" if value / size < 1000 else f"{value / size:,.0f} {unit}"
    return f"{value:,.0f}"


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}" if value >= 0.01 else "< 0.01"


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{max(value, 0):.1f}"


def _listing(files: float) -> float:
    """Return minutes to list so many files, one page after the other."""
    return files / LIST_PAGE * LIST_S / 60


def _bytes(value: float) -> str:
    return f"{value / 1e12:g} TB" if value >= 1e12 else f"{value / 1e9:g} GB"


if __name__ == "__main__":
    print(json.dumps(tables(load_results()), indent=1))
