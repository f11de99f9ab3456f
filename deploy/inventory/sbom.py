"""The packages of an image as a CycloneDX 1.6 document: https://cyclonedx.org/docs/1.6/json/.

Made where the packages are installed, of what pip reported as it installed them: the very files with their hashes. The
report's form: https://pip.pypa.io/en/stable/reference/installation-report/.
"""

import json
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from loopline.components.errors import InputError
from loopline.components.image import VERSION
from loopline.components.licenses import UNKNOWN, license_of


def sbom(image: str, reports: list[Path]) -> str:
    """List the packages that pip installed.

    Args:
        image: What to call the image.
        reports: What ``pip install --report`` wrote, of one or more installations.

    Returns:
        The document; the same for the same files.

    Raises:
        InputError: A report cannot be read, or a package came without a hash.
    """
    packages = {package.name: package for report in reports for package in _read(report)}
    components = [_component(packages[name]) for name in sorted(packages)]
    references = {name: packages[name].purl for name in sorted(packages)}
    digest = json.dumps([image, components, sys.version_info[:2]], sort_keys=True)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": "image", "name": image, "version": VERSION}},
        "components": components,
        "dependencies": [
            {"ref": "image", "dependsOn": list(references.values())},
            *({"ref": references[name], "dependsOn": _needs(packages[name], references)} for name in references),
        ],
    }
    return json.dumps(document, indent=1) + "\n"


@dataclass(frozen=True)
class _Package:
    """A package that pip installed: its canonical name, the file it came from and the requirements it states."""

    name: str
    version: str
    url: str
    sha256: str
    requires: list[str]

    @property
    def purl(self) -> str:
        return f"pkg:pypi/{quote(self.name, safe='')}@{quote(self.version, safe='')}"


def _read(report: Path) -> list[_Package]:
    try:
        return [_package(entry) for entry in json.loads(report.read_text(encoding="utf-8"))["install"]]
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{report} is not a report of pip's: write one with `pip install --report`.") from None


def _package(entry: dict) -> _Package:
    metadata, file = entry["metadata"], entry["download_info"]
    sha256 = file.get("archive_info", {}).get("hashes", {}).get("sha256", "")
    if not sha256:
        raise InputError(
            f"{metadata['name']} {metadata['version']} was installed without a hash: install it from requirements/."
        )
    name = canonicalize_name(metadata["name"])
    return _Package(name, metadata["version"], file["url"], sha256, metadata.get("requires_dist") or [])


def _component(package: _Package) -> dict:
    license_ = license_of(package.name)
    component = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "hashes": [{"alg": "SHA-256", "content": package.sha256}],
        "externalReferences": [{"type": "distribution", "url": _plain(package.url)}],
    }
    if license_ not in (UNKNOWN, "NOASSERTION"):
        component["licenses"] = [{"expression": license_}]
    return component


def _needs(package: _Package, references: dict[str, str]) -> list[str]:
    """Return the packages that one depends on, of those that are there."""
    wanted = set()
    for requirement in map(Requirement, package.requires):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            wanted.add(canonicalize_name(requirement.name))
    return sorted(references[name] for name in wanted & references.keys())


def _plain(url: str) -> str:
    """Return an address without what that of a mirror may carry: a login or a token."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
