"""Under which license a package is, as an SPDX expression, and whether that license is one that was looked at.

Source of the identifiers: https://spdx.org/licenses/. What a package says in the field for expressions counts; older
packages say it in a word, a classifier or with the text of the license.
"""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution

UNKNOWN = "unknown"

#: Permissive licenses: use, change and pass on, with the notice kept.
PERMISSIVE = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "HPND", "ISC", "MIT", "MIT-0",
    "PSF-2.0", "TCL", "Unlicense", "ZPL-2.1",
}  # fmt: skip

#: Other licenses, each with what it asks for, by the packages that are known to have it.
NOTED = {
    "BUSL-1.1": {"alibi-detect"},
    "GPL-2.0-or-later": {"pylint"},
    "LGPL-2.1-or-later": {"astroid", "docstring-to-markdown"},
    "LGPL-3.0-or-later": {"pygithub", "pytoolconfig", "rope"},
    "MPL-2.0": {"certifi", "fqdn", "hypothesis", "orjson", "pathspec", "tqdm"},
    "NOASSERTION": {"modelcar-base-image"},  # neither its metadata nor its files say
}

#: Read by hand in the package's own license file, where its metadata do not say, or it is not installed everywhere.
_READ = {
    "antlr4-python3-runtime": "BSD-3-Clause",
    "appnope": "BSD-2-Clause",
    "atheris": "Apache-2.0",
    "cel-python": "Apache-2.0",
    "huey": "MIT",
    "modelcar-base-image": "NOASSERTION",
    "overrides": "Apache-2.0",
    "py-grpc-prometheus": "Apache-2.0",
    "pygithub": "LGPL-3.0-or-later",
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
    "pywin32": "PSF-2.0",
    "pywinpty": "MIT",
    "skops": "MIT",
    "waitress": "ZPL-2.1",
}

_WORDS = {
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license v2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "business source license 1.1": "BUSL-1.1",
    "cc0": "CC0-1.0",
    "expat license": "MIT",
    "isc license": "ISC",
    "mit license": "MIT",
    "psfl": "PSF-2.0",
    "3-clause bsd license": "BSD-3-Clause",
}

_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


def license_of(name: str) -> str:
    """Return the license of a package.

    Args:
        name: Its canonical name.

    Returns:
        An SPDX expression; ``unknown`` when neither its metadata nor a reader of its license file told.
    """
    if name in _READ:
        return _READ[name]
    try:
        return _declared(distribution(name))
    except PackageNotFoundError:
        return UNKNOWN


def unlooked(name: str, expression: str) -> list[str]:
    """Return the licenses in an expression that nobody has looked at for this package.

    Args:
        name: The package's canonical name.
        expression: Its license.
    """
    named = set(re.findall(r"[A-Za-z0-9.+-]+", expression)) - {"AND", "OR", "WITH"}
    return sorted(one for one in named if one not in PERMISSIVE and name not in NOTED.get(one, ()))


def _declared(package: Distribution) -> str:
    metadata = package.metadata
    if metadata.get("License-Expression"):
        return metadata["License-Expression"]
    word = " ".join((metadata.get("License") or "").split())
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    if word and set(word.split()) - {"AND", "OR"} <= {*PERMISSIVE, *NOTED}:
        return word
    return _classified(package)


def _classified(package: Distribution) -> str:
    classifiers = package.metadata.get_all("Classifier") or []
    names = {one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License :: ")}
    found = sorted({_CLASSIFIERS[name] for name in names if name in _CLASSIFIERS})
    if len(found) == 1 and len(names) == 1:
        return found[0]
    return _bsd(package) if not found else UNKNOWN


def _bsd(package: Distribution) -> str:
    """Tell the BSD licenses apart by their text: the third clause is about names."""
    texts = [package.metadata.get("License") or ""]
    for file in package.files or []:
        if re.search(r"(?i)licen[cs]e|copying", file.name) and ".dist-info" in str(file):
            texts.append(file.read_text() or "")
    text = " ".join(" ".join(texts).split())
    if "Redistributions in binary form must reproduce" not in text:
        return UNKNOWN
    return "BSD-3-Clause" if re.search(r"(?i)(neither|nor) the names?", text) else "BSD-2-Clause"
