"""Addresses: paths of resources, network addresses of hosts, and which of them may be called.

The URL of a provider must not lead to what only this machine can reach: metadata services, databases, neighbours.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from urllib.parse import quote

__all__ = ["IPAddress", "is_public", "path_of", "resolve"]

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# RFC 6052, section 2.1: "64:ff9b::/96", an IPv4 address in its last 32 bits.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def path_of(*segments: str | int) -> str:
    """Join the segments of a path, percent-encoded: none can become two, or climb.

    :raises ValueError: for a segment that is empty, ``.`` or ``..``.
    """
    if {"", ".", ".."} & set(map(str, segments)):
        raise ValueError(f"no path is made of {segments!r}")
    return "".join("/" + quote(str(segment), safe="") for segment in segments)


def resolve(host: str, port: int, timeout: float | None) -> list[IPAddress]:
    """Return the addresses of a host, which may be an address itself, each once.

    :param timeout: in seconds; the system's resolver has none of its own.
    :raises OSError: when there is none; :class:`TimeoutError` after the timeout.
    """
    result: list[list[IPAddress] | OSError] = []

    def run() -> None:
        try:
            result.append(_resolve(host, port))
        except OSError as error:
            result.append(error)
        except UnicodeError:
            result.append(OSError("not a host name"))

    thread = threading.Thread(target=run, name=f"resolve {host}", daemon=True)
    thread.start()
    thread.join(timeout)
    if not result:
        raise TimeoutError("the name was not resolved in time")
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


def _resolve(host: str, port: int) -> list[IPAddress]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


def is_public(address: IPAddress) -> bool:
    """Tell whether an address is a public one; an IPv4 address within an IPv6 address decides."""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = _embedded(address)
        if embedded is not None:
            return is_public(embedded)
        if address.is_reserved or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
