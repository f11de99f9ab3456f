"""Which addresses a step on a cluster may connect to where a parameter, a repository or another server names the host.

Whoever may start a run chooses what its steps read. From within a cluster that reaches further than from outside: the
metadata service of a cloud gives the node's credentials to everyone who asks, and a pod's loopback is its sidecars'.
So link-local and metadata addresses are refused on a cluster, and loopback where data are read from. What counts is the
address that is connected to, after names are resolved and at each redirect, however it is spelled.
"""

import contextlib
import ipaddress
import os
import socket
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError

from loopline.components.environment import on_cluster
from loopline.components.errors import InputError

#: Names, addresses and networks (``10.0.0.0/8``), comma-separated, that may be connected to all the same.
ALLOW = "LOOPLINE_ALLOW_HOSTS"
#: Link-local, among them the metadata services of most clouds; those of AWS over IPv6, Alibaba and Oracle.
_METADATA = tuple(
    map(ipaddress.ip_network, ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32", "192.0.0.192/32"))
)
#: IPv4 within IPv6 for networks that speak only that (RFC 6052).
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_address(host: str, address: str, loopback: bool = True) -> None:
    """Refuse an address that a step on a cluster may not connect to.

    Args:
        host: The host as it was named.
        address: The address it stands for.
        loopback: Whether this machine itself may be connected to.

    Raises:
        InputError: It may not.
    """
    if not on_cluster():
        return
    found = _plain_address(address)
    kind = ""
    if any(found in network for network in _METADATA if network.version == found.version):
        kind = "link-local or of a metadata service"
    elif not loopback and (found.is_loopback or found.is_unspecified):
        kind = "the pod's own"
    if kind and not _is_allowed(host, found):
        raise InputError(
            f"{host} is {found}, an address that is {kind}, which no step on a cluster connects to: name another host, "
            f"or have {ALLOW} name this one."
        )


def check_url(url: str, loopback: bool = True) -> None:
    """Refuse an address that is written out in a URL, in any spelling; names are checked when they are connected to.

    Args:
        url: The URL.
        loopback: Whether this machine itself may be connected to.

    Raises:
        InputError: A step on a cluster may not connect there.
    """
    if not on_cluster():
        return
    host = (urlsplit(url).hostname or "").rstrip(".")
    try:
        # As the C library reads addresses, which is how they are connected to: decimal, hexadecimal, octal, shortened.
        address = host if ":" in host else socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, UnicodeError):
        address = "127.0.0.1" if host == "localhost" else ""
    if address:
        check_address(host, address, loopback)


def resolve(host: str, port: int, loopback: bool = True) -> list[str]:
    """Return the addresses of a host that may be connected to.

    Args:
        host: A name or an address.
        port: The port.
        loopback: Whether this machine itself may be connected to.

    Raises:
        InputError: One of them may not be connected to.
        OSError: The name is not known.
    """
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(entry[4][0] for entry in found))
    for address in addresses:
        check_address(host, address, loopback)
    return addresses


def guard(session: requests.Session, loopback: bool = True, **options) -> requests.Session:
    """Have a session connect to no address that a step on a cluster may not connect to.

    Args:
        session: The session.
        loopback: Whether this machine itself may be connected to.
        options: What the transport of ``requests`` takes.

    Returns:
        The session.
    """
    for scheme in ("https://", "http://"):
        session.mount(scheme, GuardedAdapter(loopback, **options))
    return session


class GuardedAdapter(HTTPAdapter):
    """Transport of ``requests`` that connects to no address a step on a cluster may not connect to.

    A name is resolved once and what it stood for then is connected to, so that a server of names that answers
    something else a moment later gains nothing. A proxy resolves names itself: there, URLs alone are checked.

    Args:
        loopback: Whether this machine itself may be connected to.
        options: What the transport of ``requests`` takes.
    """

    def __init__(self, loopback: bool = True, **options):
        self._loopback = loopback
        super().__init__(**options)

    def init_poolmanager(self, *arguments, **options) -> None:
        """Make the pools of connections, once."""
        super().init_poolmanager(*arguments, **options)
        if on_cluster():
            self.poolmanager.pool_classes_by_scheme = _POOLS[self._loopback]

    def send(self, request, *arguments, **options):
        """Send a request, or the next one where a server redirects."""
        check_url(request.url, self._loopback)
        return super().send(request, *arguments, **options)


def _plain_address(address: str) -> _Address:
    """Return an address; IPv4 where it is but wrapped into IPv6."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if found.version == 6:
        inner = found.ipv4_mapped or found.sixtofour
        if found in _NAT64 or (not inner and int(found) >> 32 == 0 and int(found) > 1):
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        return inner or found
    return found


def _is_allowed(host: str, address: _Address) -> bool:
    for entry in filter(None, map(str.strip, os.environ.get(ALLOW, "").split(","))):
        try:
            network = ipaddress.ip_network(entry, strict=False)
        except ValueError:
            if entry.lower() == host.lower():
                return True
        else:
            if network.version == address.version and address in network:
                return True
    return False


def _guarded(kind: type, loopback: bool) -> type:
    """Return a class of connections that checks the address it connects to."""

    class Guarded(kind):
        def _new_conn(self) -> socket.socket:
            name = self._dns_host
            try:
                *others, last = resolve(name, self.port, loopback)
            except OSError as error:
                raise NameResolutionError(name, self, error) from error
            try:
                for address in others:
                    self._dns_host = address
                    with contextlib.suppress(ConnectTimeoutError):  # also what is refused
                        return super()._new_conn()
                self._dns_host = last
                return super()._new_conn()
            finally:
                self._dns_host = name  # what the certificate has to name

    return Guarded


def _pools(loopback: bool) -> dict[str, type]:
    """Return classes of pools by scheme whose connections are checked."""
    kinds = {"http": (HTTPConnectionPool, HTTPConnection), "https": (HTTPSConnectionPool, HTTPSConnection)}
    return {
        scheme: type(f"Guarded{pool.__name__}", (pool,), {"ConnectionCls": _guarded(connection, loopback)})
        for scheme, (pool, connection) in kinds.items()
    }


_POOLS = {loopback: _pools(loopback) for loopback in (False, True)}
