"""Certificate authorities that a training job's pods find mounted; KFP sets those up for its own steps alone."""

import os
from pathlib import Path

#: Where the training runtime mounts the authorities of the cluster and of the namespace, a file each.
MOUNTED_AUTHORITIES = Path("/etc/loopline/authorities")


def trust_mounted(scratch: Path) -> None:
    """Trust the mounted authorities besides those of Python's packages, unless the environment names a file.

    Args:
        scratch: A folder for the file with all of them.
    """
    named = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    mounted = sorted(MOUNTED_AUTHORITIES.glob("*.crt"))
    if named or not mounted:
        return
    import certifi

    bundle = scratch / "authorities.pem"
    bundle.write_bytes(b"\n".join(file.read_bytes() for file in (Path(certifi.where()), *mounted)))
    os.environ["AWS_CA_BUNDLE"] = str(bundle)
