"""The packages of an image as a CycloneDX 1.6 document: https://cyclonedx.org/docs/1.6/json/.

Made where the packages are installed, of what pip reported as it installed them: the very files with their hashes. The
report's form: https://pip.pypa.io/en/stable/reference/installation-report/.
"""

import json
import re
import sys
import uuid
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
    packages = {}
    for report in reports:
        try:
            for entry in json.loads(report.read_text(encoding="utf-8"))["install"]:
                packages[canonicalize_name(entry["metadata"]["name"])] = entry
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{report} is not a report of pip's: write one with `pip install --report`.") from None
    components = [_component(name, packages[name]) for name in sorted(packages)]
    references = {name: _purl(name, packages[name]["metadata"]["version"]) for name in sorted(packages)}
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


def _component(name: str, entry: dict) -> dict:
    version, file = entry["metadata"]["version"], entry["download_info"]
    hashes = (file.get("archive_info") or {}).get("hashes") or {}
    if "sha256" not in hashes:
        raise InputError(f"{name} {version} was installed without a hash: install it from requirements/.")
    purl, license_ = _purl(name, version), license_of(name)
    component = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": hashes["sha256"]}],
        # Without what a mirror's address may carry: a login.
        "externalReferences": [{"type": "distribution", "url": _plain(file["url"])}],
    }
    if license_ not in (UNKNOWN, "NOASSERTION"):
        component["licenses"] = [{"expression": license_}]
    return component


def _needs(entry: dict, references: dict[str, str]) -> list[str]:
    """Return the packages that one depends on, of those that are there."""
    wanted = set()
    for text in entry["metadata"].get("requires_dist") or []:
        requirement = Requirement(re.sub(r"\s+#.*$", "", text))
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            wanted.add(canonicalize_name(requirement.name))
    return sorted(references[name] for name in wanted & references.keys())


def _plain(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{quote(name, safe='')}@{quote(version, safe='')}"
