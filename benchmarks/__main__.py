"""Measure what the README claims and print it as Markdown: python3 make.py bench [NAME ...]."""

import argparse
import sys
import time

from benchmarks import (
    capacity,
    contracts,
    drift_power,
    drift_speed,
    image,
    ingest,
    out_of_core,
    overhead,
    partitions,
    pipeline,
    promotions,
    replacement,
    scoring,
    serving,
    submit,
    sweep,
    training,
)

BENCHMARKS = {
    "contracts": ("Component bodies", contracts.run),
    "pipeline": ("The demo, and what the engine adds to its steps", pipeline.run),
    "overhead": ("The training pipeline against the same work in one process", overhead.run),
    "ingest": ("Ingest of a 1 GB CSV", ingest.run),
    "partitions": ("Preparing a table in partitions", partitions.run),
    "training": ("train_xgboost on 10 million rows", training.run),
    "sweep": ("A sweep of 20 trials on two cores", sweep.run),
    "outofcore": ("The training pipeline on 100 million rows", out_of_core.run),
    "scoring": ("Batch scoring of the flights", scoring.run),
    "image": ("Building and pushing a model image", image.run),
    "promotions": ("Promotions at once to one configuration repository", promotions.run),
    "replacement": ("Replacing a version under load", replacement.run),
    "serving": ("The model server against others", serving.run),
    "capacity": ("The capacity probe against servers that are known", capacity.run),
    "submit": ("Submitting a pipeline", submit.run),
    "drift": ("A drift verdict on a million rows, and on a hundred million", drift_speed.run),
    "power": ("What the drift verdict sees, and how often it cries wolf", drift_power.run),
}
#: Those that take more than ten minutes run when they are named.
ONLY_WHEN_NAMED = ("outofcore",)


def main() -> int:
    """Run the benchmarks named on the command line, all but the long ones when none is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", help=f"of {', '.join(BENCHMARKS)}; all but {', '.join(ONLY_WHEN_NAMED)} when none is given"
    )
    names = parser.parse_args().names or [name for name in BENCHMARKS if name not in ONLY_WHEN_NAMED]
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}: choose from {', '.join(BENCHMARKS)}")
    for name in names:
        title, run = BENCHMARKS[name]
        start = time.perf_counter()
        print(f"## {title}\n\n{run()}\n\n({time.perf_counter() - start:.0f} s to measure)\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
