"""Kubeflow Pipelines components for the whole life of a tabular model.

A component is imported when it is first named, so that the logic under this package can be used without kfp.
"""

import importlib
import logging
import os

from loopline.components import endings
from loopline.components.environment import settle
from loopline.components.errors import plain
from loopline.components.secrecy import hide

settle()

#: Every public component and the stage it belongs to.
STAGES = {
    "ingest_data": "data",
    "validate_data": "data",
    "split_data": "data",
    "divide_table": "data",
    "profile_partition": "data",
    "merge_profiles": "data",
    "prepare_partition": "data",
    "gather_partitions": "data",
    "extend_data": "data",
    "train_sklearn": "training",
    "train_xgboost": "training",
    "train_distributed": "training",
    "list_trials": "training",
    "plan_sweep": "training",
    "run_trials": "training",
    "finish_sweep": "training",
    "evaluate_model": "evaluation",
    "compare_models": "evaluation",
    "select_model": "evaluation",
    "register_model": "registry",
    "write_model_card": "registry",
    "update_model_card": "registry",
    "promote_model": "registry",
    "load_model": "registry",
    "annotate_model": "registry",
    "build_model_image": "delivery",
    "test_model_image": "delivery",
    "promote_to_site": "delivery",
    "check_site": "delivery",
    "rollback_site": "delivery",
    "collect_traffic": "monitoring",
    "detect_drift": "monitoring",
    "list_windows": "monitoring",
    "summarize_traffic": "monitoring",
    "detect_drift_over_windows": "monitoring",
    "measure_performance": "monitoring",
    "check_service": "monitoring",
    "probe_capacity": "monitoring",
    "decide_retraining": "monitoring",
    "trigger_pipeline": "monitoring",
    "list_partitions": "scoring",
    "score_partition": "scoring",
}

__all__ = list(STAGES)


def _clean(record: logging.LogRecord) -> bool:
    """Mark Loopline's own log lines: kfp's executor prints every library's alike, without the logger's name.

    A record is one line without secrets, whatever names, values and words of servers it quotes. They are hidden before
    the line is cut to length: half a secret would not be known.
    """
    text = plain(hide(record.getMessage()))
    record.msg, record.args = text if text.startswith("loopline: ") else f"loopline: {text}", ()
    return True


logging.getLogger("loopline").addFilter(_clean)

if os.environ.get("_KFP_RUNTIME") == "true":  # the process of a step, started by KFP
    endings.install()


def __getattr__(name: str):
    if name not in STAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{STAGES[name]}.components"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *STAGES])
