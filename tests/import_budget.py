"""Which heavy libraries a step may import, and how to see which it does.

Not seconds, which differ between machines, but names. With each the CPU seconds that importing it took when this list
was made (``python -X importtime``, what it brings along included).
"""

import textwrap
from pathlib import Path

#: What is worth a line below.
HEAVY = {
    "alibi_detect": 6.1, "mlflow": 1.3, "sklearn": 0.9, "scipy.stats": 0.6, "xgboost": 1.0, "kfp.client": 0.9,
    "pandera": 0.4, "matplotlib": 0.3, "sqlalchemy": 0.3, "pandas": 0.2, "onnx": 0.1, "onnxmltools": 0.1, "skl2onnx": 0.3,
    "onnxruntime": 0.1, "pyarrow": 0.1, "optuna": 0.5, "kubernetes": 0.5, "minio": 0.1, "cryptography": 0.1,
    "requests": 0.1, "aiohttp": 0.1, "mlserver": 0.5,
}  # fmt: skip

ALLOWED: dict[str, set[str]] = {}

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
