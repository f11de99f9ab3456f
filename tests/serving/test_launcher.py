"""The launcher: what it refuses to start with, and one server taking over from another without a failed request."""

import asyncio
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

from serving_models import golden_request, launched, listening

from loopline.components.delivery.golden import read_golden
from loopline.components.delivery.inference import build_grpc_request
from loopline.components.serving.__main__ import main
from loopline.components.serving.rest import Listener
from loopline.pipelines.sites.ports import free_port

PATH = "/v2/models/small-late/infer"


def test_what_cannot_be_served_is_said_in_a_sentence(model, tmp_path, capsys):
    changed = shutil.copytree(model, tmp_path / "changed")
    (changed / "golden.parquet").write_bytes(b"")
    other = shutil.copytree(model, tmp_path / "other")
    (other / "release.json").write_text('{"name": "small-late", "version": 4, "model_digest": "sha256:0"}')
    with listening() as taken, open(tmp_path / "file", "w") as file:
        port = str(taken.getsockname()[1])
        for words, said in (
            ([tmp_path / "none"], "There is no model in"),
            ([changed], "golden.parquet in model directory"),
            ([other, "--http-port", "0", "--metrics-port", "0"], "not that of the model beside it"),
            ([model, "--http-port", port], "choose a free port with --http-port"),
            ([model, "--http-port", "70000"], "from 0 to 65535"),
            ([model, "--http-port", "0", "--metrics-port", port], "choose a free port with --metrics-port"),
            ([model, "--http-fd", file.fileno()], "is not a socket"),
        ):
            assert main([str(word) for word in words]) == 2
            assert said in capsys.readouterr().err


def test_what_goes_wrong_later_is_said_in_a_sentence_too(model):
    """By a process of its own, which ends though other parts of the server are running."""
    with listening() as taken:
        ports = ["--http-port", "0", "--metrics-port", "0", "--grpc-port"]
        for port, variables, said in (
            (taken.getsockname()[1], {}, "choose a free port with --grpc-port"),
            (free_port(), {"LOOPLINE_TRAFFIC_URI": "ftp://somewhere"}, "folder or s3://bucket/prefix"),
        ):
            command = [sys.executable, "-m", "loopline.components.serving", str(model), *ports, str(port)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **variables})
            assert (done.returncode, said in done.stderr) == (2, True), done.stderr
            assert "Traceback" not in done.stderr + done.stdout


#: What a client of gRPC needs: calls on their way while a server goes are cancelled by gRPC itself.
RETRIES = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
                },
            }
        ]
    }
)


class Clients:
    """Clients that keep their connections and ask again and again, and remember each answer and failure."""

    def __init__(self, model, port: int, grpc_port: int, count: int):
        self.answers: list[tuple[float, str]] = []
        self.failures: list[str] = []
        self.grpc_answers: list[str] = []
        self._going = True
        self._body = json.dumps(golden_request(model)[1])
        golden = read_golden(model).slice(0, 1)
        message = build_grpc_request("small-late", golden.rows, golden.features)
        self._threads = [threading.Thread(target=self._ask, args=(port,)) for _ in range(count)]
        self._threads.append(threading.Thread(target=self._call, args=(grpc_port, message)))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._going = False
        for thread in self._threads:
            thread.join()

    def _ask(self, port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        while self._going:
            try:
                connection.request("POST", PATH, self._body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                found = json.loads(response.read())
                self.answers.append((time.monotonic(), found["parameters"]["image_digest"]))
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                connection.close()
            time.sleep(0.002)
        connection.close()

    def _call(self, port: int, message) -> None:
        import grpc
        from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

        with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.service_config", RETRIES)]) as channel:
            stub = GRPCInferenceServiceStub(channel)
            while self._going:
                try:
                    answer = stub.ModelInfer(message, timeout=20, wait_for_ready=True)
                    self.grpc_answers.append(answer.parameters["image_digest"].string_param)
                except grpc.RpcError as error:
                    self.failures.append(f"gRPC {error.code()}: {error.details()}")
                time.sleep(0.002)


def test_one_server_takes_over_from_another_without_a_failed_request(model, tmp_path):
    grpc_port = free_port()
    with (
        listening() as listener,
        launched(model, listener, grpc_port, tmp_path / "a", LOOPLINE_IMAGE_DIGEST="old") as old,
    ):
        port = listener.getsockname()[1]
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        idle.request("GET", "/v2/health/ready")
        assert idle.getresponse().read() is not None
        clients = Clients(model, port, grpc_port, 6)
        try:
            time.sleep(0.3)
            with launched(model, listener, grpc_port, tmp_path / "b", LOOPLINE_IMAGE_DIGEST="new"):
                old.send_signal(signal.SIGTERM)
                time.sleep(0.3)
                # The old server still answers who was connected to it, and says that it goes.
                idle.request("GET", "/v2/models/small-late")
                farewell = idle.getresponse()
                assert json.loads(farewell.read())["parameters"]["image_digest"] == "old"
                assert farewell.headers["connection"] == "close"
                assert old.wait(20) == 0
                gone = time.monotonic()
                time.sleep(0.3)
                clients.stop()
        finally:
            clients.stop()
    assert clients.failures == []
    assert {digest for _, digest in clients.answers} == {"old", "new"}
    assert {digest for moment, digest in clients.answers if moment > gone} == {"new"}
    assert clients.grpc_answers[0] == "old"
    assert clients.grpc_answers[-1] == "new"


def test_a_request_that_is_open_at_the_signal_is_answered(model, tmp_path):
    """Half of it is sent before the signal and half after."""
    body = json.dumps(golden_request(model)[1]).encode()
    with listening() as listener, launched(model, listener, free_port(), tmp_path / "ready") as process:
        connection = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=20)
        connection.putrequest("POST", PATH)
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:100])
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        time.sleep(1.5)  # longer than an idle connection is kept
        assert process.poll() is None
        connection.send(body[100:])
        response = connection.getresponse()
        assert response.status == 200
        assert json.loads(response.read())["model_version"] == "3"
        assert process.wait(20) == 0


def test_nothing_is_accepted_before_the_model_is_loaded(model, tmp_path):
    """A client that connects meanwhile waits in the socket's queue and is answered."""
    with listening() as listener:
        connection = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=30)
        connection.request("GET", "/v2/health/ready")
        with launched(model, listener, free_port(), tmp_path / "ready"):
            assert connection.getresponse().status == 200
        connection.close()


def test_a_client_that_never_finishes_does_not_keep_the_server_alive():
    """In this process, with shorter times than the launcher's."""

    async def never_answer(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass

    async def drained(seconds: float) -> None:
        listener = listening()
        server = Listener(never_answer, listener)
        serving = asyncio.ensure_future(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        _, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        while not server.server_state.tasks:
            await asyncio.sleep(0.01)
        await server.drain(0.05, seconds)
        await asyncio.wait_for(serving, 10)
        writer.close()

    asyncio.run(drained(0.2))
