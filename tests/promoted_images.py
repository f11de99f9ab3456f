"""Real images to promote, in an OCI layout: signed, tested, or not."""

import json
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from loopline.components.delivery.attestation import attest_tested
from loopline.components.delivery.build import build_image
from loopline.components.environment import environment

PREDICATE = {"result": "PASSED", "configuration": [], "passedTests": ["start"], "warnedTests": [], "failedTests": []}


@dataclass(frozen=True)
class Images:
    """Images of one model as several versions.

    Attributes:
        key: The key they are signed with, PEM.
        tested: References by version, from 1 on; signed and tested.
        untested: A signed image.
        unsigned: A tested image without a signature.
    """

    key: str
    tested: dict[int, str]
    untested: str
    unsigned: str


def build_images(folder: Path, model: Path, versions: int = 3) -> Images:
    """Build the images; ``folder`` has to be empty."""
    key = make_key()
    with environment({"COSIGN_PRIVATE_KEY": key}):
        tested = {
            number: build_image(model, f"oci:{folder / 'images'}", version=number, mlflow_run=f"run{number}")
            for number in range(1, versions + 1)
        }
        for reference in tested.values():
            attest_tested(reference, PREDICATE)
        untested = build_image(model, f"oci:{folder / 'untested'}", version=1)
        unsigned = build_image(model, f"oci:{folder / 'unsigned'}", version=1)
        attest_tested(unsigned, PREDICATE)
    _drop_signatures(folder / "unsigned")
    return Images(key, tested, untested, unsigned)


def make_key() -> str:
    """Return a new private key, PEM."""
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def _drop_signatures(layout: Path) -> None:
    index = json.loads((layout / "index.json").read_text())
    name = "org.opencontainers.image.ref.name"
    kept = [one for one in index["manifests"] if not one.get("annotations", {}).get(name, "").endswith(".sig")]
    assert len(kept) < len(index["manifests"])
    (layout / "index.json").write_text(json.dumps(index | {"manifests": kept}))
