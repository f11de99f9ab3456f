"""The locked packages: requirements/, one file for what every installation has and one for what each extra brings."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

#: Who needs a package: every installation, or one with an extra. In the order in which they are told.
NEEDS = ("core", "drift", "serving", "elyra", "examples", "test")


@dataclass
class Locked:
    """One package of the lock.

    Attributes:
        name: Its canonical name.
        versions: Its versions; more than one where Pythons or platforms differ.
        needs: Which of ``NEEDS`` bring it.
        hashes: ``sha256:...`` of each of its files.
    """

    name: str
    versions: list[str] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)
    hashes: set[str] = field(default_factory=set)


def read_requirements(path: Path) -> list[tuple[Requirement, set[str]]]:
    """Read a file of requirements with hashes.

    Args:
        path: The file.

    Returns:
        For each line the requirement and the hashes of its files.
    """
    joined = path.read_text(encoding="utf-8").replace("\\\n", " ")
    found = []
    for line in filter(None, (line.partition("#")[0].strip() for line in joined.splitlines())):
        text, *hashes = re.split(r"\s+--hash=", line)
        found.append((Requirement(text), {one.strip() for one in hashes}))
    return found


def read_lock(folder: Path) -> dict[str, Locked]:
    """Read the whole lock.

    Args:
        folder: ``requirements/``.

    Returns:
        Packages by canonical name, sorted.
    """
    packages: dict[str, Locked] = {}
    for need in NEEDS:
        for requirement, hashes in read_requirements(folder / f"{need}.txt"):
            name = canonicalize_name(requirement.name)
            package = packages.setdefault(name, Locked(name))
            (version,) = (specifier.version for specifier in requirement.specifier)
            if version not in package.versions:
                package.versions.append(version)
            if need not in package.needs:
                package.needs.append(need)
            package.hashes |= hashes
    return dict(sorted(packages.items()))
