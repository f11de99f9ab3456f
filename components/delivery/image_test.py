"""Test an image as the sites will run it, report, and attach the signed result."""

import importlib.metadata
import importlib.util
import logging
import math
import tempfile
from pathlib import Path

from loopline.components.delivery.attestation import attest_tested
from loopline.components.delivery.image_checks import CHECKS, ImageTest
from loopline.components.delivery.image_test_report import image_test_report
from loopline.components.errors import InputError

logger = logging.getLogger("loopline")


def test_image(image: str, report_path: str | Path, p99_ms: float = 250.0, memory_mb: float = 1024.0) -> str:  # noqa: PT028
    """Test an image and, when it passes, attach the signed result to it.

    Args:
        image: The image by digest.
        report_path: Where to write the HTML report; it is written whatever comes of the test.
        p99_ms: Highest 99th percentile of the latency of one row, in milliseconds.
        memory_mb: Highest memory of the server, in MB (2**20 bytes).

    Returns:
        The image by digest.

    Raises:
        InputError: A budget cannot be used, there is no model server here, or checks failed; the message names them.
    """
    for name, budget in (("p99_ms", p99_ms), ("memory_mb", memory_mb)):
        if not (math.isfinite(budget) and budget > 0):
            raise InputError(f"{name} is {budget}: give a budget above 0.")
    if importlib.util.find_spec("mlserver") is None:
        raise InputError("There is no MLServer to test with: install loopline[serving].")
    test = ImageTest(image, p99_ms, memory_mb)
    with tempfile.TemporaryDirectory(prefix="loopline-test-") as folder:
        test.run(Path(folder) / "image")
    image_test_report(test).write(report_path)
    if not test.passed:
        found = "; ".join(f"{check.name} ({check.detail.rstrip('.')})" for check in test.failed)
        raise InputError(f"Image {image} failed its test and is not promoted: {found}.")
    attest_tested(test.fetched.reference, _predicate(test))
    logger.info("%s version %s passed its test", test.fetched.name, test.fetched.version)
    return test.fetched.reference


def _predicate(test: ImageTest) -> dict:
    """Say what was tested: https://github.com/in-toto/attestation, spec/predicates/test-result.md.

    Only what is the same when the same image passes the same test again, so that it is attached once.
    """
    golden = test.manifest.files["golden.parquet"].removeprefix("sha256:")
    budgets = {"p99_ms": f"{test.p99_ms:g}", "memory_mb": f"{test.memory_mb:g}"}
    unmeasured = [] if test.memory_peak_mb is not None else ["memory"]
    return {
        "result": "PASSED",
        "configuration": [
            {"name": "golden.parquet", "digest": {"sha256": golden}},
            {"name": "budgets", "annotations": budgets},
            {"name": "mlserver", "annotations": {"version": importlib.metadata.version("mlserver")}},
        ],
        "passedTests": [name for name in CHECKS if name not in unmeasured],
        "warnedTests": unmeasured,
        "failedTests": [],
    }
