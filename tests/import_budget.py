"""Which heavy libraries a step may import, and how to see which it does: names, since seconds differ by machine."""

import textwrap
from pathlib import Path

#: Each costs a tenth of a second of CPU or more to import; mlflow, sklearn, xgboost and kfp.client around a second,
#: alibi_detect six.
HEAVY = (
    "alibi_detect", "mlflow", "sklearn", "scipy.stats", "xgboost", "kfp.client", "kubernetes", "pandera", "matplotlib",
    "sqlalchemy", "pandas", "onnx", "onnxmltools", "skl2onnx", "onnxruntime", "pyarrow", "optuna", "minio",
    "cryptography", "requests", "aiohttp", "mlserver",
)  # fmt: skip

#: By component what it may import; adding to it is a decision, since every pod pays for it.
ALLOWED = {
    "ingest_data": "pyarrow",
    "validate_data": "pandera pandas pyarrow",
    "split_data": "pandas pyarrow",
    "extend_data": "pandas pyarrow",
    "divide_table": "",
    "profile_partition": "pandas pyarrow",
    "merge_profiles": "pandera pandas pyarrow",
    "prepare_partition": "pandera pandas pyarrow",
    "gather_partitions": "pandera pandas pyarrow",
    "train_sklearn": "sklearn scipy.stats skl2onnx onnx onnxruntime pandas pyarrow",
    "train_xgboost": "sklearn scipy.stats xgboost onnx onnxmltools onnxruntime pandas pyarrow",
    "train_distributed": (
        "sklearn scipy.stats xgboost onnx onnxmltools onnxruntime pandas pyarrow kubernetes cryptography requests"
    ),
    "list_trials": "",
    "plan_sweep": "mlflow sklearn scipy.stats xgboost sqlalchemy pandas pyarrow cryptography requests",
    "run_trials": "mlflow sklearn scipy.stats xgboost sqlalchemy pandas pyarrow optuna cryptography requests",
    "finish_sweep": "mlflow matplotlib sqlalchemy pandas pyarrow cryptography requests",
    "evaluate_model": "sklearn scipy.stats matplotlib pandas onnxruntime pyarrow",
    "compare_models": "sklearn scipy.stats matplotlib pandas onnxruntime pyarrow",
    "select_model": "sklearn scipy.stats matplotlib pandas pyarrow",
    "register_model": "mlflow sqlalchemy pandas pyarrow cryptography requests",
    "write_model_card": "mlflow sqlalchemy pandas pyarrow cryptography requests",
    "update_model_card": "mlflow sqlalchemy pandas pyarrow cryptography requests",
    "promote_model": "mlflow sqlalchemy pandas pyarrow cryptography requests",
    "load_model": "mlflow sqlalchemy pandas pyarrow cryptography requests",
    "annotate_model": "mlflow sqlalchemy pandas pyarrow cryptography requests",
    "build_model_image": "pyarrow cryptography",
    "test_model_image": "matplotlib pandas pyarrow cryptography requests mlserver",
    "promote_to_site": "pyarrow cryptography requests",
    "check_site": "pandas pyarrow cryptography requests",
    "rollback_site": "requests",
    "collect_traffic": "matplotlib pandas pyarrow",
    "list_windows": "pandas pyarrow",
    "summarize_traffic": "pandas pyarrow",
    "detect_drift_over_windows": "sklearn scipy.stats matplotlib pandas pyarrow",
    "detect_drift": "sklearn scipy.stats matplotlib pandas pyarrow",
    "measure_performance": "sklearn scipy.stats matplotlib pandas onnxruntime pyarrow",
    "check_service": "mlflow sqlalchemy pandas pyarrow cryptography requests",
    "probe_capacity": "matplotlib pandas pyarrow requests",
    "decide_retraining": "matplotlib mlflow sqlalchemy pandas pyarrow cryptography requests",
    "trigger_pipeline": "kfp.client kubernetes cryptography requests",
    "list_partitions": "pyarrow minio",
    "score_partition": "pandas onnxruntime pyarrow minio",
}

#: Loaded by every Python process that finds it on its path: writes down what a step has imported when it ends.
_SITE = """
import atexit, os, sys

def write():
    with open(os.path.join(os.environ["IMPORTS_FOLDER"], sys.argv[1]), "a") as file:
        file.write("\\n".join([*sys.modules, ""]))

if "loopline.components" in sys.orig_argv:
    atexit.register(write)
"""


def recording(folder: Path) -> dict[str, str]:
    """Return the environment in which ``python -m loopline.components`` writes down what it imports.

    Args:
        folder: Where; a file a component.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(textwrap.dedent(_SITE))
    return {"PYTHONPATH": str(folder), "IMPORTS_FOLDER": str(folder)}


def heavy_imports(folder: Path, component: str) -> set[str]:
    """Return which of the heavy libraries a component has imported.

    Args:
        folder: As given to ``recording``.
        component: The component; it has run.
    """
    return set(HEAVY) & set((folder / component).read_text().split())
