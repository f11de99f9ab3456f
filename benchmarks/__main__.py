"""Measure speed and memory: python3 make.py bench [NAME ...].

Each benchmark runs in a process of its own; what it found is kept in benchmarks/results/NAME.json. benchmarks/README.md
and the tables of docs/scale.md are written anew from all results that are kept. One that fails leaves its last result
as it was.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import measure, peers, projection
from benchmarks.registry import BENCHMARKS
from benchmarks.render import render_page, render_section
from benchmarks.result import RESULTS, Result, Text, describe_machine, describe_versions, load_results, today


def main(words: list[str] | None = None) -> int:
    """Run the benchmarks named on the command line, the quick ones when none is."""
    options = _parse(words)
    if options.list:
        for name, benchmark in BENCHMARKS.items():
            print(f"{name:16}{benchmark.title}{'' if benchmark.quick else ' (only when named)'}")
        return 0
    if options.render:
        print(f"{render_page()} is written from {RESULTS}.")
        gaps = projection.write()
        print(
            f"{projection.PAGE} has no tables, for want of {', '.join(gaps)}." if gaps else f"{projection.PAGE}, too."
        )
        return 0
    if options.here:
        _run_here(options.here)
        return 0
    quick = [name for name, benchmark in BENCHMARKS.items() if benchmark.quick or options.all]
    failed = [name for name in options.names or quick if not _run_apart(name)]
    if failed:
        print(f"Failed: {', '.join(failed)}; their results are as they were.", file=sys.stderr)
    return 1 if failed else 0


def _parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make.py bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure; see --list")
    parser.add_argument("--all", action="store_true", help="those that only run when named, too")
    parser.add_argument("--list", action="store_true", help="show the benchmarks")
    parser.add_argument("--render", action="store_true", help="only write the page from the results that are kept")
    parser.add_argument("--here", metavar="NAME", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    for name in [*options.names, *filter(None, [options.here])]:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name!r}: choose from {', '.join(BENCHMARKS)}")
    return options


def _run_apart(name: str) -> bool:
    """Run one benchmark in a process of its own, which a crash or an endless run of it does not outlive."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    start = time.perf_counter()
    words = [sys.executable, "-m", "benchmarks", "--here", name]
    with subprocess.Popen(words, cwd=measure.ROOT, start_new_session=True) as process:
        try:
            code = process.wait(BENCHMARKS[name].limit_s)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, KeyboardInterrupt):
                raise
            code = f"stopped after {BENCHMARKS[name].limit_s} s"
    if code:
        print(f"{name} failed ({code}).", file=sys.stderr, flush=True)
        return False
    print(f"{name}: {time.perf_counter() - start:.0f} s\n", file=sys.stderr, flush=True)
    print(render_section(load_results()[name]), flush=True)
    render_page()
    projection.write()
    return True


def _run_here(name: str, folder: Path = RESULTS) -> None:
    benchmark = BENCHMARKS[name]
    machine, start = describe_machine(), time.perf_counter()
    found = benchmark.load()(**(benchmark.options or {}))
    parts = [Text(found)] if isinstance(found, str) else found
    took = time.perf_counter() - start
    # At either end.
    machine["busy"] = max(machine["busy"], describe_machine()["busy"])
    versions = describe_versions()
    Result(name, benchmark.title, parts, today(), took, machine, versions, peers.USED, measure.MEASURED).save(folder)


if __name__ == "__main__":
    sys.exit(main())
