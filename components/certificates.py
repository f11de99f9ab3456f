"""Why a server cannot be spoken to over TLS, as a sentence and as the error to raise."""

from loopline.components.errors import InputError, TemporaryError

_OTHER_NAME = ("doesn't match", "Hostname mismatch", "IP address mismatch")


def refusal(where: str, error: object, setting: str) -> InputError | TemporaryError:
    """Return the error to raise where an encrypted connection does not come about.

    Args:
        where: The server's address.
        error: What the TLS library said, or the error that holds it.
        setting: The variable that names the file with the certificate authorities.

    Returns:
        A ``TemporaryError`` where the connection was only cut, and an ``InputError`` where trying again is no use.
    """
    return (TemporaryError if is_cut(str(error)) else InputError)(explain(where, str(error), setting))


def explain(where: str, error: str, setting: str) -> str:
    """Say what is wrong with a certificate or a connection, a colon, and what to do.

    Args:
        where: The server's address.
        error: What the TLS library said.
        setting: The variable that names the file with the certificate authorities.

    Returns:
        The sentence.
    """
    if is_cut(error):
        return f"{where} ended the encrypted connection before it answered: try again."
    if "expired" in error:
        return f"The certificate of {where} has expired: renew it at the server, or set this machine's clock right."
    if "not yet valid" in error:
        return f"The certificate of {where} is not valid yet: set this machine's clock right."
    if any(sign in error for sign in _OTHER_NAME):
        return f"The certificate of {where} is for another name: use the name that it is for."
    if is_no_file(error):
        return f"The certificate authorities that {setting} names are no PEM file: name one."
    if is_unknown(error):
        return f"The certificate of {where} is not trusted: set {setting} to a file with its certificate authority."
    return f"{where} does not speak TLS as it should: check host and port."


def is_cut(error: str) -> bool:
    """Return whether the connection just ended in the middle, which says nothing of a certificate."""
    return "EOF" in error or "connection has been closed" in error


def is_unknown(error: str) -> bool:
    """Return whether it is only the authority that is not known."""
    return "CERTIFICATE_VERIFY_FAILED" in error and not any(
        sign in error for sign in ("expired", "not yet valid", *_OTHER_NAME)
    )


def is_no_file(error: str) -> bool:
    """Return whether the file with the authorities holds none."""
    return "NO_CERTIFICATE" in error or "PEM lib" in error
