"""The class that MLServer loads for a model directory of any format.

Named in ``model-settings.json``, so that ``mlserver start`` serves the directory too; the launcher of this package adds
the short way for REST, the drain and the sockets.
"""

import os
from pathlib import Path

from mlserver import MLModel, ModelSettings
from mlserver.errors import InferenceError
from mlserver.types import (
    Datatype,
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataTensor,
    Parameters,
    RequestInput,
    ResponseOutput,
    TensorData,
)
from mlserver.utils import to_absolute_path

from loopline.components.errors import InputError
from loopline.components.serving.metrics import RequestCounts
from loopline.components.serving.served import ServedModel, model_version


class LooplineModel(MLModel):
    """A model directory in MLServer.

    Args:
        settings: What ``model-settings.json`` holds; ``parameters.uri`` is a file in the model directory.

    Raises:
        InputError: There is no model.
    """

    def __init__(self, settings: ModelSettings):
        super().__init__(settings)
        self._folder = Path(to_absolute_path(settings, settings.parameters.uri)).parent
        # MLServer files the model under its version before it is loaded.
        settings.parameters.version = model_version(self._folder)
        settings.versions = [settings.parameters.version]
        self._site = os.environ.get("LOOPLINE_SITE", "")
        self.served: ServedModel | None = None

    async def load(self) -> bool:
        """Load the model; returns that it is ready."""
        # On a cluster the first holds the whole reference of the image, which ends in @ and the digest.
        image = os.environ.get("LOOPLINE_IMAGE_DIGEST", "")
        self.served = ServedModel(self._folder, image.rpartition("@")[2], self._site)
        self.outputs = [MetadataTensor(**output) for output in self.served.output_metadata()]
        return True

    def count_requests(self, protocol: str) -> RequestCounts:
        """Return what counts the requests that come by ``rest`` or ``grpc``."""
        return RequestCounts(self.name, self._site, protocol)

    async def unload(self) -> bool:
        """Write what is left of the traffic log; returns that the model is gone."""
        served, self.served = self.served, None
        if served:
            served.close()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer a request.

        Raises:
            InferenceError: The request cannot be answered; MLServer says so with HTTP 400 or INVALID_ARGUMENT.
        """
        try:
            answer = await self.served.infer(_as_mapping(payload))
        except InputError as error:
            raise InferenceError(str(error)) from None
        payload.id = answer["id"]
        # What is built here is right by construction; validating each value again is what takes MLServer its time.
        return InferenceResponse(
            model_name=answer["model_name"],
            model_version=answer["model_version"],
            id=answer["id"],
            parameters=Parameters(**answer["parameters"]),
            outputs=[_as_output(output) for output in answer["outputs"]],
        )

    async def metadata(self) -> MetadataModelResponse:
        """Describe the model: inputs, outputs, classes, and the digests that every answer has."""
        metadata = await super().metadata()
        metadata.parameters = Parameters(**self.served.stamps, classes=self.served.manifest.classes)
        return metadata


def _as_mapping(payload: InferenceRequest) -> dict:
    return {
        "id": payload.id,
        "parameters": payload.parameters.model_dump() if payload.parameters else None,
        "inputs": [_as_tensor(tensor) for tensor in payload.inputs],
        "outputs": [{"name": output.name} for output in payload.outputs or ()],
    }


def _as_tensor(tensor: RequestInput) -> dict:
    # From gRPC a datatype is text that nobody has looked at yet.
    datatype = tensor.datatype.value if isinstance(tensor.datatype, Datatype) else tensor.datatype
    return {
        "name": tensor.name,
        "shape": tensor.shape,
        "datatype": datatype,
        "parameters": tensor.parameters.model_dump() if tensor.parameters else None,
        "data": tensor.data.root if isinstance(tensor.data, TensorData) else tensor.data,
    }


def _as_output(output: dict) -> ResponseOutput:
    return ResponseOutput(
        name=output["name"],
        shape=output["shape"],
        datatype=Datatype(output["datatype"]),
        data=TensorData.model_construct(root=output["data"]),
    )
