"""The files with certificate authorities that the environment names."""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from loopline.pipelines.doctor.findings import Finding, ok, problem, skipped, warning
from loopline.pipelines.doctor.place import ACCOUNT
from loopline.pipelines.doctor.settings import Settings

#: Variables that name such a file, and who reads it.
VARIABLES = {
    "SSL_CERT_FILE": "Loopline and Python",
    "REQUESTS_CA_BUNDLE": "Loopline and requests",
    "AWS_CA_BUNDLE": "the S3 client",
    "KF_PIPELINES_SSL_SA_CERTS": "the client of the pipeline server",
    "PIPELINES_SSL_SA_CERTS": "the client of the pipeline server",
    "MLFLOW_TRACKING_SERVER_CERT_PATH": "MLflow's client",
    "GIT_SSL_CAINFO": "git",
}
#: How long before its end a certificate is warned of.
_SOON = timedelta(days=30)
_MOST_NAMED = 3
#: A file with so many certificates is a system's own.
_MANY = 50


def check(settings: Settings) -> Iterator[Finding]:
    """Check each file of certificate authorities that is named, and the cluster's own in a pod."""
    files: dict[str, list[str]] = {}
    for name in VARIABLES:
        if value := os.environ.get(name):
            files.setdefault(value, []).append(name)
    for value, names in files.items():
        mend = f"Let {' and '.join(names)} name a PEM file with certificate authorities."
        yield _bundle(names[0], Path(value), mend, names[1:])
    if not any(os.environ.get(name) for name in VARIABLES):
        yield skipped(
            "authorities",
            "SSL_CERT_FILE is not set: needed only for servers whose authority is not a public one",
        )
    if settings.place.in_cluster:
        yield _bundle(
            "service-ca.crt", ACCOUNT / "service-ca.crt",
            "Ask the cluster's administrator why OpenShift's service CA is not in the pods of this namespace.",
        )  # fmt: skip


def _bundle(title: str, path: Path, mend: str, also: Sequence[str] = ()) -> Finding:
    from cryptography import x509

    if path.is_dir():
        return ok(title, f"the folder {path}")
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        return problem(title, f"{path} cannot be read ({error.strerror})", mend)
    except ValueError:
        return problem(title, f"{path} holds no certificate in PEM", mend)
    now = datetime.now(UTC)
    expired = [c for c in certificates if c.not_valid_after_utc < now]
    ending = [c for c in certificates if now <= c.not_valid_after_utc < now + _SOON]
    seen = f"{path}: {len(certificates)} certificate{'s' * (len(certificates) != 1)}"
    seen += f", named by {', '.join(also)} as well" if also else ""
    if len(expired) == len(certificates):
        return problem(
            title, f"{seen}, expired: {_names(expired)}", f"Replace {path} by one with certificates that hold."
        )
    if len(certificates) >= _MANY:
        # The bundles of systems keep authorities that ended; nobody's server is signed by one.
        return ok(title, f"{seen}, {len(expired)} expired" if expired else f"{seen}, none expired")
    if expired:
        return warning(title, f"{seen}, expired: {_names(expired)}", f"Put the successor into {path}.")
    if ending:
        return warning(title, f"{seen}, ends soon: {_names(ending)}", f"Put the successor into {path} before that.")
    return ok(title, f"{seen}, none expired")


def _names(certificates: list) -> str:
    names = [f"{_name(c)} ({c.not_valid_after_utc:%Y-%m-%d})" for c in certificates]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _name(certificate) -> str:
    from cryptography.x509.oid import NameOID

    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.ORGANIZATION_NAME):
        if found := certificate.subject.get_attributes_for_oid(kind):
            return str(found[0].value)
    return f"serial number {certificate.serial_number}"
