"""The test of an image, with real images, signatures and model servers."""

import contextlib
import logging
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from delivery_models import train_small
from delivery_registry import run_registry
from training_tables import OTHERS

from loopline.components.data.tables import file_digest, read_table, write_table
from loopline.components.delivery import image_test, latency
from loopline.components.delivery.attestation import verify_tested
from loopline.components.delivery.build import build_image
from loopline.components.delivery.image_checks import CHECKS
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest, seal_model
from loopline.components.training import write
from loopline.components.training.train import train_estimator


def servers() -> list[int]:
    """The model servers that this process started."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread or process that ended meanwhile
            for pid in (task / "children").read_text().split():
                if b"loopline.components.serving" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
    return found


def reseal(model: Path) -> Path:
    """Seal a model directory that was changed on purpose."""
    seal_model(model, read_manifest(model))
    return model


def refused(image: str, report: Path, **budgets) -> str:
    """Test an image that has to fail: a report, one sentence, nothing attested, no server left."""
    before = servers()
    with pytest.raises(InputError, match="failed its test and is not promoted") as caught:
        image_test.test_image(image, report, **budgets)
    assert servers() == before
    assert "\n" not in str(caught.value)
    assert "failed" in report.read_text()
    with pytest.raises(InputError):
        verify_tested(image)
    return str(caught.value)


@pytest.fixture
def registry(tmp_path):
    with run_registry(tmp_path / "registry") as running:
        yield running


def test_a_good_image_in_a_registry_is_attested_and_reported(registry, tmp_path):
    model = train_small(tmp_path, "amount")
    image = build_image(model, registry.image("small"), version=7)
    report = tmp_path / "reports" / "test.html"
    assert image_test.test_image(image, report, p99_ms=2000) == image
    # Nothing in it was measured, so that the same test of the same image is attached once.
    assert verify_tested(image) == {
        "result": "PASSED",
        "configuration": [
            {"name": "golden.parquet", "digest": {"sha256": file_digest(model / "golden.parquet")[7:]}},
            {"name": "budgets", "annotations": {"p99_ms": "2000", "memory_mb": "1024"}},
            {"name": "mlserver", "annotations": {"version": "1.7.1"}},
        ],
        "passedTests": list(CHECKS),
        "warnedTests": [],
        "failedTests": [],
    }
    text = report.read_text()
    for words in ("small-amount version 7", image, "Malformed requests over gRPC", "INVALID_ARGUMENT", "<svg", "p99"):
        assert words in text


@pytest.mark.parametrize("kind", ["xgboost", "skops", "joblib"])
def test_a_model_of_every_format_passes(tmp_path, monkeypatch, kind):
    """The formats beside ONNX, which the other tests have. How fast each is belongs to the benchmarks."""
    monkeypatch.setattr(latency, "SECONDS", 0.3)
    if kind != "joblib":
        monkeypatch.setattr(write, "_try_onnx", lambda *arguments: "the test wants another format")
    model = train_small(tmp_path)
    if kind != "xgboost":
        model = tmp_path / kind
        train_estimator(
            tmp_path / "train.parquet", None, tmp_path / "schema.json", model, target="late", exclude=OTHERS["late"],
            estimator="DecisionTreeClassifier", name="small-late", allow_pickle=kind == "joblib",
        )  # fmt: skip
    assert read_manifest(model).format == kind
    report = tmp_path / "test.html"
    image = build_image(model, version=2)
    assert image_test.test_image(image, report, p99_ms=2000) == image
    assert verify_tested(image)["passedTests"] == list(CHECKS)
    assert f"binary of late, {kind}" in report.read_text()


def test_wrong_predictions_and_broken_budgets_are_each_named(tmp_path):
    model = train_small(tmp_path, "grade")
    golden = read_table(model / "golden.parquet")
    scores = golden["probability_low"].to_numpy().copy()
    scores[[1, 4]] += np.float32(0.01)
    position = golden.schema.get_field_index("probability_low")
    write_table(model / "golden.parquet", golden.set_column(position, "probability_low", pa.array(scores)))
    report = tmp_path / "test.html"
    message = refused(build_image(reseal(model)), report, p99_ms=0.001, memory_mb=10)
    rows = golden.num_rows
    assert f"golden predictions over REST (2 of {rows} golden rows are answered otherwise than at training" in message
    assert f"golden predictions over gRPC (2 of {rows} golden rows" in message
    assert "over the budget of 0.001 ms" in message and "over the budget of 10 MB" in message
    assert "metadata (" not in message and "start (" not in message


def test_a_server_that_dies_is_named_and_the_rest_not_made(small_model, tmp_path):
    class KillAfterMetadata(logging.Handler):
        def emit(self, record):
            if "metadata: " in record.getMessage():
                (pid,) = set(servers()) - others
                os.kill(pid, signal.SIGKILL)

    others = set(servers())
    handler = KillAfterMetadata()
    logger = logging.getLogger("loopline")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        message = refused(build_image(small_model), tmp_path / "test.html")
    finally:
        logger.removeHandler(handler)
    assert "latency (" in message and "the model server was killed by SIGKILL)" in message
    assert not any(f"{name} (" in message for name in CHECKS if name != "latency"), "what follows from it is not made"
    assert "not made: a check before it failed" in (tmp_path / "test.html").read_text()


def test_a_model_that_does_not_load_fails_at_the_start(small_model, tmp_path):
    broken = shutil.copytree(small_model, tmp_path / "broken")
    (broken / "model.onnx").write_bytes(b"not a model")
    message = refused(build_image(reseal(broken)), tmp_path / "test.html")
    assert "start (The model server ended with exit code" in message
    assert "golden" not in message


def test_a_changed_image_fails_before_anything_is_served(small_model, tmp_path):
    image = build_image(small_model, image=f"oci:{tmp_path}/layout")
    blob = max((tmp_path / "layout" / "blobs" / "sha256").iterdir(), key=lambda file: file.stat().st_size)
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    message = refused(image, tmp_path / "test.html")
    assert "image (" in message and "start (" not in message


@pytest.mark.parametrize("budget", [{"p99_ms": 0}, {"memory_mb": float("nan")}])
def test_budgets_are_above_zero(budget, tmp_path):
    with pytest.raises(InputError, match="give a budget above 0"):
        image_test.test_image("oci:/nowhere@sha256:" + "0" * 64, tmp_path / "test.html", **budget)
    assert not (tmp_path / "test.html").exists()
