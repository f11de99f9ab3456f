"""What the steps of monitoring write about a window, in the form that a decision reads, and decisions of the past."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

#: The end of the window that a test decides about.
END = datetime(2026, 3, 10, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64


def span(start_h: float = -24, end_h: float = 0) -> dict[str, str]:
    """Return a window by hours from ``END``."""
    return {
        "start": (END + timedelta(hours=start_h)).isoformat(),
        "end": (END + timedelta(hours=end_h)).isoformat(),
    }


def make_documents(**changes: Mapping) -> dict[str, dict]:
    """Return the four documents of a window in which all is well, but for what is said by document."""
    documents = {
        "counts": {
            "name": "flights",
            "window": span(),
            "rows": 5_000,
            "labeled": 3_000,
            "own": 5_000,
            "own_labeled": 3_000,
            "by_site": {"cloud": 3_000, "edge": 2_000},
            "by_version": {"1": 5_000},
            "dropped": {},
            "nulled": {},
            "files": 40,
            "broken_files": [],
            "truth": {"rows": 4_000, "matched": 3_000, "duplicate": 0, "contradictory": 0, "ambiguous": 0,
                      "without_prediction": 1_000, "unlabeled": 0, "unknown": 0},
            "model_digest": DIGEST,
        },
        "drift": {"verdict": "none", "reason": "No column moved.", "drifted": [], "broken": [], "score": 0.01},
        "performance": {
            "verdict": "steady",
            "reason": "No change that is both sure and more than 5%.",
            "metric": "log_loss",
            "lower_is_better": True,
            "metrics": {"log_loss": {"value": 0.56, "low": 0.54, "high": 0.58}},
            "registered": {"log_loss": {"value": 0.55, "low": 0.54, "high": 0.56}},
            "skill": {"value": 0.19, "low": 0.17, "high": 0.21, "registered": 0.2},
            "estimate": None,
            "is_estimate": False,
            "settings": {"margin": 0.05},
        },
        "service": {"verdict": "healthy", "reason": "5,000 requests within the objectives.", "state": {}},
    }  # fmt: skip
    return {name: {**document, **changes.get(name, {})} for name, document in documents.items()}


def write_documents(folder: Path, documents: Mapping[str, Mapping]) -> list[Path]:
    """Write documents and return their paths in the order that ``decide`` wants them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document))
    return [folder / name for name in ("counts", "drift", "performance", "service")]


def earlier(
    start_h: float,
    end_h: float,
    verdict: str = "wait",
    performance: str = "steady",
    drift: str = "none",
    data: str = "ok",
    **values: object,
) -> dict:
    """Return the decision about an earlier window, given by hours from ``END``."""
    return {
        "verdict": verdict,
        "window": span(start_h, end_h),
        "rows": 5_000,
        "labeled": 3_000,
        "by_site": {"cloud": 3_000, "edge": 2_000},
        "model_digest": DIGEST,
        "signals": {"data": data, "drift": drift, "performance": performance, "service": "healthy"},
        **values,
    }
