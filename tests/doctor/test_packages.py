"""Python, packages, room, certificates and Elyra of this machine, changed for the length of a test."""

import datetime
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from doctor_runs import doctor

from loopline.pipelines.doctor.python import SERVED_BY


def _install(folder, name: str, version: str) -> None:
    """Let a package look like another version: Python takes the first that it finds."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_packages_of_other_versions_are_named_with_the_command(tmp_path):
    _install(tmp_path / "site", "scikit-learn", "1.9.0")
    _install(tmp_path / "site", "mlflow", "2.0.0")
    examined = doctor("python", PYTHONPATH=str(tmp_path / "site"))
    assert examined.status == 1
    assert "scikit-learn 1.9.0, mlflow 2.0.0" in examined.of("packages")["seen"]
    assert examined.of("packages")["mend"] == "Run `pip install 'scikit-learn==1.8.0' 'mlflow==3.17.2'`."
    served = examined.of("serving runtime")
    assert "scikit-learn 1.9.0 here, 1.8.0 there" in served["seen"]
    assert "'scikit-learn==1.8.0'" in served["mend"] and "train again" in served["mend"]
    assert doctor("python").status == 0


def test_the_license_of_alibi_detect_is_said_plainly():
    seen = doctor("python").of("extra drift")["seen"]
    for words in ("Business Source License 1.1", "production use", "a license from Seldon", "engine=scipy"):
        assert words in seen


def test_the_serving_runtimes_packages_are_the_pinned_ones():
    seen = doctor("python").of("serving runtime")["seen"]
    assert all(name in seen for name in SERVED_BY)


def test_a_home_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    examined = doctor("machine", LOOPLINE_HOME=str(tmp_path / "file" / "home"))
    assert examined.of("LOOPLINE_HOME")["mend"] == "Set LOOPLINE_HOME to a folder that you may write."
    assert doctor("machine", LOOPLINE_HOME=str(tmp_path / "home")).status == 0


def test_a_missing_git_is_told(tmp_path):
    assert "Install git" in doctor("machine", PATH=str(tmp_path)).of("git")["mend"]


def _certificate(name: str, days: float) -> bytes:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begin = now - datetime.timedelta(days=400)
    certificate = x509.CertificateBuilder(
        subject, subject, key.public_key(), x509.random_serial_number(), begin, now + datetime.timedelta(days=days)
    ).sign(key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("content", "state", "words"),
    [
        ([("Corporate root", -3)], "problem", "expired: Corporate root ("),
        ([("Corporate root", 300), ("Old root", -3)], "warning", "expired: Old root ("),
        ([("Corporate root", 3)], "warning", "ends soon: Corporate root ("),
        ([("Corporate root", 300)], "ok", "none expired"),
    ],
)
def test_certificates_that_expired_are_named(tmp_path, content, state, words):
    file = tmp_path / "ca.pem"
    file.write_bytes(b"".join(_certificate(*certificate) for certificate in content))
    found = doctor("certificates", SSL_CERT_FILE=str(file), AWS_CA_BUNDLE=str(file)).of("SSL_CERT_FILE")
    assert found["state"] == state
    assert words in found["seen"]
    assert "named by AWS_CA_BUNDLE as well" in found["seen"]
    assert state == "ok" or str(file) in found["mend"]


def test_files_that_are_missing_or_hold_no_certificate(tmp_path):
    (tmp_path / "key.pem").write_text("not a certificate")
    examined = doctor(
        "certificates", SSL_CERT_FILE=str(tmp_path / "nowhere.pem"), AWS_CA_BUNDLE=str(tmp_path / "key.pem")
    )
    assert "nowhere.pem cannot be read (No such file or directory)" in examined.of("SSL_CERT_FILE")["seen"]
    assert "Let SSL_CERT_FILE name a PEM file" in examined.of("SSL_CERT_FILE")["mend"]
    assert "holds no certificate in PEM" in examined.of("AWS_CA_BUNDLE")["seen"]


def test_elyras_runtime_and_palette_are_found(tmp_path):
    assert doctor("elyra").of("palette")["state"] == "skipped"
    for folder, name, metadata in (
        ("runtimes", "odh_dsp", {"api_endpoint": "https://x"}),
        ("component-catalogs", "loopline", {"paths": ["/opt/loopline/elyra"]}),
    ):
        path = tmp_path / "jupyter" / "metadata" / folder
        path.mkdir(parents=True)
        (path / f"{name}.json").write_text(json.dumps({"schema_name": "x", "metadata": metadata}))
    examined = doctor("elyra", JUPYTER_DATA_DIR=str(tmp_path / "jupyter"))
    assert examined.of("runtime")["seen"] == "odh_dsp"
    assert examined.of("palette")["state"] == "ok"
