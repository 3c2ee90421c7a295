"""Which network addresses a host name stands for, and which of them may be called.

A tracker's URL must not reach what only this machine can reach: metadata services, databases, neighbours.
"""

from __future__ import annotations

import ipaddress
import socket
import threading

__all__ = ["IPAddress", "is_public", "resolve"]

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# RFC 6052, section 2.1: "64:ff9b::/96", an IPv4 address in its last 32 bits.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def resolve(host: str, port: int, timeout: float | None) -> list[IPAddress]:
    """The addresses of a host, which may be an address itself, each once.

    :param timeout: in seconds; the system's resolver has none of its own.
    :raises OSError: when there is none, as :class:`TimeoutError` when the time was up.
    """
    answer: list[list[IPAddress] | OSError] = []

    def ask() -> None:
        try:
            answer.append(_ask_system(host, port))
        except OSError as error:
            answer.append(error)
        except UnicodeError:
            answer.append(OSError("not a host name"))

    thread = threading.Thread(target=ask, name=f"resolve {host}", daemon=True)
    thread.start()
    thread.join(timeout)
    if not answer:
        raise TimeoutError("the name was not resolved in time")
    if isinstance(answer[0], OSError):
        raise answer[0]
    return answer[0]


def _ask_system(host: str, port: int) -> list[IPAddress]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


def is_public(address: IPAddress) -> bool:
    """Whether an address is one of the internet, also inside of an IPv6 address that stands for an IPv4 one."""
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
