"""A model directory ready to answer inference requests, whatever protocol they come by."""

import asyncio
import functools
import logging
import os
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from loopline.components.data.tables import read_table
from loopline.components.errors import InputError
from loopline.components.model.directory import read_manifest, read_release
from loopline.components.model.predictor import feature_columns, load_predictor
from loopline.components.serving import contributions, metrics
from loopline.components.serving.inputs import InputReader
from loopline.components.serving.traffic import Stamp, open_traffic_log

logger = logging.getLogger("loopline")
#: Rows predicted while the server waits; more are predicted beside it, so that other requests are answered meanwhile.
INLINE_ROWS = 32
#: The longest id of a request.
MAX_ID = 200


class ServedModel:
    """A loaded model that answers requests of the Open Inference Protocol as plain mappings.

    Args:
        folder: The model directory.
        image_digest: The digest of the image it came in, empty when unknown.
        site: Where it is served, empty when unknown.

    Raises:
        InputError: There is no model, or it cannot be loaded.
    """

    def __init__(self, folder: Path, image_digest: str = "", site: str = ""):
        self.manifest = read_manifest(folder)
        self.version = model_version(folder)
        self.stamps = {"model_digest": self.manifest.digest, "image_digest": image_digest, "site": site}
        self.stamps = {name: value for name, value in self.stamps.items() if value}
        self._folder = folder
        # One thread a prediction: requests come side by side, and a pod has the cores it asked for, not the machine's.
        self._predictor = load_predictor(folder, threads=1)
        self._reader = InputReader(self._predictor.features)
        stamp = Stamp(self.manifest.name, self.version, self.manifest.digest, image_digest, site)
        self._traffic = open_traffic_log(stamp, self._predictor.features, self.manifest.output_names)
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, "predict")
        self._explainer_lock = threading.Lock()
        labels = [str(label) for label in self.manifest.classes] or [""]
        self._counted = [metrics.PREDICTIONS.labels(self.manifest.name, label) for label in labels]
        metrics.MODEL.labels(*vars(stamp).values()).set(1)

    def close(self) -> None:
        """Write what is left of the traffic log."""
        self._pool.shutdown(wait=False)
        if self._traffic:
            self._traffic.close()

    async def infer(self, request: Mapping) -> dict:
        """Answer one request.

        Args:
            request: ``inputs``, and where there are any ``id``, ``parameters`` and ``outputs``, as in the protocol. The
                parameter ``contributions`` asks for the outputs ``contributions`` and ``baseline`` too.

        Returns:
            The answer as in the protocol.

        Raises:
            InputError: The request cannot be answered.
        """
        start = time.perf_counter()
        request_id = _read_id(request.get("id"))
        explained = _wants_contributions(request.get("parameters"))
        tensors = request["inputs"]
        is_short = all(type(tensor.get("data")) is list and len(tensor["data"]) <= INLINE_ROWS for tensor in tensors)
        columns, scores = self._predict(tensors) if is_short else await self._beside(self._predict, tensors)
        outputs = self._outputs(scores)
        if explained:
            outputs += await self._beside(self._explain, columns)
        outputs = _select(outputs, request.get("outputs"))
        self._count(scores)
        if self._traffic:
            self._traffic.record(request_id, columns, scores, time.perf_counter() - start)
        return {
            "model_name": self.manifest.name,
            "model_version": self.version,
            "id": request_id,
            "parameters": self.stamps,
            "outputs": outputs,
        }

    def output_metadata(self) -> list[dict]:
        """Return name, datatype and shape of each output that every answer has."""
        if not self.manifest.is_classification:
            return [{"name": "prediction", "datatype": "FP32", "shape": [-1, 1]}]
        return [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(self.manifest.classes)]},
        ]

    def _predict(self, tensors: Sequence[Mapping]) -> tuple[dict[str, np.ndarray], np.ndarray]:
        columns = self._reader.read(tensors)
        return columns, self._score(columns)

    def _score(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Predict rows of values that are right each by itself, and may still be too much for the model."""
        try:
            scores = self._predictor.score(columns)
        except ValueError as error:  # what scikit-learn raises
            reason = str(error).partition("\n")[0][:200].rstrip(".")
            raise InputError(f"The model cannot predict these rows ({reason}): check their values.") from None
        if not np.isfinite(scores).all():
            row = int(np.argmin(np.isfinite(scores.reshape(len(scores), -1)).all(axis=1)))
            raise InputError(
                f"The model has no prediction for row {row}: check its values, one is far from all others."
            )
        return scores

    def _outputs(self, scores: np.ndarray) -> list[dict]:
        if not self.manifest.is_classification:
            return [_tensor("prediction", "FP32", scores.reshape(-1, 1))]
        return [_tensor("label", "INT64", scores.argmax(axis=1)), _tensor("probabilities", "FP32", scores)]

    def _count(self, scores: np.ndarray) -> None:
        if len(self._counted) == 1 or len(scores) == 1:
            self._counted[scores[0].argmax()].inc(len(scores))
            return
        for label, count in enumerate(np.bincount(scores.argmax(axis=1)).tolist()):
            self._counted[label].inc(count)

    def _explain(self, columns: dict[str, np.ndarray]) -> list[dict]:
        rows = len(next(iter(columns.values())))
        if rows > contributions.MAX_ROWS:
            raise InputError(
                f"The request asks for contributions of {rows} rows: ask for at most {contributions.MAX_ROWS} at once."
            )
        values = self._explainer.explain(columns)
        baseline = np.full(len(values), self._explainer.baseline, np.float32)
        return [_tensor("contributions", "FP32", values), _tensor("baseline", "FP32", baseline)]

    @property
    def _explainer(self) -> contributions.Explainer:
        with self._explainer_lock:
            return self._made_explainer

    @functools.cached_property
    def _made_explainer(self) -> contributions.Explainer:
        features = self._predictor.features
        table = read_table(self._folder / "reference-rows.parquet", features.names)
        return contributions.Explainer(self._explained_score, feature_columns(table, features))

    def _explained_score(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        scores = self._score(columns)
        return scores[:, -1] if self.manifest.is_classification else scores

    async def _beside(self, function, *arguments):
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def model_version(folder: str | Path) -> str:
    """Return the registered version of a model directory from an image, else the model's digest.

    Args:
        folder: The model directory.

    Raises:
        InputError: The release beside the model is that of another model.
    """
    release, digest = read_release(folder), read_manifest(folder).digest
    if release is None:
        return digest
    if release.get("model_digest") != digest:
        raise InputError(f"The release in {folder} is not that of the model beside it: fetch the model image again.")
    return str(release.get("version") or digest)


def _read_id(value) -> str:
    if value is None or value == "":
        return str(uuid.uuid4())
    # MLServer repeats it in headers, which hold nothing else.
    if not isinstance(value, str) or len(value) > MAX_ID or not (value.isascii() and value.isprintable()):
        raise InputError(f"The id of the request cannot be used: send at most {MAX_ID} printable ASCII characters.")
    return value


def _wants_contributions(parameters: Mapping | None) -> bool:
    wanted = (parameters or {}).get("contributions", False)
    if not isinstance(wanted, bool):
        raise InputError("The parameter 'contributions' is neither true nor false: send one of them.")
    return wanted


def _select(outputs: list[dict], wanted: list[Mapping] | None) -> list[dict]:
    if not wanted:
        return outputs
    by_name = {output["name"]: output for output in outputs}
    names = [one["name"] for one in wanted]
    for name in names:
        if name not in by_name:
            raise InputError(f"There is no output {str(name)[:60]!r}: ask for {', '.join(by_name)}.")
    return [by_name[name] for name in dict.fromkeys(names)]


def _tensor(name: str, datatype: str, values: np.ndarray) -> dict:
    return {"name": name, "shape": list(values.shape), "datatype": datatype, "data": values.reshape(-1).tolist()}
