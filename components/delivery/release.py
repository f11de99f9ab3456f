"""What a site's files in the configuration repository say: ``release.env`` and ``site.env``.

Lines of ``KEY=VALUE``, blank lines and comments that begin with ``#``, as kustomize reads them: nothing is quoted.
"""

import re
from dataclasses import dataclass

from loopline.components.delivery.reference import ImageReference
from loopline.components.errors import InputError

#: The files in a site's folder.
RELEASE_FILE, SITE_FILE = "release.env", "site.env"

_NAME, _VERSION, _IMAGE = "MODEL_NAME", "MODEL_VERSION", "MODEL_IMAGE"
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Release:
    """What a site is to serve.

    Attributes:
        name: The model's name; empty when nothing is promoted.
        version: The registered version; 0 when there is none.
        image: The image by digest; empty when nothing is promoted.
    """

    name: str = ""
    version: int = 0
    image: str = ""

    def __str__(self) -> str:
        digest = self.image.rpartition("@")[2]
        return f"{self.name} version {self.version} ({digest[:19]})" if self.image else "nothing"


def read_site_env(text: str) -> dict[str, str]:
    """Read ``site.env``: where a site answers, and how it serves.

    Args:
        text: The file's text.

    Returns:
        The values by key.

    Raises:
        InputError: A line is not ``KEY=VALUE``, or a key is there twice.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        key, separator, value = entry.partition("=")
        if not separator or not _KEY.fullmatch(key):
            raise InputError(f"Line {number} is {entry[:80]!r}: write KEY=VALUE.")
        if key in values:
            raise InputError(f"Line {number} sets {key} a second time: leave one of the lines.")
        values[key] = value
    return values


def read_release_env(text: str) -> Release:
    """Read ``release.env``: what a site is to serve.

    Args:
        text: The file's text.

    Returns:
        The release; an empty one when nothing is promoted yet.

    Raises:
        InputError: A line is not ``KEY=VALUE``, the version is not a whole number or the image has no digest.
    """
    values = read_site_env(text)
    version, image = values.get(_VERSION, ""), values.get(_IMAGE, "")
    if not re.fullmatch(r"[0-9]{0,18}", version):
        raise InputError(f"{_VERSION} is {version[:80]!r}: write a whole number.")
    if image and not ImageReference.parse(image).digest:
        raise InputError(f"{_IMAGE} is {image!r}, which may change: write it with @sha256: and its digest.")
    return Release(values.get(_NAME, ""), int(version or 0), image)


def write_release_env(text: str, release: Release) -> str:
    """Put a release into the text of ``release.env``; other lines stay as they are.

    Args:
        text: The file's text as it is.
        release: What the site is to serve; an empty one for nothing.

    Returns:
        The file's new text; the same when it says so already.

    Raises:
        InputError: A line of the text is not ``KEY=VALUE``, or the model's name takes more than a line.
    """
    read_site_env(text)
    if release.name != " ".join(release.name.split()):
        raise InputError(f"The model's name {release.name!r} does not fit into one line of {RELEASE_FILE}: rename it.")
    version = str(release.version) if release.image else ""
    ending = "\r\n" if "\r\n" in text else "\n"
    for key, value in ((_NAME, release.name), (_VERSION, version), (_IMAGE, release.image)):
        line = f"{key}={value}"
        text, found = re.subn(rf"(?m)^[ \t]*{key}=[^\r\n]*", lambda _, line=line: line, text)
        if not found:
            text = f"{text}{'' if not text or text.endswith(ending) else ending}{line}{ending}"
    return text
