"""The keys that sign and verify."""

import base64
import json
import os
import threading

import nacl.secret
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from loopline.components.delivery.keys import load_keys, public_pem
from loopline.components.errors import InputError

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
PKCS8 = serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()


def cosign_key(key, password: bytes, kind: str = "SIGSTORE", n: int = 65536) -> bytes:
    """Encrypt a key as ``cosign generate-key-pair`` does, by another implementation of scrypt than Loopline's."""
    salt, nonce = os.urandom(32), os.urandom(24)
    secret = Scrypt(salt=salt, length=32, n=n, r=8, p=1).derive(password)
    sealed = nacl.secret.SecretBox(secret).encrypt(key.private_bytes(DER, PKCS8, PLAIN), nonce).ciphertext
    box = {
        "kdf": {"name": "scrypt", "params": {"N": n, "r": 8, "p": 1}, "salt": base64.b64encode(salt).decode()},
        "cipher": {"name": "nacl/secretbox", "nonce": base64.b64encode(nonce).decode()},
        "ciphertext": base64.b64encode(sealed).decode(),
    }
    body = base64.encodebytes(json.dumps(box).encode())
    return (
        f"-----BEGIN ENCRYPTED {kind} PRIVATE KEY-----\n".encode()
        + body
        + f"-----END ENCRYPTED {kind} PRIVATE KEY-----\n".encode()
    )


@pytest.fixture(scope="module")
def key():
    return ec.generate_private_key(ec.SECP256R1())


def test_a_machine_makes_its_keys_once(tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(load_keys().fingerprint)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    folder = tmp_path / "home" / "keys"
    assert len(found) == 8 and set(found) == {load_keys().fingerprint}
    assert sorted(file.name for file in folder.iterdir()) == ["cosign.key", "cosign.pub"]
    assert (folder / "cosign.key").stat().st_mode & 0o777 == 0o600
    # A process that was killed in between left no public half.
    (folder / "cosign.pub").unlink()
    assert load_keys().fingerprint == found[0]
    assert (folder / "cosign.pub").read_bytes() == public_pem(load_keys().public)


@pytest.mark.parametrize(("kind", "n"), [("SIGSTORE", 65536), ("COSIGN", 32768)])
def test_keys_of_cosign_open_with_their_password(kind, n, key, monkeypatch, tmp_path):
    (tmp_path / "cosign.key").write_bytes(cosign_key(key, b"open sesame", kind, n))
    monkeypatch.setenv("COSIGN_PRIVATE_KEY", str(tmp_path / "cosign.key"))
    monkeypatch.setenv("COSIGN_PASSWORD", "open sesame")
    keys = load_keys()
    assert keys.private.private_numbers() == key.private_numbers() and keys.public == key.public_key()
    assert keys.verifies(keys.sign(b"data"), b"data") and not keys.verifies(keys.sign(b"data"), b"other")
    monkeypatch.setenv("COSIGN_PASSWORD", "wrong")
    with pytest.raises(InputError, match="COSIGN_PASSWORD does not open COSIGN_PRIVATE_KEY") as caught:
        load_keys()
    assert "wrong" not in str(caught.value)


def test_pem_text_and_encrypted_pkcs8_do(key, monkeypatch):
    monkeypatch.setenv("COSIGN_PRIVATE_KEY", key.private_bytes(PEM, PKCS8, PLAIN).decode())
    assert load_keys().public == key.public_key()
    sealed = key.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"open sesame"))
    monkeypatch.setenv("COSIGN_PRIVATE_KEY", sealed.decode())
    with pytest.raises(InputError, match="COSIGN_PRIVATE_KEY is encrypted: set COSIGN_PASSWORD"):
        load_keys()
    monkeypatch.setenv("COSIGN_PASSWORD", "open sesame")
    assert load_keys().public == key.public_key()
    monkeypatch.setenv("COSIGN_PASSWORD", "wrong")
    with pytest.raises(InputError, match="COSIGN_PASSWORD does not open"):
        load_keys()


def test_a_public_key_alone_verifies(key, monkeypatch):
    monkeypatch.setenv("COSIGN_PUBLIC_KEY", public_pem(key.public_key()).decode())
    keys = load_keys()
    assert keys.private is None and keys.public == key.public_key()
    with pytest.raises(InputError, match="There is no key to sign with"):
        keys.sign(b"data")


def test_halves_of_two_pairs_are_refused(key, monkeypatch):
    monkeypatch.setenv("COSIGN_PRIVATE_KEY", key.private_bytes(PEM, PKCS8, PLAIN).decode())
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    monkeypatch.setenv("COSIGN_PUBLIC_KEY", public_pem(other).decode())
    with pytest.raises(InputError, match="COSIGN_PUBLIC_KEY does not belong to COSIGN_PRIVATE_KEY"):
        load_keys()


@pytest.mark.parametrize("variable", ["COSIGN_PRIVATE_KEY", "COSIGN_PUBLIC_KEY"])
@pytest.mark.parametrize("value", ["ed25519", "p384", "damaged", "sealed badly", "no file"])
def test_other_keys_are_refused_without_showing_them(variable, value, key, monkeypatch):
    keys = {"ed25519": ed25519.Ed25519PrivateKey.generate(), "p384": ec.generate_private_key(ec.SECP384R1())}
    if value in keys:
        private = keys[value].private_bytes(PEM, PKCS8, PLAIN).decode()
        public = keys[value].public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
        text = private if variable == "COSIGN_PRIVATE_KEY" else public
    elif value == "damaged":
        text = key.private_bytes(PEM, PKCS8, PLAIN).decode().replace("M", "N")
    elif value == "sealed badly":
        text = (
            "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nc2VjcmV0\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"
        )
    else:
        text = "/nowhere/secret"
    monkeypatch.setenv(variable, text)
    with pytest.raises(InputError, match=variable) as caught:
        load_keys()
    assert "is not an ECDSA key on P-256" in str(caught.value) or "cannot be read" in str(caught.value)
    assert text not in str(caught.value) and text.splitlines()[min(1, text.count("\n"))] not in str(caught.value)
