"""Write skops files whose bytes depend on the model alone.

skops names the members of its archive by memory addresses and stamps them with the time; two dumps of one model differ.
"""

import io
import json
import zipfile
from pathlib import Path

#: The earliest time a ZIP archive can hold.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def dump_skops(model: object, path: str | Path) -> None:
    """Write a model with skops, the same bytes for the same model.

    Args:
        model: A scikit-learn estimator or pipeline.
        path: The file to write.
    """
    from skops.io import dumps

    with zipfile.ZipFile(io.BytesIO(dumps(model))) as source:
        members = {name: source.read(name) for name in source.namelist()}
    schema = json.loads(members.pop("schema.json"))
    names: dict[str, str] = {}
    schema = _rename(schema, {}, names)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        _add(target, "schema.json", json.dumps(schema, indent=2).encode())
        for old, new in names.items():
            _add(target, new, members[old])


def _rename(node, ids: dict[int, int], names: dict[str, str]):
    """Number identities and member files in the order of their first appearance."""
    if isinstance(node, list):
        return [_rename(item, ids, names) for item in node]
    if not isinstance(node, dict):
        return node
    renamed = {}
    for key, value in node.items():
        if key == "__id__":
            value = ids.setdefault(value, len(ids) + 1)
        elif key == "file" and isinstance(value, str):
            value = names.setdefault(value, f"{len(names) + 1}{Path(value).suffix}")
        else:
            value = _rename(value, ids, names)
        renamed[key] = value
    return renamed


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_DEFLATED)
