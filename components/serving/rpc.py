"""MLServer's gRPC server, on a port that two servers may share while one takes over from the other."""

import asyncio
import json
import logging
import struct
import time
from concurrent.futures import ThreadPoolExecutor

from grpc import StatusCode, aio
from grpc.aio import AbortError
from mlserver.errors import InferenceError, MLServerError
from mlserver.grpc import GRPCServer
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.converters import ModelMetadataResponseConverter
from mlserver.grpc.dataplane_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from mlserver.grpc.interceptors import PromServerInterceptor
from mlserver.grpc.model_repository import ModelRepositoryServicer
from mlserver.grpc.model_repository_pb2_grpc import add_ModelRepositoryServiceServicer_to_server
from mlserver.grpc.servicers import InferenceServicer
from mlserver.grpc.utils import handle_mlserver_error
from mlserver.types import Parameters

from loopline.components.errors import InputError
from loopline.components.serving.inputs import MAX_TENSORS
from loopline.components.serving.metrics import RequestCounts

#: What MLServer answers where the request is at fault.
_BLAMED = (StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND, StatusCode.FAILED_PRECONDITION)


class Servicer(InferenceServicer):
    """MLServer's inference service, which blames a malformed message on its sender.

    Args:
        data_plane: MLServer's data plane.
        model_repository_handlers: Its repository handlers.
        counted: Counts the inference requests.
    """

    def __init__(self, data_plane, model_repository_handlers, counted: RequestCounts):
        super().__init__(data_plane, model_repository_handlers)
        self._counted = counted

    async def ModelInfer(self, request: pb.ModelInferRequest, context) -> pb.ModelInferResponse:
        """Answer an inference request."""
        start = time.perf_counter()
        try:
            answer = await super().ModelInfer(request, context)
        except asyncio.CancelledError:  # by its client, or because the time that it gave is over
            left_s = context.time_remaining()
            if left_s is not None and left_s <= 0:
                self._counted.failed()
            else:
                self._counted.refused()
            raise
        except AbortError:
            if context.code() in _BLAMED:
                self._counted.refused()
            else:
                self._counted.failed()
            raise
        self._counted.answered(time.perf_counter() - start)
        return answer

    @handle_mlserver_error
    async def ModelMetadata(self, request: pb.ModelMetadataRequest, context) -> pb.ModelMetadataResponse:
        """Describe a model. A parameter of gRPC holds no list, so the classes are JSON."""
        metadata = await self._data_plane.model_metadata(request.name, request.version)
        values = metadata.parameters.model_dump() if metadata.parameters else {}
        encoded = {name: json.dumps(value) if isinstance(value, list) else value for name, value in values.items()}
        metadata = metadata.model_copy(update={"parameters": Parameters(**encoded)})
        return ModelMetadataResponseConverter.from_types(metadata)

    def _InsertHeaders(self, request: pb.ModelInferRequest, context):
        raw, inputs = len(request.raw_input_contents), len(request.inputs)
        if max(inputs, len(request.outputs)) > MAX_TENSORS:
            raise InferenceError(
                f"The message has {inputs} inputs and {len(request.outputs)} outputs: send at most {MAX_TENSORS}."
            )
        if raw and raw != inputs:
            raise InferenceError(f"The message has {raw} raw contents for {inputs} inputs: send one for each.")
        if "headers" in request.parameters:
            raise InferenceError("The parameter 'headers' is taken: send headers as metadata.")
        try:
            return super()._InsertHeaders(request, context)
        except (struct.error, UnicodeDecodeError, ValueError, KeyError, IndexError):
            raise InferenceError(
                "The raw contents of the message do not fit the datatypes and shapes of its inputs: make them agree."
            ) from None


class RpcServer(GRPCServer):
    """MLServer's gRPC server.

    The port is bound before the server starts, with ``SO_REUSEPORT``, so that two of them may overlap.

    Attributes:
        counted: Counts the inference requests; to be set before the server starts.

    Raises:
        InputError: The port is taken by something else.
    """

    counted: RequestCounts

    def _create_server(self):
        servicer = Servicer(self._data_plane, self._model_repository_handlers, self.counted)
        self._server = aio.server(
            ThreadPoolExecutor(max_workers=1),
            interceptors=[PromServerInterceptor(enable_handling_time_histogram=True)],
            options=[("grpc.so_reuseport", 1), *self._get_options()],
        )
        add_GRPCInferenceServiceServicer_to_server(servicer, self._server)
        add_ModelRepositoryServiceServicer_to_server(
            ModelRepositoryServicer(self._model_repository_handlers), self._server
        )
        address = f"{self._settings.host}:{self._settings.grpc_port}"
        try:
            self._server.add_insecure_port(address)
        except RuntimeError:
            raise InputError(f"gRPC cannot listen on {address}: choose a free port with --grpc-port.") from None
        return self._server

    async def drain(self, limit_s: float) -> None:
        """Take no more calls and wait for those that are open.

        gRPC cancels a call that comes before its client has heard that the server goes; such clients need a retry
        policy with CANCELLED and UNAVAILABLE.

        Args:
            limit_s: Seconds after which they are cancelled.
        """
        await self._server.stop(limit_s)


def quiet_refusals() -> None:
    """Leave refused calls out of the log: MLServer writes a traceback for each, and the values that were sent."""

    def is_news(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not (isinstance(error, MLServerError) and error.status_code < 500)

    logging.getLogger("mlserver.grpc").addFilter(is_news)
