"""References to model images, in a registry or in an OCI layout folder."""

import re
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from loopline.components.errors import InputError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
#: What is meant as a digest at the end of a layout's reference; any other ``@`` belongs to the folder's name.
_LAYOUT_DIGEST = re.compile(r"@(sha\d+:[^/:@]*)$")
_FORMS = "docker://HOST/NAME[:TAG][@sha256:...] for a registry or oci:/FOLDER[:TAG][@sha256:...] for an OCI layout"


@dataclass(frozen=True)
class ImageReference:
    """Where an image is.

    Attributes:
        kind: ``registry`` or ``layout``.
        location: For a registry ``host[:port]``, for a layout the absolute folder.
        repository: The name under the registry's host; empty for a layout.
        tag: The tag, empty when there is none.
        digest: ``sha256:...``, empty when there is none.
    """

    kind: str
    location: str
    repository: str = ""
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> "ImageReference":
        """Read a reference.

        Args:
            text: ``docker://host/name[:tag][@digest]``; ``oci://host/name...``, which means the same and is how KServe
                writes it; or ``oci:/folder[:tag][@digest]``, how skopeo writes an OCI layout. A folder whose name has a
                colon is followed by one: what is behind the last colon is the tag.

        Returns:
            The reference.

        Raises:
            InputError: It has none of these forms.
        """
        rest, digest = _split_digest(text)
        if digest is not None and not _DIGEST.fullmatch(digest):
            raise InputError(f"Image {text!r} has a malformed digest: write @sha256: and 64 hexadecimal digits.")
        scheme = next((s for s in ("docker://", "oci://", "oci:/") if rest.startswith(s)), "")
        head, colon, tag = rest[len(scheme) :].rpartition(":")
        if not colon or "/" in tag:
            head, tag = rest[len(scheme) :], ""
        if scheme in ("docker://", "oci://"):
            host, _, repository = head.partition("/")
            fits = _is_host(host) and _REPOSITORY.fullmatch(repository)
            result = cls("registry", host, repository, tag, digest or "")
        else:
            fits = scheme and head and head.isprintable()
            result = cls("layout", f"/{head}".rstrip("/"), "", tag, digest or "")
        if not fits or (tag and not _TAG.fullmatch(tag)):
            raise InputError(f"Image {text!r} is not a reference: write {_FORMS}.")
        return result

    def at(self, digest: str) -> "ImageReference":
        """Return the reference to a digest in the same place, without a tag."""
        return replace(self, tag="", digest=digest)

    @property
    def uri(self) -> str:
        """The reference as a ``storageUri`` of KServe and in the configuration repository."""
        place = f"oci://{self.location}/{self.repository}" if self.kind == "registry" else f"oci:{self.location}"
        colon = self.tag or (self.kind == "layout" and ":" in self.location.rpartition("/")[2])
        return f"{place}{':' + self.tag if colon else ''}{'@' + self.digest if self.digest else ''}"

    @property
    def short(self) -> str:
        """The reference for a line of a log: the digest cut to twelve digits."""
        return self.uri.replace(self.digest, self.digest[:19]) if self.digest else self.uri

    def __str__(self) -> str:
        return self.uri


def _split_digest(text: str) -> tuple[str, str | None]:
    """Cut off what is meant as the digest; None when there is nothing of the kind."""
    if text.startswith("oci:/") and not text.startswith("oci://"):
        found = _LAYOUT_DIGEST.search(text)
        return (text[: found.start()], found[1]) if found else (text, None)
    rest, at, digest = text.partition("@")
    return rest, digest if at else None


def _is_host(host: str) -> bool:
    if not _HOST.fullmatch(host):
        return False
    try:
        return bool(urlsplit(f"//{host}").port or True)
    except ValueError:  # brackets around what is no address, or a port there is not
        return False
