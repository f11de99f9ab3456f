"""Ports of this machine for services that stay where they are."""

import random
import socket
from collections.abc import Collection

#: Ports that Linux does not give to outgoing connections, so that one stays free while nobody listens there.
_PORTS = range(20_000, 32_000)


def free_port(taken: Collection[int] = ()) -> int:
    """Return a port that nobody uses and that no outgoing connection gets by chance.

    Args:
        taken: Ports that are promised already.
    """
    return next(port for port in random.sample(_PORTS, len(_PORTS)) if port not in taken and is_free(port))


def is_free(port: int) -> bool:
    """Return whether nobody uses a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
