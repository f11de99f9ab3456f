"""The report of an image test, for people who decide whether a site may have the image."""

import importlib.metadata
import os
import platform

import numpy as np

from loopline.components.delivery.image_checks import ImageTest
from loopline.components.delivery.latency import Latency
from loopline.components.model.predictor import ATOL, RTOL
from loopline.components.report import Report

_RESULTS = {True: "passed", False: "FAILED", None: None}
_ACCENT, _SOFT, _BAD = "#0b5cad", "#5b6470", "#b3261e"


def image_test_report(test: ImageTest) -> Report:
    """Lay out a test as a page.

    Args:
        test: The test, finished or as far as it came.

    Returns:
        The page, not yet written.
    """
    name = f": {test.manifest.name}" if test.manifest else ""
    version = f" version {test.fetched.version}" if test.fetched and test.fetched.version else ""
    report = Report(f"Image test{name}{version}", test.image)
    report.tiles(_tiles(test))
    report.section("Checks")
    if test.failed:
        report.text(
            f"Failed: {', '.join(check.name for check in test.failed)}. No test result is attached to the image.", "bad"
        )
    if test.passed:
        report.text(
            "Every check passed: the signed result is attached to the image next, and with it a site may take it.",
            "good",
        )
    rows = [(_keep_together(check.name), _RESULTS[check.passed], check.detail) for check in test.checks]
    report.table(["Check", "Result", "Found"], rows)
    if test.replays:
        _add_golden(report, test)
    if test.latencies:
        _add_latency(report, test)
    if test.outcomes:
        _add_malformed(report, test)
    if test.manifest:
        _add_subject(report, test)
    return report


def _tiles(test: ImageTest) -> list[tuple]:
    verdict = ("Verdict", "passed", f"all {len(test.checks)} checks", "good")
    if not test.passed:
        left = sum(check.passed is None for check in test.checks)
        detail = f"{len(test.failed)} of {len(test.checks)} checks" + (f", {left} not made" if left else "")
        verdict = ("Verdict", "failed", detail, "bad")
    digest = test.image.rpartition("@")[2].removeprefix("sha256:")[:8]
    tiles = [verdict, ("Image", digest, "first digits of its digest")]
    if test.replays:
        rows = max(found.rows for found in test.replays.values())
        largest = max(found.max_difference for found in test.replays.values())
        wrong = any(not found.passed for found in test.replays.values())
        tiles.append(("Largest difference", f"{largest:.2g}", f"on {rows} golden rows", "bad" if wrong else "good"))
    if test.latencies:
        p99 = test.latencies[0].percentile_ms(99)
        tone = "good" if p99 <= test.p99_ms else "bad"
        tiles.append(("p99 of one row", f"{p99:.3g} ms", f"budget {test.p99_ms:g} ms", tone))
    if test.memory_peak_mb is not None:
        tone = "good" if test.memory_peak_mb <= test.memory_mb else "bad"
        tiles.append(("Peak memory", f"{test.memory_peak_mb:,.0f} MB", f"budget {test.memory_mb:g} MB", tone))
    return tiles


def _add_golden(report: Report, test: ImageTest) -> None:
    report.section("Golden predictions")
    report.text(
        "Rows that traveled with the model, with what it predicted at training, asked of the server in the image, over "
        f"gRPC with the features in reverse order. A prediction may differ by {ATOL:g} + {RTOL:g} of its size."
    )
    rows = [
        (
            protocol,
            found.rows,
            found.wrong,
            found.max_difference,
            found.answer.model,
            found.answer.version[:19],
        )
        for protocol, found in test.replays.items()
    ]
    report.table(["Protocol", "Rows", "Wrong", "Largest difference", "Model named", "Version named"], rows)


def _add_latency(report: Report, test: ImageTest) -> None:
    report.section("Latency")
    one = test.latencies[0]
    caption = "Share of requests of one row answered within a time; one client that keeps its connection."
    report.figure(_draw_latency(one, test.p99_ms), caption)
    rows = [
        (
            f"{found.rows:,} row{'s' if found.rows > 1 else ''}",
            len(found.seconds),
            found.percentile_ms(50),
            found.percentile_ms(99),
            found.percentile_ms(100),
            round(found.rows_per_s),
        )
        for found in test.latencies
    ]
    report.table(["Request", "Requests", "p50 ms", "p99 ms", "Longest ms", "Rows a second"], rows)


def _draw_latency(latency: Latency, budget_ms: float):
    """Draw the distribution of latencies; the budget only where it does not squeeze them against the axis."""
    from matplotlib.figure import Figure

    times = np.sort(latency.seconds) * 1e3
    figure = Figure(figsize=(9, 2.6))
    axes = figure.subplots()
    axes.step(times, np.arange(1, len(times) + 1) / len(times), where="post", color=_ACCENT, linewidth=1.8)
    p99 = latency.percentile_ms(99)
    axes.axvline(p99, color=_SOFT, linestyle="--", linewidth=1)
    axes.annotate(
        f"p99 {p99:.3g} ms", (p99, 0.08), (-4, 0), textcoords="offset points", ha="right", color=_SOFT, fontsize=9
    )
    if budget_ms <= 3 * times[-1]:
        axes.axvline(budget_ms, color=_BAD, linewidth=1)
        axes.annotate("budget", (budget_ms, 0.3), (4, 0), textcoords="offset points", color=_BAD, fontsize=9)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds")
    axes.set_ylabel("share of requests")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, which="both")
    return figure


def _add_malformed(report: Report, test: ImageTest) -> None:
    for protocol, refusal in (("REST", "HTTP 4xx"), ("gRPC", "INVALID_ARGUMENT or the like")):
        outcomes = [found for found in test.outcomes if found.protocol == protocol]
        if not outcomes:
            continue
        report.section(f"Malformed requests over {protocol}")
        report.text(
            f"Each must be refused as the caller's mistake ({refusal}), and the right request that follows answered as "
            "at training."
        )
        rows = [
            (found.request, _keep_together(found.answer), found.problem or "refused", _shorten(found.reason))
            for found in sorted(outcomes, key=lambda found: not found.problem)
        ]
        report.table(["What was wrong", "Answer", "Result", "What the server said"], rows)


def _add_subject(report: Report, test: ImageTest) -> None:
    report.section("What was tested, and on what")
    manifest = test.manifest
    report.table(
        ["Subject", ""],
        [
            ("Image", test.image),
            ("Model", f"{manifest.name}, {manifest.task} of {manifest.target}, {manifest.format}"),
            ("Model digest", manifest.digest),
            ("Trained on data", manifest.provenance.get("data_digest")),
            ("Machine", f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"),
            ("Model server", f"MLServer {_version('mlserver')}"),
        ],
    )
    report.table(
        ["Library", "Trained with", "Tested with"],
        [(name, trained, _version(name)) for name, trained in manifest.libraries.items()],
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _keep_together(text: str) -> str:
    """Replace spaces by such as no line is broken at."""
    return text.replace(" ", "\u00a0")


def _shorten(text: str, length: int = 120) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[:length]} ..."
