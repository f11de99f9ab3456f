"""A model directory as an MLflow model: ``mlflow.pyfunc.load_model`` gives what the model directory gives.

The MLflow model holds the model directory as it is under ``data/model``. Nothing is pickled: MLflow imports this module
and calls ``_load_pyfunc``. Where the model is loaded, Loopline has to be installed.
"""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from loopline.components.data.schema import Schema
from loopline.components.data.tables import open_parquet
from loopline.components.errors import InputError
from loopline.components.model.directory import Manifest, verify_model
from loopline.components.model.predictor import Predictor, load_predictor

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import Model, ModelSignature

#: Rows of the input example.
_EXAMPLE_ROWS = 5


class ServedModel:
    """What MLflow calls to predict.

    Args:
        predictor: The loaded model.
    """

    def __init__(self, predictor: Predictor):
        self._predictor = predictor

    def predict(self, frame: "pd.DataFrame") -> "pd.DataFrame":
        """Predict each row.

        Args:
            frame: The model's features by name; NaN or None is missing.

        Returns:
            Single-precision floats, one column ``probability_<class>`` a class, or ``prediction``; the index of
            ``frame``.

        Raises:
            InputError: A feature is missing or has the wrong type.
        """
        import pandas as pd

        names = [name for name in self._predictor.features.names if name in frame.columns]
        try:
            table = pa.Table.from_pandas(frame[names], preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise InputError(f"The rows to predict mix types within a column ({error}): give one type each.") from None
        scores = self._predictor.predict(table).reshape(len(frame), -1)
        return pd.DataFrame(scores, columns=self._predictor.manifest.output_names, index=frame.index)


def _load_pyfunc(data_path: str) -> ServedModel:
    """Load the model; MLflow looks for this name."""
    verify_model(data_path)
    return ServedModel(load_predictor(data_path))


def save_flavor(model: Path, target: Path, flavor: "Model") -> None:
    """Write a model directory as an MLflow model.

    Args:
        model: The model directory.
        target: The folder to write; it does not exist yet.
        flavor: The ``mlflow.models.Model`` that says where the model will be kept.
    """
    from mlflow import pyfunc

    manifest = verify_model(model)
    schema = Schema.load(model / "schema.json")
    features = schema.without(manifest.target)
    # Named here, or MLflow loads the model in another process to find out what it imports.
    libraries = {"loopline": version("loopline"), "mlflow": version("mlflow"), **manifest.libraries}
    requirements = [f"{library}=={number}" for library, number in libraries.items()]
    with tempfile.TemporaryDirectory() as folder:
        # MLflow keeps the last part of this path, and fetching relies on it.
        link = Path(folder) / "model"
        link.symlink_to(model.absolute())
        pyfunc.save_model(
            path=str(target),
            mlflow_model=flavor,
            loader_module=__name__,
            data_path=str(link),
            signature=model_signature(features, manifest),
            input_example=input_example(model, features),
            pip_requirements=requirements,
        )


def model_signature(features: Schema, manifest: Manifest) -> "ModelSignature":
    """Describe a model's inputs and outputs the way MLflow enforces them.

    MLflow refuses 64-bit integers where it expects floats, and floats where it expects integers, and pandas turns
    integers with a missing value into floats: an integer feature is therefore of MLflow's type ``Any``.

    Args:
        features: The features' schema.
        manifest: The model's manifest.

    Returns:
        The signature. No input is required to be present in every row.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec
    from mlflow.types import Schema as Columns
    from mlflow.types.schema import AnyType

    types = {"category": "string", "number": "double", "boolean": "boolean", "timestamp": "datetime"}
    inputs = []
    for column in features.columns:
        type_ = AnyType() if column.kind == "integer" else types[column.kind]
        inputs.append(ColSpec(type_, column.name))
    return ModelSignature(Columns(inputs), Columns([ColSpec("float", name) for name in manifest.output_names]))


def input_example(model: Path, features: Schema) -> "pd.DataFrame | None":
    """Return the first golden inputs of a model directory, None when it has none."""
    golden = model / "golden.parquet"
    if not golden.is_file():
        return None
    with open_parquet(golden) as file:
        table = next(file.iter_batches(batch_size=_EXAMPLE_ROWS, columns=features.names))
    return table.to_pandas()
