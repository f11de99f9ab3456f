"""Ask the model server of one site, over the Open Inference Protocol (version 2, REST).

Protocol: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md
"""

import asyncio
import json
import math
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import aiohttp

from loopline.components.errors import InputError

#: Seconds for the connection, for a prediction and for the question which model is there.
_CONNECT_S, _PREDICT_S, _STATUS_S = 2.0, 6.0, 2.5
#: Seconds before a site that is just changing is asked again.
_PAUSE_S = 0.2
#: How often a prediction is asked for while the model is being replaced by one that takes other features.
_ATTEMPTS = 4
#: What a gateway answers while there is no server behind it.
_AWAY = (502, 503, 504)
_LOCAL = ("localhost", "127.0.0.1", "::1")


class SiteError(Exception):
    """A site gave no prediction; the message is one sentence that says why."""


class RefusedError(SiteError):
    """The model server did not take the request."""


@dataclass(frozen=True)
class Model:
    """What a model server says of its model.

    Attributes:
        name: The model's name.
        version: Its version; empty when unknown.
        model_digest: The digest of the model; empty when unknown.
        image_digest: The digest of the image it came in; empty when unknown.
        inputs: Name and datatype of each feature, in order.
    """

    name: str
    version: str
    model_digest: str
    image_digest: str
    inputs: tuple[tuple[str, str], ...]

    @property
    def identity(self) -> tuple[str, str]:
        """What tells it from the model before and after it."""
        return self.version, self.model_digest


@dataclass(frozen=True)
class Prediction:
    """A site's answer.

    Attributes:
        probability: Of the model's last class: that the flight is late.
        model_name: The model that answered.
        model_version: Its version; empty when unknown.
        model_digest: Its digest; empty when unknown.
        image_digest: The digest of its image; empty when unknown.
        values: What the model was told, by feature.
        contributions: How much each feature adds to the probability; empty when the server does not say.
        baseline: The probability that the contributions start from; None when the server does not say.
    """

    probability: float
    model_name: str
    model_version: str
    model_digest: str
    image_digest: str
    values: dict[str, str | float | None]
    contributions: dict[str, float]
    baseline: float | None


class Service:
    """The model server of one site. Make it and close it in a running event loop.

    Args:
        site: The site's name.
        url: Where it answers.
        model: The model's name.
    """

    def __init__(self, site: str, url: str, model: str):
        self.site = site
        self._name = model
        self._url = f"{url.rstrip('/')}/v2/models/{quote(model, safe='')}"
        self._model: Model | None = None
        local = urlsplit(url).hostname in _LOCAL
        # Without cookies: those of a router would bind all questions to one of several servers.
        options = {
            "trust_env": not local,
            "headers": _authorization(url, local),
            "cookie_jar": aiohttp.DummyCookieJar(),
        }
        context = trust()
        self._pooled = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), **options)
        # When a server goes it takes all its connections along: the second try uses none of the pool.
        self._fresh = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, force_close=True), **options)

    async def close(self) -> None:
        """Close the connections."""
        await self._pooled.close()
        await self._fresh.close()

    async def describe(self) -> Model:
        """Ask which model is there.

        Raises:
            SiteError: The site does not answer, or has no such model.
        """
        self._model = _read_model(self.site, await self._ask("GET", "", None, _STATUS_S))
        return self._model

    async def predict(self, flight: Mapping) -> Prediction:
        """Predict one flight with the features that the site's model takes.

        Args:
            flight: Values by name; features it lacks are sent as missing.

        Raises:
            SiteError: The site does not answer, or its answer is no probability.
        """
        for _ in range(_ATTEMPTS):
            model = self._model or await self.describe()
            values = {name: _as_datatype(flight.get(name), datatype) for name, datatype in model.inputs}
            try:
                answer = await self._ask("POST", "/infer", _build_request(model, values), _PREDICT_S)
            except RefusedError:
                # A model that came meanwhile may take other features; the same one would refuse again.
                if await self.describe() == model:
                    raise
                continue
            prediction = _read_prediction(self.site, answer, values)
            # Contributions come in the order of the features of the model that answered.
            if (prediction.model_version, prediction.model_digest) == model.identity:
                return prediction
            self._model = None
        raise SiteError(f"{self.site} is changing its model: ask again in a moment.")

    async def _ask(self, method: str, path: str, body: dict | None, seconds: float) -> dict:
        """Send a request, and once more when the connection dropped: a prediction changes nothing."""
        try:
            async with asyncio.timeout(seconds):
                try:
                    status, text = await self._send(self._pooled, method, path, body)
                    dropped = status in _AWAY
                except aiohttp.ClientConnectorError:
                    raise
                except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientPayloadError):
                    dropped = True
                if dropped:
                    await asyncio.sleep(_PAUSE_S)
                    status, text = await self._send(self._fresh, method, path, body)
        except aiohttp.ClientConnectorCertificateError:
            raise SiteError(
                f"The certificate of {self.site} is not trusted: set SSL_CERT_FILE to a file with its authority."
            ) from None
        except TimeoutError:
            raise SiteError(f"{self.site} does not answer in time.") from None
        except (aiohttp.ClientError, OSError) as error:
            raise SiteError(f"{self.site} does not answer ({_why(error)}).") from None
        return self._read(status, text)

    async def _send(self, session: aiohttp.ClientSession, method: str, path: str, body) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
        async with session.request(
            method, self._url + path, json=body, timeout=timeout, allow_redirects=False
        ) as answer:
            return answer.status, await answer.read()

    def _read(self, status: int, text: bytes) -> dict:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if status in _AWAY:
            raise SiteError(f"{self.site} has no model ready (HTTP {status}).")
        if status in (401, 403):
            raise SiteError(f"{self.site} asks for a token (HTTP {status}): set LOOPLINE_SITE_TOKEN to one it takes.")
        if status == 404:
            raise SiteError(
                f"{self.site} has no model {self._name!r} (HTTP 404): set LOOPLINE_MODEL to the one it has."
            )
        if status != 200:
            reason = found.get("error") if isinstance(found, dict) else None
            raise RefusedError(f"{self.site} refused the request (HTTP {status}): {str(reason or 'no reason')[:300]}")
        if not isinstance(found, dict):
            raise SiteError(f"{self.site} answered no JSON object: is a model server there?")
        return found


def trust() -> ssl.SSLContext:
    """Return the certificate authorities to trust: those of the environment, else the system's.

    Raises:
        InputError: The file that the environment names cannot be read.
    """
    file = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    try:
        return ssl.create_default_context(cafile=file or None)
    except OSError as error:
        raise InputError(f"The certificate authorities in {file} cannot be read ({error}): name a PEM file.") from None


def _authorization(url: str, local: bool) -> dict[str, str]:
    """Return the token of a protected service, where nobody on the way can read it."""
    token = os.environ.get("LOOPLINE_SITE_TOKEN", "").strip()
    return {"Authorization": f"Bearer {token}"} if token and (local or urlsplit(url).scheme == "https") else {}


def _build_request(model: Model, values: Mapping) -> dict:
    inputs = [
        {"name": name, "datatype": datatype, "shape": [1, 1], "data": [values[name]]} for name, datatype in model.inputs
    ]
    return {"parameters": {"contributions": True}, "inputs": inputs}


def _as_datatype(value: str | float | None, datatype: str) -> str | float | None:
    """Return a value as an input of that datatype takes it: missing text is empty, a missing number null."""
    if datatype == "BYTES":
        return "" if value is None else str(value)
    if isinstance(value, str) or value is None:
        return None
    return value if datatype.startswith("FP") else int(value)


def _read_model(site: str, metadata: dict) -> Model:
    try:
        stamps = metadata.get("parameters") or {}
        versions = metadata.get("versions") or []
        return Model(
            name=str(metadata["name"]),
            version=str(versions[-1]) if versions else "",
            model_digest=str(stamps.get("model_digest") or ""),
            image_digest=str(stamps.get("image_digest") or ""),
            inputs=tuple((str(one["name"]), str(one["datatype"])) for one in metadata["inputs"]),
        )
    except (KeyError, TypeError, AttributeError):
        raise SiteError(f"{site} does not say which features its model takes: is a model server there?") from None


def _read_prediction(site: str, answer: dict, values: dict) -> Prediction:
    try:
        outputs = {output["name"]: output["data"] for output in answer["outputs"]}
        stamps = answer.get("parameters") or {}
        if "probabilities" not in outputs:
            raise SiteError(f"The model of {site} gives no probabilities: it is not a model of late flights.")
        probability = float(outputs["probabilities"][-1])
        if not 0 <= probability <= 1:
            raise SiteError(f"{site} answered {probability}, which is no probability.")
        contributions, baseline = {}, None
        if "contributions" in outputs and "baseline" in outputs:
            baseline = float(outputs["baseline"][0])
            parts = [float(part) for part in outputs["contributions"]]
            contributions = dict(zip(values, parts, strict=True)) if math.isfinite(baseline + sum(parts)) else {}
        return Prediction(
            probability=probability,
            model_name=str(answer["model_name"]),
            model_version=str(answer.get("model_version") or ""),
            model_digest=str(stamps.get("model_digest") or ""),
            image_digest=str(stamps.get("image_digest") or ""),
            values=values,
            contributions=contributions,
            baseline=baseline if contributions else None,
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise SiteError(f"{site} gave an answer that is no prediction: is a model server there?") from None


def _why(error: Exception) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    known = {ConnectionRefusedError: "nothing listens there", socket.gaierror: "its address is unknown"}
    return known.get(type(cause), type(cause).__name__)
