"""What the environment says of this machine."""

import os

import pytest

from loopline.components.environment import cores


@pytest.mark.parametrize(
    ("text", "expected"),
    [("100000 100000", 1), ("150000 100000", 2), ("99900000 100000", 8), ("max 100000", 8), ("", 8), (None, 8)],
)
def test_a_container_has_the_cores_of_its_limit(tmp_path, monkeypatch, text, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    if text is not None:
        (tmp_path / "cpu.max").write_text(text)
    assert cores(tmp_path / "cpu.max") == expected
