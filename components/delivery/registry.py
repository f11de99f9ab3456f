"""Images in a registry.

Specification: https://github.com/opencontainers/distribution-spec, version 1.1, and its referrers tag for registries
that do not list referrers themselves. Requests are made here rather than by oras, which reads a layer into memory
before it sends it, has no timeouts and reads one file of logins only.
"""

import contextlib
import io
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from loopline.components import certificates
from loopline.components.addresses import guard
from loopline.components.data.sources import LOCAL_HOSTS, WebStream
from loopline.components.delivery.oci import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX,
    MANIFEST,
    MAX_DOCUMENT,
    Blob,
    CheckedStream,
    Document,
    check_descriptor,
    descriptors,
    digits,
    media_type,
    parse,
    referrer_descriptor,
)
from loopline.components.delivery.registry_auth import RegistryAuth, network_reason
from loopline.components.delivery.store import Change
from loopline.components.environment import ca_bundle
from loopline.components.errors import InputError, TemporaryError
from loopline.components.secrecy import hide

#: Seconds to wait for a connection, and for the next bytes on one: registries on object stores finish a blob slowly.
TIMEOUT_S = (10, 120)
#: How often an upload that broke is tried.
ATTEMPTS = 3
#: Seconds, at least and at most, until a tag is read again to see whether somebody else wrote it meanwhile.
SETTLE_S = (0.05, 0.15)
#: Seconds before a request that reads is made again, doubled each time.
BACKOFF_S = 0.3
#: Most seconds that a registry's Retry-After is heeded: a step must not wait for hours.
PATIENCE_S = 60.0
_ACCEPT = ", ".join((INDEX, MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST))
_AGAIN = (429, 500, 502, 503, 504)
#: What is answered where there is nothing, and by registries that do not know what referrers are.
_MISSING, _UNKNOWN = (404,), (400, 404, 405, 406, 501)
_WRITES = ("POST", "PUT")


class Registry:
    """One repository of a registry as a store."""

    def __init__(self, host: str, repository: str):
        """Name a repository; nothing is asked yet.

        Args:
            host: The registry's host and port. On this machine it is asked over plain http.
            repository: The name under it.
        """
        self.name = f"{host}/{repository}"
        self._host = "registry-1.docker.io" if host == "docker.io" else host
        self._repository = repository
        local = urlsplit(f"//{self._host}").hostname in LOCAL_HOSTS
        self._root = f"{'http' if local else 'https'}://{self._host}"

    @property
    def address(self) -> str:
        """Where the registry is asked, without the repository."""
        return self._root

    def has_blob(self, digest: str) -> bool:
        """Return whether a blob is there."""
        return self._call("HEAD", f"blobs/sha256:{digits(digest)}", missing=_MISSING) is not None

    def push_blob(self, blob: Blob, mount_from: str = "") -> None:
        """Store a blob; nothing is sent when it is there."""
        if not self.has_blob(blob.digest):
            self._persist(lambda: self._upload(blob, mount_from))

    def check_push(self) -> None:
        """Begin an upload and cancel it, which whoever may push may do; nothing is stored.

        Raises:
            InputError: The registry refuses it, or cannot be reached.
        """
        started = self._persist(lambda: self._call("POST", "blobs/uploads/"))
        if place := started.headers.get("Location"):
            # Some registries have no way to cancel, or ask for the right to delete: they forget the upload in time.
            self._call("DELETE", urljoin(f"{self._root}/", place), missing=(401, 403, *_UNKNOWN))

    @contextlib.contextmanager
    def open_blob(self, descriptor: dict) -> Iterator[CheckedStream]:
        """Open a blob for reading; what is read is checked against the descriptor."""
        digest = check_descriptor(descriptor)["digest"]
        response = self._call("GET", f"blobs/{digest}", missing=_MISSING, stream=True)
        if response is None:
            raise InputError(f"{self.name} lacks {digest}: build the image again.")
        with io.BufferedReader(WebStream(response.raw, f"{self.name}@{digest}"), 2**18) as stream:
            yield CheckedStream(stream, descriptor, self.name)

    def get_manifest(self, name: str) -> Document | None:
        """Return the manifest or index of a digest or tag, checked; None when there is none."""
        response = self._call("GET", f"manifests/{name}", missing=_MISSING, stream=True, headers={"Accept": _ACCEPT})
        if response is None:
            return None
        with io.BufferedReader(WebStream(response.raw, f"manifest {name} in {self.name}")) as stream:
            data = stream.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise InputError(f"Manifest {name} in {self.name} is larger than {MAX_DOCUMENT:,} bytes: it is no image.")
        document = Document(media_type(data, name), data)
        if name.startswith("sha256:") and document.digest != name:
            raise InputError(
                f"{self.name} answers {document.digest} when it is asked for {name}: the image was tampered with, do "
                "not use it."
            )
        return document

    def push_manifest(self, document: Document, tag: str = "") -> None:
        """Store a manifest or index, let a tag name it, and list it where it is a referrer."""
        self._put(document, tag)
        self._list([document])

    def update(self, changes: Mapping[str, Change]) -> dict[str, Document]:
        """Change what tags name, so that of two who do it at once neither is lost."""
        found = self._settle(changes)
        self._list(found.values())
        return found

    def referrers(self, digest: str) -> list[dict]:
        """Return descriptors of the manifests whose subject a digest is."""
        name = f"referrers/sha256:{digits(digest)}" if self._lists_referrers else f"manifests/{_referrers_tag(digest)}"
        found, address = [], self._address(name)
        while address:
            response = self._call("GET", address, missing=_MISSING, headers={"Accept": INDEX})
            if response is None:
                break
            found += descriptors(parse(response.content, f"list of referrers in {self.name}"), "manifests")
            following = response.links.get("next", {}).get("url")
            address = urljoin(address, following) if following else ""
        return found

    @cached_property
    def _lists_referrers(self) -> bool:
        """Whether the registry lists referrers itself: it answers for any digest then."""
        return self._call("GET", f"referrers/sha256:{'0' * 64}", missing=_UNKNOWN) is not None

    def _list(self, documents: Iterable[Document]) -> None:
        """List referrers under the tag of their subject, where the registry does not."""
        listed: dict[str, list[Document]] = {}
        for document in documents:
            if subject := document.content.get("subject"):
                listed.setdefault(_referrers_tag(subject["digest"]), []).append(document)
        if listed and not self._lists_referrers:
            self._settle({tag: _listing(documents) for tag, documents in listed.items()})

    def _settle(self, changes: Mapping[str, Change]) -> dict[str, Document]:
        """Change tags, and look again until nobody has undone it.

        The specification has no conditional write. Who read a tag before it was written here has written by the time
        it is read again, in all likelihood; then what is missing is added to what is there.
        """
        pending, found = dict(changes), {}
        for _ in range(4 * ATTEMPTS):
            wrote = False
            for tag, change in list(pending.items()):
                current = self.get_manifest(tag)
                wanted = change(current)
                if wanted is None:
                    del pending[tag]
                    if current is not None:
                        found[tag] = current
                else:
                    self._put(wanted, tag)
                    wrote = True
            if not wrote:
                return found
            time.sleep(random.uniform(*SETTLE_S))
        raise InputError(f"Others keep changing {', '.join(pending)} in {self.name}: try again later.")

    def _put(self, document: Document, tag: str) -> None:
        for data in document.blobs:
            self.push_blob(Blob.of(data))
        name, headers = f"manifests/{tag or document.digest}", {"Content-Type": document.media_type}
        response = self._persist(lambda: self._call("PUT", name, data=document.data, headers=headers))
        stored = response.headers.get("Docker-Content-Digest", document.digest)
        if stored != document.digest:
            raise InputError(f"{self.name} stored {document.digest} as {stored}: use a registry that keeps manifests.")

    def _upload(self, blob: Blob, mount_from: str) -> None:
        mount = {"mount": blob.digest, "from": mount_from} if mount_from else None
        started = self._call("POST", "blobs/uploads/", params=mount)
        if started.status_code == 201:
            return  # it had the blob in the other repository
        place = urljoin(f"{self._root}/", started.headers.get("Location", ""))
        headers = {"Content-Type": "application/octet-stream"}
        self._call("PUT", place, params={"digest": blob.digest}, data=_Body(blob), headers=headers)

    def _persist(self, send: Callable[[], requests.Response | None]) -> requests.Response | None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return send()
            except _BrokenError as error:
                reason = str(error)
                if attempt < ATTEMPTS:
                    time.sleep(max(error.wait_s, random.uniform(*SETTLE_S) * 4**attempt))
        raise TemporaryError(
            f"Sending to {self.name} failed {ATTEMPTS} times ({reason}): try again later; what is there is not sent "
            "again."
        )

    def _call(self, method: str, name: str, missing: tuple[int, ...] = (), **request) -> requests.Response | None:
        """Make a request of the repository, with a login when it is asked for.

        Args:
            method: The HTTP method.
            name: The path under the repository, or a whole address.
            missing: For which answers to return None, instead of raising.
            request: More for ``requests``.
        """
        address = name if name.startswith("http") else self._address(name)
        response = self._send(method, address, request)
        if response.status_code == 401:
            response.close()
            self._auth.answer(self._session, response)
            response = self._send(method, address, request)
        if response.ok:
            return response
        with response:
            if response.status_code in missing:
                return None
            raise self._refusal(method, response)

    def _send(self, method: str, address: str, request: dict) -> requests.Response:
        self._require_encryption(address)
        try:
            # verify again: CURL_CA_BUNDLE would win over the session's own.
            response = self._session.request(method, address, timeout=TIMEOUT_S, verify=self._session.verify, **request)
        except (requests.exceptions.RequestException, OSError) as error:
            if isinstance(error, requests.exceptions.SSLError) and not certificates.is_cut(str(error)):
                raise certificates.refusal(self._host, error, "SSL_CERT_FILE") from None
            if method in _WRITES and not isinstance(error, requests.exceptions.ConnectTimeout):
                raise _BrokenError(network_reason(error)) from None
            away = isinstance(error, requests.exceptions.ConnectionError | requests.exceptions.Timeout)
            raise (TemporaryError if away else InputError)(
                f"Registry {self._host} cannot be reached ({network_reason(error)}): check the reference, the network "
                "and the proxy."
            ) from None
        try:
            self._require_encryption(response.url)
        except InputError:
            response.close()
            raise
        return response

    def _require_encryption(self, address: str) -> None:
        """Refuse where a registry that is spoken to over TLS leads out of it."""
        if self._root.startswith("https://") and not address.startswith("https://"):
            raise InputError(f"Registry {self._host} leads to a connection without encryption: use another one.")

    def _refusal(self, method: str, response: requests.Response) -> Exception:
        status, said = response.status_code, _first_error(response)
        insufficient = "insufficient_scope" in response.headers.get("WWW-Authenticate", "") and self._auth.has_login
        if status == 401 and not insufficient:
            return self._auth.refusal()
        if status in (401, 403) or "DENIED" in said:
            what = "write to" if method in _WRITES else "read"
            return InputError(
                f"Registry {self._host} does not let this login {what} {self._repository}{said}: give it the right, or "
                "use another login."
            )
        # The digests are right, so it is the registry that was reading what another build was writing: one that keeps
        # files truncates them first.
        halfway = "DIGEST_INVALID" in said
        if (status in _AGAIN or halfway) and method in _WRITES:
            return _BrokenError(f"HTTP {status}{said}", _Retry().get_retry_after(response.raw) or 0.0)
        return (TemporaryError if status in _AGAIN else InputError)(
            f"Registry {self._host} answered HTTP {status} to {method} in {self._repository}{said}: check the "
            "reference, and that the registry takes OCI images."
        )

    def _address(self, name: str) -> str:
        return f"{self._root}/v2/{self._repository}/{name}"

    @cached_property
    def _auth(self) -> RegistryAuth:
        return RegistryAuth(self._host, self._repository)

    @cached_property
    def _session(self) -> requests.Session:
        """The connections to the registry."""
        session = guard(requests.Session(), max_retries=_retry())
        session.verify = ca_bundle() or True
        session.auth = self._auth
        if self._root.startswith("http://"):
            session.trust_env = False  # a proxy does not know this machine's own registry
        return session


def _retry() -> Retry:
    """Return when a request that reads is made again."""
    return _Retry(
        3,
        connect=1,
        other=0,
        allowed_methods=("GET", "HEAD"),
        status_forcelist=_AGAIN,
        backoff_factor=BACKOFF_S,
        raise_on_status=False,
    )


class _BrokenError(Exception):
    """A request that writes broke, or met a registry that is not well at the moment.

    Attributes:
        wait_s: Seconds that the registry wants to be left alone.
    """

    def __init__(self, reason: str, wait_s: float = 0.0):
        super().__init__(reason)
        self.wait_s = wait_s


class _Retry(Retry):
    """Heeds what a registry says of when to come back, within reason."""

    def parse_retry_after(self, retry_after: str) -> float:
        try:
            return min(super().parse_retry_after(retry_after), PATIENCE_S)
        except InvalidHeader:
            return 0.0


class _Body:
    """A blob as a request's body: of known length, and from its beginning whenever it is sent."""

    def __init__(self, blob: Blob):
        self._blob = blob

    def __len__(self) -> int:
        return self._blob.size

    def __iter__(self) -> Iterator[bytes]:
        return (chunk for chunk in self._blob.chunks() if chunk)


def _first_error(response: requests.Response) -> str:
    """Return what a registry says is wrong, in brackets."""
    try:
        error = response.json()["errors"][0]
        said = " ".join(str(error.get("message", "")).split())
        return hide(f" ({error.get('code', '')}: {said})")[:300]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""


def _referrers_tag(digest: str) -> str:
    return f"sha256-{digits(digest)}"


def _listing(documents: list[Document]) -> Change:
    """Return the change that puts referrers into the index of their subject."""

    def change(current: Document | None) -> Document | None:
        listed = descriptors(current.content, "manifests") if current else []
        known = {entry["digest"] for entry in listed}
        missing = [referrer_descriptor(document) for document in documents if document.digest not in known]
        return Document.build(INDEX, manifests=listed + missing) if missing else None

    return change
