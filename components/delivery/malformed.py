"""Requests that a model server must refuse, and still be there afterwards."""

import contextlib
import copy
import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

from loopline.components.delivery.golden import Golden, replay
from loopline.components.delivery.inference import RefusedError, UnreachableError, build_request, call_grpc
from loopline.components.delivery.inference import build_grpc_request as build_grpc
from loopline.components.errors import InputError

#: Bytes of the huge requests; no server of rows needs to take as much at once.
HUGE = 64 * 2**20
#: Seconds until a malformed request must be refused.
TIMEOUT_S = 30.0
#: Statuses of gRPC that blame the request.
_REFUSALS = ("INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED")
_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Outcome:
    """What a server did with one malformed request.

    Attributes:
        protocol: ``REST`` or ``gRPC``.
        request: What was wrong with it.
        answer: The status it was answered with.
        reason: What the server said.
        problem: What is wrong with the answer; empty when it is as it should be.
    """

    protocol: str
    request: str
    answer: str
    reason: str
    problem: str


@dataclass(frozen=True)
class RestCase:
    """A malformed request over REST.

    Attributes:
        request: What is wrong with it.
        path: Where it is posted.
        body: Its bytes.
        headers: Its headers.
    """

    request: str
    path: str
    body: bytes
    headers: dict[str, str]


def try_rest(url: str, golden: Golden) -> Iterator[Outcome]:
    """Send malformed requests over REST, and after each a right one.

    Args:
        url: Where the server answers.
        golden: The model's golden rows.

    Returns:
        What came of each request, one after the other; the requests are sent while it is read.

    Raises:
        UnreachableError: The server is gone.
    """
    return _check_after((_send(url, case) for case in rest_cases(golden)), url, golden)


def try_grpc(address: str, url: str, golden: Golden) -> Iterator[Outcome]:
    """Send malformed requests over gRPC, and after each a right one over REST.

    Args:
        address: Where the server answers gRPC.
        url: Where it answers REST.
        golden: The model's golden rows.

    Returns:
        What came of each request, one after the other; the requests are sent while it is read.

    Raises:
        UnreachableError: The server is gone.
    """
    outcomes = (_send_grpc(address, name, request) for name, request in grpc_cases(golden))
    return _check_after(outcomes, url, golden)


def rest_cases(golden: Golden) -> Iterator[RestCase]:
    """Make the malformed requests over REST.

    Args:
        golden: The model's golden rows.

    Yields:
        The requests.
    """
    path = f"/v2/models/{quote(golden.model, safe='')}/infer"
    right = build_request(golden.rows.slice(0, 1), golden.features)
    body = json.dumps(right).encode()
    for name, wrong in (
        ("an empty body", b""),
        ("not JSON", b"is this flight late?"),
        ("JSON cut off", body[: len(body) // 2]),
        ("bytes that are not UTF-8", body.replace(b'"inputs"', b'"inp\xff\xfeuts"')),
        ("a list instead of an object", b"[" + body + b"]"),
        ("nesting 100,000 deep", b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        ("a body of 64 MB", body[:-1] + b',"id":"' + b"x" * HUGE + b'"}'),
    ):
        yield RestCase(name, path, wrong, _JSON)
    yield RestCase("XML", path, b"<inputs><input/></inputs>", {"Content-Type": "application/xml"})
    yield RestCase("said to be gzip and is not", path, body, _JSON | {"Content-Encoding": "gzip"})
    yield RestCase("an unknown model", path.replace("/infer", "-unknown/infer"), body, _JSON)
    yield RestCase("an unknown version", path.replace("/infer", "/versions/none/infer"), body, _JSON)
    for name, change in _changes(golden):
        wrong = copy.deepcopy(right)
        change(wrong["inputs"])
        yield RestCase(name, path, json.dumps(wrong).encode(), _JSON)
    for name, wrong in (("no inputs", {}), ("inputs that are text", {"inputs": "all"}), ("null", {"inputs": None})):
        yield RestCase(name, path, json.dumps(wrong).encode(), _JSON)


def _changes(golden: Golden) -> Iterator[tuple[str, Callable[[list], object]]]:
    """Name what can be wrong with the inputs of a request, with a function that makes it so."""
    kinds = ["text" if column.kind == "category" else "number" for column in golden.features.columns]
    yield "an empty list of inputs", lambda inputs: inputs.clear()
    yield "an input missing", lambda inputs: inputs.pop()
    yield "an input too many", lambda inputs: inputs.append(inputs[0] | {"name": "no such feature"})
    yield "an input twice", lambda inputs: inputs.append(inputs[0])
    yield "an unknown name", lambda inputs: inputs[0].update(name="no such feature")
    yield "an unknown datatype", lambda inputs: inputs[0].update(datatype="FP33")
    yield "a shape that is not the data's", lambda inputs: inputs[0].update(shape=[2, 1])
    yield "a negative shape", lambda inputs: inputs[0].update(shape=[-1, 1])
    yield "a shape that is text", lambda inputs: inputs[0].update(shape="1")
    yield "two columns in one input", lambda inputs: inputs[0].update(shape=[1, 2], data=inputs[0]["data"] * 2)
    yield "no data", lambda inputs: inputs[0].pop("data")
    yield "no rows", lambda inputs: [one.update(shape=[0, 1], data=[]) for one in inputs]
    if len(kinds) > 1:
        yield "unequal rows", lambda inputs: inputs[0].update(shape=[2, 1], data=inputs[0]["data"] * 2)
    yield "an object as a value", lambda inputs: inputs[0].update(data=[{"value": 1}])
    yield "a value 900 lists deep", lambda inputs: inputs[0].update(data=json.loads("[" * 900 + "]" * 900))
    if "number" in kinds:
        position = kinds.index("number")
        yield "text for a number", lambda inputs: inputs[position].update(data=["x"])
        yield "a number sent as text", lambda inputs: inputs[position].update(datatype="BYTES", data=["x"])
        yield "an infinite number", lambda inputs: inputs[position].update(data=[float("inf")])
        yield "a number beyond single precision", lambda inputs: inputs[position].update(data=[1e300])
    if "text" in kinds:
        at = kinds.index("text")
        yield "a number for text", lambda inputs: inputs[at].update(data=[7])
        yield "text sent as numbers", lambda inputs: inputs[at].update(datatype="FP32", data=[7.0])
        yield "half a character", lambda inputs: inputs[at].update(data=["\ud800"])


def grpc_cases(golden: Golden) -> Iterator[tuple[str, object]]:
    """Make the malformed requests over gRPC.

    Args:
        golden: The model's golden rows.

    Yields:
        What is wrong with each, and the ``ModelInferRequest``.
    """

    def right(model: str = golden.model):
        return build_grpc(model, golden.rows.slice(0, 1), golden.features)

    yield "an unknown model", right(f"{golden.model}-unknown")
    for name, change in _grpc_changes(golden):
        request = right()
        change(request.inputs)
        yield name, request
    for name, count in (("raw data cut off", len(golden.features.names)), ("raw data of too many inputs", 99)):
        request = right()
        for tensor in request.inputs:
            tensor.ClearField("contents")
        request.raw_input_contents.extend([b"\x00"] * count)
        yield name, request
    request = right()
    request.id = "x" * HUGE
    yield "a message of 64 MB", request


def _grpc_changes(golden: Golden) -> Iterator[tuple[str, Callable]]:
    """Name what can be wrong with the inputs of a message, with a function that makes it so."""
    kinds = ["text" if column.kind == "category" else "number" for column in golden.features.columns]
    yield "no inputs", lambda inputs: inputs.__delitem__(slice(None))
    yield "an input missing", lambda inputs: inputs.pop()
    yield "an input too many", lambda inputs: inputs.add(name="no such feature", datatype="FP32", shape=[1, 1])
    yield "an input twice", lambda inputs: inputs.append(inputs[0])
    yield "an unknown name", lambda inputs: setattr(inputs[0], "name", "no such feature")
    yield "an unknown datatype", lambda inputs: setattr(inputs[0], "datatype", "FP33")
    yield "a shape that is not the data's", lambda inputs: inputs[0].shape.__setitem__(0, 2)
    yield "a negative shape", lambda inputs: inputs[0].shape.__setitem__(0, -1)
    yield "no data", lambda inputs: inputs[0].ClearField("contents")
    if "number" in kinds:
        position = kinds.index("number")
        yield "text for a number", lambda inputs: _swap(inputs[position], bytes_contents=[b"x"])
        yield "an infinite number", lambda inputs: _swap(inputs[position], fp32_contents=[float("inf")])
    if "text" in kinds:
        at = kinds.index("text")
        yield "a number for text", lambda inputs: _swap(inputs[at], fp32_contents=[7.0])
        yield "bytes that are not UTF-8", lambda inputs: _swap(inputs[at], bytes_contents=[b"\xff\xfe"])


def _swap(tensor, **contents: list) -> None:
    tensor.ClearField("contents")
    for name, values in contents.items():
        getattr(tensor.contents, name).extend(values)


def _send(url: str, case: RestCase) -> Outcome:
    """Post a malformed request and judge the answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S)
    try:
        # A server may refuse before it has read all: what it answered is still to be read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", case.path, case.body, case.headers)
        response = connection.getresponse()
        status, text = response.status, response.read().decode("utf-8", "replace")
    except (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected) as error:
        # A server may hang up on a request that is too large; the request after it shows whether it lives.
        problem = "" if len(case.body) >= HUGE else "the server closed the connection without an answer"
        return Outcome("REST", case.request, "none", type(error).__name__, problem)
    except (OSError, http.client.HTTPException) as error:
        return Outcome("REST", case.request, "none", str(error) or type(error).__name__, "it was not answered")
    finally:
        connection.close()
    problem = _traceback(text)
    if not 400 <= status < 500:
        problem = "it was answered as if it were right" if status == 200 else f"it broke the server (HTTP {status})"
    return Outcome("REST", case.request, f"HTTP {status}", _reason(text), problem)


def _send_grpc(address: str, name: str, request) -> Outcome:
    """Send a malformed message and judge the answer."""
    try:
        call_grpc(address, "ModelInfer", request, TIMEOUT_S)
    except RefusedError as error:
        problem = _traceback(error.reason)
        if error.status not in _REFUSALS:
            problem = f"it was answered with {error.status}, as a mistake of the server"
        return Outcome("gRPC", name, str(error.status), error.reason, problem)
    except UnreachableError as error:
        return Outcome("gRPC", name, "none", str(error), "it was not answered")
    return Outcome("gRPC", name, "OK", "", "it was answered as if it were right")


def _check_after(outcomes: Iterator[Outcome], url: str, golden: Golden) -> Iterator[Outcome]:
    """Send a right request after each malformed one; the problem is its, if it had none of its own."""
    for outcome in outcomes:
        try:
            after = _after(url, golden)
        except UnreachableError:
            yield replace(outcome, problem="no server answered after it")
            raise UnreachableError(f"No server answered after {outcome.request}.") from None
        yield replace(outcome, problem=outcome.problem or after)


def _reason(text: str) -> str:
    """Return what a server says in the body of an error."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(found, dict):
        return str(found.get("error") or found.get("detail") or text)
    return text


def _traceback(text: str) -> str:
    return "the answer holds a traceback" if "Traceback (most recent call last)" in text else ""


def _after(url: str, golden: Golden) -> str:
    """Send a right request; returns what is wrong with its answer."""
    try:
        passed = replay(golden.slice(0, 1), url).passed
    except UnreachableError:
        raise
    except InputError as error:
        return f"the right request after it failed: {error}"
    return "" if passed else "the right request after it was answered wrongly"
