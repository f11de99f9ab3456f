"""The license report, docs/licenses.md: every locked package, its license and who brings it."""

from pathlib import Path

from loopline.components.errors import InputError
from loopline.components.licenses import NOTED, license_of, unlooked
from loopline.deploy.inventory.locked import Locked, read_lock, read_requirements

_HEAD = """\
# Licenses

Written by `make.py licenses` from the lock in `requirements/` and what the packages say of themselves. A license that
nobody has looked at stops the command and the tests. Loopline itself is under Apache-2.0.

## What to decide before production

**alibi-detect is under the Business Source License 1.1.** Copying, changing and using it outside production are free;
production use, and a scheduled monitor is one, needs a license from Seldon, unless you are a non-profit educational
institution. Version 0.13.0 becomes Apache-2.0 on 2029-12-11. Loopline does not need it: build the step image with
`--build-arg EXTRAS=serving` and run monitoring with `engine=scipy`, the same tests with the same verdicts. It is then
nowhere in the image, nor is what it alone brings.

Copyleft and unstated licenses. Loopline imports these packages unchanged and copies none of their code, so what they
ask concerns those who change them or pass an image on:
"""

_ASKS = {
    "BUSL-1.1": "production use needs a license, see above",
    "GPL-2.0-or-later": "whoever passes on an image with it offers its source; a linter, in the workbench only",
    "LGPL-2.1-or-later": "changes to it are passed on with their source; in the workbench only",
    "LGPL-3.0-or-later": "changes to it are passed on with their source; in the workbench only",
    "MPL-2.0": "changed files of it are passed on with their source",
    "NOASSERTION": "neither its metadata nor its files say; name your own base image (`base`) where that matters",
}

_BUNDLED = """
Wheels hold shared libraries of others, which a package's own license does not speak of. Those of numpy and scipy hold
OpenBLAS (BSD-3-Clause) and libgfortran (GPL-3.0 with the runtime library exception); that of opencv-python, which
alibi-detect alone brings, FFmpeg (LGPL-2.1) and Qt 5 (LGPL-3.0). The base images are Red Hat's UBI, under its terms.

## Every package

Step image: the packages of `core`, `serving` and `drift`. Workbench: those of `elyra` beside. `app`: also in the image
of the flights app. The others come with the examples and the tests only. Where there are two versions, Python or the
platform decides.
"""


def license_report(folder: Path) -> str:
    """Write the report.

    Args:
        folder: ``requirements/``.

    Returns:
        Markdown.

    Raises:
        InputError: A package has a license that nobody has looked at.
    """
    packages = read_lock(folder)
    licenses = {name: license_of(name) for name in packages}
    found = {name: unlooked(name, expression) for name, expression in licenses.items()}
    if new := [f"{name} ({', '.join(words)})" for name, words in found.items() if words]:
        raise InputError(
            f"Nobody has looked at the licenses of {'; '.join(new)}: read them, then name them in "
            "components/licenses.py, or leave the packages out."
        )
    app = {requirement.name for requirement, _ in read_requirements(folder / "app.txt")}
    lines = [_HEAD]
    for license_, owners in NOTED.items():
        named = ", ".join(f"{name} ({', '.join(packages[name].needs)})" for name in sorted(owners) if name in packages)
        if named:
            lines.append(f"- {license_}: {named}: {_ASKS[license_]}.")
    lines += [_BUNDLED, "| package | version | license | brought by | in |", "|---|---|---|---|---|"]
    for name, package in packages.items():
        row = (name, ", ".join(package.versions), licenses[name], ", ".join(package.needs), _places(package, app))
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _places(package: Locked, app: set[str]) -> str:
    places = []
    if {"core", "serving", "drift"} & set(package.needs):
        places.append("step image, workbench")
    elif "elyra" in package.needs:
        places.append("workbench")
    if package.name in app:
        places.append("app")
    return ", ".join(places) or "examples and tests"
