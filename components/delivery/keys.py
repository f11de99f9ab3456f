"""The keys that images are signed with and verified by: ECDSA on P-256, in the files that cosign writes.

Source: https://github.com/sigstore/cosign, specs/SIGNATURE_SPEC.md; an encrypted key is scrypt and NaCl's secretbox
over PKCS8 (https://github.com/secure-systems-lab/go-securesystemslib, encrypted).
"""

import base64
import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from loopline.components.environment import home, home_is_kept
from loopline.components.errors import InputError, is_full

SECRET = "loopline-signing"
_ADVICE = "make a pair with `cosign generate-key-pair`"
_ALGORITHM = ec.ECDSA(hashes.SHA256())
_SEALED = ("ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY")
#: scrypt may take this much memory: cosign's own parameters take 64 MB.
_SCRYPT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Keys:
    """A pair of keys, or one half.

    Attributes:
        private: Signs; None where images are verified only.
        public: Verifies.
    """

    private: ec.EllipticCurvePrivateKey | None = field(repr=False)
    public: ec.EllipticCurvePublicKey | None

    def require_private(self) -> ec.EllipticCurvePrivateKey:
        """Return the private key.

        Raises:
            InputError: There is none.
        """
        if self.private is None:
            raise InputError(f"There is no key to sign with: set COSIGN_PRIVATE_KEY, or {_ADVICE}.")
        return self.private

    def sign(self, data: bytes) -> bytes:
        """Sign some bytes.

        Args:
            data: The bytes.

        Returns:
            The signature, ASN.1 DER.

        Raises:
            InputError: There is no private key.
        """
        return self.require_private().sign(data, _ALGORITHM)

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Return whether the public key's owner signed some bytes."""
        if self.public is None:
            raise InputError(f"There is no key to verify with: set COSIGN_PUBLIC_KEY, or {_ADVICE}.")
        try:
            self.public.verify(signature, data, _ALGORITHM)
        except InvalidSignature:
            return False
        return True

    @property
    def fingerprint(self) -> str:
        """The digest of the public key."""
        der = self.public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return f"sha256:{hashlib.sha256(der).hexdigest()}"


def load_keys() -> Keys:
    """Load the keys that the environment names, or this machine's own, which are made once.

    ``COSIGN_PRIVATE_KEY`` and ``COSIGN_PUBLIC_KEY`` hold PEM text or the path of a file; ``COSIGN_PASSWORD`` opens an
    encrypted private key.

    Returns:
        The keys; the private one is None where only the public one is given.

    Raises:
        InputError: A key cannot be read, is of another kind or does not fit the other; or this is a pod, where a key
            made now would be lost, and none is given.
    """
    private, public = os.environ.get("COSIGN_PRIVATE_KEY", ""), os.environ.get("COSIGN_PUBLIC_KEY", "")
    if not private and not public:
        if not home_is_kept():
            raise InputError(
                f"There is no key for model images: make the secret {SECRET} with `cosign generate-key-pair "
                f"k8s://NAMESPACE/{SECRET}`, which the steps read."
            )
        return _own_keys(home() / "keys")
    signer = _load_private(_pem(private, "COSIGN_PRIVATE_KEY")) if private else None
    verifier = load_public(_pem(public, "COSIGN_PUBLIC_KEY"), "COSIGN_PUBLIC_KEY") if public else signer.public_key()
    if signer and signer.public_key() != verifier:
        raise InputError("COSIGN_PUBLIC_KEY does not belong to COSIGN_PRIVATE_KEY: give both halves of one pair.")
    return Keys(signer, verifier)


def load_signer(key: str, variable: str) -> Keys:
    """Load a private key that is not the one of this environment.

    Args:
        key: PEM text or the path of a file; ``COSIGN_PASSWORD`` opens an encrypted one.
        variable: What named it, for messages.

    Returns:
        Both halves.

    Raises:
        InputError: It cannot be read or is of another kind.
    """
    private = _load_private(_pem(key, variable), variable)
    return Keys(private, private.public_key())


def read_pem(value: str, variable: str) -> str:
    """Return keys that a variable holds as PEM text, or names the file of.

    Args:
        value: What it says.
        variable: Its name, for messages.

    Raises:
        InputError: The file cannot be read or is no text.
    """
    try:
        return _pem(value, variable).decode()
    except UnicodeDecodeError:
        raise InputError(f"The file that {variable} names is no text: give keys as PEM.") from None


def _own_keys(folder: Path) -> Keys:
    private = folder / "cosign.key"
    try:
        if not private.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            _write_once(private, pem, 0o600)
        signer = _load_private(private.read_bytes())
        public = folder / "cosign.pub"
        if not public.exists():
            _write_once(public, public_pem(signer.public_key()), 0o644)
    except OSError as error:
        if is_full(error):
            raise  # the step says so
        raise InputError(
            f"The keys in {folder} cannot be used ({error.strerror}): set COSIGN_PRIVATE_KEY, or LOOPLINE_HOME to a "
            "folder that may be written."
        ) from None
    return Keys(signer, signer.public_key())


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return a public key as the PEM that cosign and openssl read."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _write_once(path: Path, data: bytes, mode: int) -> None:
    """Write a file whole, unless somebody was faster: then theirs stands."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(handle, "wb") as stream:
            stream.write(data)
        Path(temporary).chmod(mode)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()


def _pem(value: str, variable: str) -> bytes:
    if "-----BEGIN" in value:
        return value.encode()
    try:
        return Path(value).read_bytes()
    except OSError as error:
        # Not the value: what was meant to be a path may be a key.
        raise InputError(
            f"The file that {variable} names cannot be read ({error.strerror}): give its path, or the key as PEM text."
        ) from None


def load_public(pem: bytes, variable: str) -> ec.EllipticCurvePublicKey:
    """Load a public key.

    Args:
        pem: The key as PEM.
        variable: What named it, for messages.

    Raises:
        InputError: It is no ECDSA key on P-256.
    """
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    return _p256(key, ec.EllipticCurvePublicKey, variable)


def _load_private(pem: bytes, variable: str = "COSIGN_PRIVATE_KEY") -> ec.EllipticCurvePrivateKey:
    password = os.environ.get("COSIGN_PASSWORD", "").encode()
    try:
        if any(f"-----BEGIN {kind}-----".encode() in pem for kind in _SEALED):
            key = serialization.load_der_private_key(_unseal(pem, password), None)
        else:
            encrypted = b"ENCRYPTED" in pem
            key = serialization.load_pem_private_key(pem, password if encrypted and password else None)
    except TypeError:  # it is encrypted
        raise InputError(f"{variable} is encrypted: set COSIGN_PASSWORD to its password.") from None
    except _WrongPasswordError:
        raise InputError(f"COSIGN_PASSWORD does not open {variable}: give the password of that key.") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        if "password" in str(error).lower() or "decrypt" in str(error).lower():
            raise InputError(f"COSIGN_PASSWORD does not open {variable}: give the password of that key.") from None
        key = None
    return _p256(key, ec.EllipticCurvePrivateKey, variable)


def _p256(key, kind: type, variable: str):
    if not isinstance(key, kind) or not isinstance(key.curve, ec.SECP256R1):
        raise InputError(f"{variable} is not an ECDSA key on P-256 in PEM: {_ADVICE}.")
    return key


class _WrongPasswordError(Exception):
    """The password does not open a key."""


def _unseal(pem: bytes, password: bytes) -> bytes:
    """Decrypt a private key as cosign encrypts it; returns PKCS8 in DER."""
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    body = b"".join(line for line in pem.splitlines() if line and not line.startswith(b"-----") and b":" not in line)
    try:
        box = json.loads(base64.b64decode(body))
        kdf, cipher, sealed = box["kdf"], box["cipher"], base64.b64decode(box["ciphertext"])
        if (kdf["name"], cipher["name"]) != ("scrypt", "nacl/secretbox"):
            raise ValueError("unknown encryption")
        cost = {name.lower(): int(kdf["params"][name]) for name in ("N", "r", "p")}
        salt, nonce = base64.b64decode(kdf["salt"]), base64.b64decode(cipher["nonce"])
        secret = hashlib.scrypt(password, salt=salt, **cost, maxmem=_SCRYPT_BYTES, dklen=SecretBox.KEY_SIZE)
        return SecretBox(secret).decrypt(sealed, nonce)
    except CryptoError:
        raise _WrongPasswordError from None
    except (KeyError, TypeError) as error:
        raise ValueError(str(error)) from None
