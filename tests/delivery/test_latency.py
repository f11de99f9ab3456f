import subprocess
import sys

import numpy as np
import pytest

from loopline.components.delivery.golden import read_golden
from loopline.components.delivery.inference import RefusedError, UnreachableError
from loopline.components.delivery.latency import FEWEST, Latency, measure_latency, peak_memory_mb


def test_percentiles_and_throughput():
    latency = Latency(4, np.arange(1, 201) / 1000)
    assert latency.percentile_ms(50) == pytest.approx(101)
    assert latency.percentile_ms(99) == pytest.approx(199)
    assert latency.percentile_ms(100) == pytest.approx(200)
    assert latency.rows_per_s == pytest.approx(800 / 20.1)


@pytest.mark.parametrize("rows", [1, 100])
def test_a_server_is_measured(served, small_model, rows):
    latency = measure_latency(served.url, read_golden(small_model), rows, requests=FEWEST)
    assert latency.rows == rows and latency.seconds.shape == (FEWEST,)
    assert 0 < latency.percentile_ms(50) <= latency.percentile_ms(99)


def test_what_cannot_be_measured(served, small_model):
    golden = read_golden(small_model)
    with pytest.raises(RefusedError, match="HTTP 404"):
        measure_latency(served.url, type(golden)("nobody", "", golden.features, golden.rows, golden.scores))
    with pytest.raises(UnreachableError, match="stopped answering"):
        measure_latency("http://127.0.0.1:1", golden)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the peak memory of a process")
def test_peak_memory_is_of_the_process_and_its_children():
    child = "x = bytearray(100 * 2**20); del x; print('ready', flush=True); input()"
    parent = (
        f"import subprocess, sys; x = bytearray(150 * 2**20); del x; subprocess.run([sys.executable, '-c', {child!r}])"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", parent], **pipes) as process:
        process.stdout.readline()
        peak = peak_memory_mb(process.pid)
        process.stdin.close()
    assert 250 < peak < 350
    assert peak_memory_mb(process.pid) is None
