"""Which addresses may be reached: no private, loopback, link-local or otherwise inner ones, unless they are allowed.

The address is checked where the socket is made, so it is the one that is connected to: whatever a name resolved to
before, whatever a literal looked like, and at every new connection.
"""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

_NAT64 = ip_network("64:ff9b::/96")
_REFUSED = "which nodes must not reach"


class AddressRefused(OSError):
    """An address that must not be connected to."""


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """networks: inner ones that may be reached. only_listed: nothing else may (unencrypted connections)."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    only_listed: bool = False

    def problem(self, address: str) -> str | None:
        """Why an address must not be connected to, None when it may."""
        found = _plain(ip_address(address.partition("%")[0]))
        if any(found in network for network in self.networks if network.version == found.version):
            return None
        if self.only_listed:
            return f"{found} without encryption, {_REFUSED}; use https, or let the worker allow its network"
        if not found.is_global or _is_inner(found):
            return f"{found} is an inner address, {_REFUSED}; the worker can allow its network"
        return None

    def make_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Socket for what getaddrinfo gave. Raises AddressRefused."""
        family, kind, protocol, _, address = info
        problem = self.problem(address[0])
        if problem is not None:
            raise AddressRefused(problem)
        return socket.socket(family=family, type=kind, proto=protocol)


def _is_inner(address: IPv4Address | IPv6Address) -> bool:
    """Whether ipaddress calls an address global that is none: of groups, of a site, or of no use that IANA knows, as
    the NAT64 networks of one's own (64:ff9b:1::/48) and ::127.0.0.1."""
    site = isinstance(address, IPv6Address) and address.is_site_local
    return address.is_multicast or address.is_reserved or site


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address inside of an IPv6 one, where there is one."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        return inner or address
    return address


def is_refusal(error: BaseException) -> bool:
    """Whether a connection failed because of what `make_socket` said (several addresses: of each)."""
    return isinstance(error, AddressRefused) or _REFUSED in str(error)


def host_allowed(host: str, patterns: Iterable[str]) -> bool:
    """Whether a host name fits one of the patterns, `*` in them stands for anything."""
    return any(fnmatch(host.lower(), pattern.lower()) for pattern in patterns)
