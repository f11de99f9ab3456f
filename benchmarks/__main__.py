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
    partitions,
    pipeline,
    promotions,
    replacement,
    serving,
    submit,
    sweep,
    training,
)

BENCHMARKS = {
    "contracts": ("Component bodies", contracts.run),
    "pipeline": ("The demo, and what the engine adds to its steps", pipeline.run),
    "ingest": ("Ingest of a 1 GB CSV", ingest.run),
    "partitions": ("Preparing a table in partitions", partitions.run),
    "training": ("train_xgboost on 10 million rows", training.run),
    "sweep": ("A sweep of 20 trials on two cores", sweep.run),
    "image": ("Building and pushing a model image", image.run),
    "promotions": ("Promotions at once to one configuration repository", promotions.run),
    "replacement": ("Replacing a version under load", replacement.run),
    "serving": ("The model server against others", serving.run),
    "capacity": ("The capacity probe against servers that are known", capacity.run),
    "submit": ("Submitting a pipeline", submit.run),
    "drift": ("A drift verdict on a million rows, and on a hundred million", drift_speed.run),
    "power": ("What the drift verdict sees, and how often it cries wolf", drift_power.run),
}


def main() -> int:
    """Run the benchmarks named on the command line, all when none is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(BENCHMARKS)}; all when none is given")
    names = parser.parse_args().names or list(BENCHMARKS)
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
