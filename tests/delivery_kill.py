"""Build an image again and again, killed after each call that changes something outside: a program for a test.

To die after a call that only reads, or before the next one, is the same: nothing changed in between.

Arguments: the model, a place for images (its repositories or folders are numbered), and a folder for what is fetched.
Prints one line of JSON for each kill: what was called last, what a reader saw then, what came of building again.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import requests

from loopline.components.delivery import layout, registry
from loopline.components.delivery.build import build_image
from loopline.components.delivery.fetch import fetch_image, resolve
from loopline.components.delivery.layer import Layer
from loopline.components.delivery.oci import CONFIG, LAYER, MANIFEST, Document, blob_descriptor, encode
from loopline.components.delivery.reference import ImageReference
from loopline.components.errors import InputError


def die_after(count: int, note: Path) -> None:
    """Die by ``kill -9`` after some writing calls, at once when there should be none; note the last one in a file."""
    calls = []

    def kill() -> None:
        note.write_text(calls[-1] if calls else "nothing")
        os.kill(os.getpid(), signal.SIGKILL)

    def watch(owner: type, name: str, label: Callable[..., str]) -> None:
        original = getattr(owner, name)

        def call(*arguments, **options):
            result = original(*arguments, **options)
            if found := label(*arguments):
                calls.append(found)
                if len(calls) == count:
                    kill()
            return result

        setattr(owner, name, call)

    def request_label(_, request) -> str:
        path = request.path_url.partition("?")[0]
        return f"{request.method} {path}" if request.method in ("POST", "PUT", "PATCH", "DELETE") else ""

    watch(requests.Session, "send", request_label)
    watch(layout.Layout, "_replace", lambda _, name, __: f"rename to {name}")
    if not count:
        kill()


def build_and_die(model: str, image: str, base: str, count: int, note: Path) -> bool:
    """Build in a process that dies after some calls; returns whether it did."""
    pid = os.fork()
    if not pid:
        die_after(count, note)
        build_image(model, image, base, version=3)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def look(image: str, folder: Path) -> str:
    """What a reader sees under the tag: nothing, or a whole image."""
    try:
        found = resolve(f"{image}:v3")
    except InputError as error:
        return "nothing" if "There is no image" in str(error) else str(error)
    return f"whole {ImageReference.parse(fetch_image(found, folder).reference).digest}"


def small_base(folder: Path) -> str:
    """A base image of one platform and hardly any bytes: there is less to send each time."""
    store, layer = layout.Layout(folder), Layer({"etc/base": b"small"}).blob
    store.push_blob(layer)
    rootfs = {"type": "layers", "diff_ids": [layer.digest]}
    config = encode({"os": "linux", "architecture": "amd64", "rootfs": rootfs})
    described = [blob_descriptor(LAYER, layer)]
    document = Document.build(MANIFEST, config, config=blob_descriptor(CONFIG, config), layers=described)
    store.push_manifest(document, "base")
    return f"oci:{folder}@{document.digest}"


def main() -> None:
    """Kill after each call, until there are no more."""
    model, place, folder = sys.argv[1:]
    registry.SETTLE_S = (0.0, 0.0)
    base, note, died, count = small_base(Path(folder) / "base"), Path(folder) / "note.txt", True, 0
    while died:
        image = f"{place}{count}"
        died = build_and_die(model, image, base, count, note)
        seen = look(image, Path(folder) / f"seen-{count}")
        digest = ImageReference.parse(build_image(model, image, base, version=3)).digest
        after = look(image, Path(folder) / f"after-{count}")
        line = {"call": note.read_text(), "died": died, "seen": seen, "digest": digest, "after": after}
        print(json.dumps(line), flush=True)
        count += 1


if __name__ == "__main__":
    main()
