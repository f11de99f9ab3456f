"""Wheels of a few bytes, in the place of an index's."""

import hashlib
import zipfile
from pathlib import Path


def write_wheel(folder: Path, name: str, content: str = "", metadata: str = "") -> str:
    """Write the wheel of version 1.0 of a package with one module.

    Args:
        folder: Where.
        name: The package's name, and the module's.
        content: The module.
        metadata: More lines of metadata.

    Returns:
        The file's SHA-256, 64 hexadecimal digits.
    """
    path, info = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": content,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{metadata}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            # Without the time, so that the same content is the same file.
            archive.writestr(zipfile.ZipInfo(file), text)
    return hashlib.sha256(path.read_bytes()).hexdigest()
