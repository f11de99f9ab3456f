"""MLServer's gRPC server, on a port that two servers may share while one takes over from the other."""

import logging
import struct
from concurrent.futures import ThreadPoolExecutor

from grpc import aio
from mlserver.errors import InferenceError, MLServerError
from mlserver.grpc import GRPCServer
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from mlserver.grpc.interceptors import PromServerInterceptor
from mlserver.grpc.model_repository import ModelRepositoryServicer
from mlserver.grpc.model_repository_pb2_grpc import add_ModelRepositoryServiceServicer_to_server
from mlserver.grpc.servicers import InferenceServicer

from loopline.components.errors import InputError


class Servicer(InferenceServicer):
    """MLServer's inference service, which blames a malformed message on its sender."""

    def _InsertHeaders(self, request: pb.ModelInferRequest, context):
        raw, inputs = len(request.raw_input_contents), len(request.inputs)
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

    Raises:
        InputError: The port is taken by something else.
    """

    def _create_server(self):
        servicer = Servicer(self._data_plane, self._model_repository_handlers)
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

        Args:
            limit_s: Seconds after which they are cancelled.
        """
        await self._server.stop(limit_s)


def quiet_refusals() -> None:
    """Log a refused call as one line: MLServer adds a traceback to each."""

    def shorten(record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], MLServerError):
            record.exc_info, record.levelno, record.levelname = None, logging.WARNING, "WARNING"
        return True

    logging.getLogger("mlserver.grpc").addFilter(shorten)
