"""The benchmarks by name, in the order of the page."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes:
        title: The headline of its section.
        module: Under ``benchmarks``; its ``run()`` returns Markdown, or a list of Text, Table and Curve.
        quick: Whether it runs when none is named; those that do are meant to take less than 25 minutes together.
        options: Keyword arguments of ``run``.
        limit_s: Seconds after which it is ended, so that the others get their turn.
    """

    title: str
    module: str
    quick: bool = True
    options: dict | None = None
    limit_s: int = 1800

    def load(self) -> Callable:
        """Import the module; returns its ``run``."""
        return importlib.import_module(f"benchmarks.{self.module}").run


BENCHMARKS = {
    "contracts": Benchmark("Component bodies", "contracts"),
    "imports": Benchmark("What loading costs", "imports", quick=False),
    "engine": Benchmark("What the engine adds to a step", "engine"),
    "pipeline": Benchmark("The demo, step by step", "pipeline", quick=False),
    "overhead": Benchmark("The training pipeline against the same work in one process", "overhead"),
    "compile": Benchmark("Compiling a pipeline", "compiling"),
    "submit": Benchmark("Submitting a pipeline", "submit"),
    "ingest": Benchmark("Ingest of CSV", "ingest"),
    "validation": Benchmark("Validating a table", "validation"),
    "training": Benchmark("Training on a million rows", "training"),
    "training-large": Benchmark(
        "train_xgboost on 10 million rows", "training", quick=False, options={"rows": 10_000_000, "others": False}
    ),
    "sweep": Benchmark("A sweep of 20 trials on two cores", "sweep", quick=False),
    "evaluation": Benchmark("Evaluating a model, with intervals", "evaluation"),
    "rows": Benchmark("The steps of training as rows grow", "growth"),
    "columns": Benchmark("The steps of training as columns grow", "growth_columns"),
    "partitions": Benchmark("Preparing a table in partitions", "partitions"),
    "outofcore": Benchmark("The training pipeline on 100 million rows", "out_of_core", quick=False, limit_s=4 * 3600),
    "scoring": Benchmark("Batch scoring of the flights", "scoring", options={"models": ("example",)}),
    "drift": Benchmark("Drift between two tables", "drift_speed"),
    "drift-large": Benchmark(
        "A drift verdict on a million rows, and on a hundred million",
        "drift_speed",
        quick=False,
        options={"rows": 1_000_000, "repeats": 3, "partitions": 100, "most": 1},
    ),
    "power": Benchmark("What the drift verdict sees, and how often it cries wolf", "drift_power", quick=False),
    "image": Benchmark("Building and pushing a model image", "image", quick=False),
    "promotions": Benchmark("Promotions to one configuration repository", "promotions"),
    "replacement": Benchmark("Replacing a version under load", "replacement", quick=False),
    "serving": Benchmark("The model server against others", "serving", quick=False),
    "capacity": Benchmark("The capacity probe against servers that are known", "capacity", quick=False),
}
