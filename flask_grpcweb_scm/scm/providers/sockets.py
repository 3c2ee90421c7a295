"""Connections to hosts: addresses that may be called, made before HTTP begins, and shut down at a deadline.

The URL of a provider must not lead to what only this machine can reach: metadata services, databases, neighbours.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Collection, Iterator

from urllib3.connection import HTTPConnection, HTTPSConnection

__all__ = ["IPAddress", "alarm", "connect_to_first", "is_public", "make_connection", "resolve"]

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# RFC 6052, section 2.1: "64:ff9b::/96", an IPv4 address in its last 32 bits.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


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


def connect_to_first(addresses: Collection[IPAddress], port: int, deadline: float) -> socket.socket:
    """Connect to the first address that accepts; one that does not respond leaves time for the others.

    :raises OSError: when none accepts.
    """
    error = OSError("no address")
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        try:
            opened = socket.create_connection((str(address), port), remaining / left)
        except OSError as refused:
            error = refused
        else:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return opened
    raise error


@contextlib.contextmanager
def alarm(opened: socket.socket, deadline: float) -> Iterator[None]:
    """Shut the connection down at the deadline.

    The timeout of a socket is for one operation: a server that sends a byte every second outlives it.
    """
    # A descriptor of its own, because TLS takes the socket's away.
    with opened.dup() as shared:
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), _shut_down, [shared])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _shut_down(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the peer was faster
        connected.shutdown(socket.SHUT_RDWR)


def make_connection(host: str, port: int, opened: socket.socket, tls: ssl.SSLContext | None) -> HTTPConnection:
    """Make an HTTP connection of a connected socket; with TLS, unless that is None."""
    connection: HTTPConnection = HTTPConnection(host, port)
    if tls is not None:
        connection = HTTPSConnection(host, port, ssl_context=tls)
    connection._new_conn = lambda: opened  # type: ignore[method-assign]  # urllib3's hook for what connects otherwise
    return connection
