"""Connections to hosts: addresses that may be called, made before HTTP begins, and shut down at a deadline.

The URL of a provider must not lead to what only this machine can reach: metadata services, databases, neighbours.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from typing import IO
from urllib.parse import unquote

from urllib3.connection import HTTPConnection, HTTPSConnection

from flask_grpcweb_scm.scm.providers import basic

__all__ = [
    "IPAddress",
    "ProxyRefused",
    "alarm",
    "connect_to_first",
    "is_public",
    "make_connection",
    "may_be_called",
    "open_tunnel",
    "resolve",
]

MAX_RESPONSES = 100
"""The informational ones before a final one, and that."""

MAX_HEAD_BYTES = 16 * 2**10
"""Of what a proxy sends before a tunnel is open."""

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Tables of our own, the same on every Python: those of ipaddress have changed within the versions of one release.
# IANA IPv4 Special-Purpose Address Registry; multicast; and what clouds have between the addresses of the internet.
_NOT_PUBLIC_IPV4 = [
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and metadata of Alibaba Cloud
        "127.0.0.0/8",
        "168.63.129.16/32",  # the host of a virtual machine of Azure
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments, and metadata of Oracle Cloud
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
]
# "2000::/3 Global Unicast" (IANA Internet Protocol Version 6 Address Space); everything else is for something else.
_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_IPV6 = [
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "3ffe::/16",  # 6bone, returned
        "3fff::/20",  # documentation
    )
]
# Where an IPv6 address has an IPv4 address, in its last 32 bits: IPv4-mapped, and "64:ff9b::/96" (RFC 6052, 2.1).
_TRANSLATED = [ipaddress.IPv6Network("::ffff:0:0/96"), ipaddress.IPv6Network("64:ff9b::/96")]
_6TO4 = ipaddress.IPv6Network("2002::/16")
# The last 64 bits are 0:5efe and an IPv4 address (RFC 5214, section 6.1), also with the bit for a universal one.
_ISATAP = {0x00005EFE, 0x02005EFE}


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


def may_be_called(host: str, addresses: Iterable[IPAddress], allowed_hosts: Collection[str]) -> bool:
    """Tell whether a host that was resolved may be called: all of its addresses are public, or its name is allowed.

    :param allowed_hosts: ``GRPC_SCM_ALLOWED_HOSTS``.
    """
    return host in allowed_hosts or all(map(is_public, addresses))


def is_public(address: IPAddress) -> bool:
    """Tell whether an address is a public one; an IPv4 address within an IPv6 address decides."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_IPV4)
    number = int(address)
    embedded = ipaddress.IPv4Address(number & 0xFFFFFFFF)
    if any(address in network for network in _TRANSLATED):
        return is_public(embedded)
    if address in _6TO4:
        return is_public(ipaddress.IPv4Address(number >> 80 & 0xFFFFFFFF))
    if number >> 32 & 0xFFFFFFFF in _ISATAP and not is_public(embedded):
        return False
    return address in _GLOBAL_IPV6 and not any(address in network for network in _NOT_PUBLIC_IPV6)


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


class ProxyRefused(OSError):
    """Raised for a proxy that does not make a tunnel."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def open_tunnel(opened: socket.socket, addresses: Iterable[IPAddress], port: int, auth: str | None) -> None:
    """Have a proxy connect to one of the addresses of a host, not to a name, which it might resolve to another one.

    "CONNECT … the request target consists of only the host name and port number of the tunnel destination" (RFC 9110,
    section 9.3.6).

    :param opened: a connection to the proxy.
    :param auth: user and password, percent-encoded, with a colon between them.
    :raises OSError: when it does not.
    """
    # One, because another attempt would be another connection; most networks have IPv4.
    address = min(addresses, key=lambda address: address.version)
    place = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if auth:
        user, _, password = auth.partition(":")
        lines.append(f"Proxy-Authorization: {basic(unquote(user), unquote(password))}")
    opened.sendall("\r\n".join([*lines, "", ""]).encode("ascii"))
    head = b""
    # Byte by byte, because what follows is not the proxy's.
    while not head.endswith(b"\r\n\r\n"):
        byte = opened.recv(1)
        if not byte or len(head) > MAX_HEAD_BYTES:
            raise ProxyRefused(0, "the connection to the proxy broke")
        head += byte
    first = head.partition(b"\r\n")[0].decode("ascii", "replace")
    match = re.match(r"HTTP/1\.[01] ([0-9]{3})\b", first, re.ASCII)
    if match is None or not 200 <= int(match[1]) <= 299:
        raise ProxyRefused(int(match[1]) if match else 0, first)


class FinalResponse(http.client.HTTPResponse):
    """A response whose head has come to its end, after a bounded number of informational ones.

    "A client MUST be able to parse one or more 1xx responses received prior to a final response" (RFC 9110, 15.2);
    http.client does so with 100 alone, and without an end. It also takes a head that breaks off for a whole one.
    """

    def begin(self) -> None:
        """Read the head.

        :raises ConnectionError: when it breaks off.
        """
        file = self.fp
        self.fp = _Head(file)  # type: ignore[assignment]  # all that is used of it here
        try:
            self._begin()
        finally:
            # None where there is no body.
            if self.fp is not None:
                self.fp = file

    def _begin(self) -> None:
        super().begin()
        while 100 <= self.status < 200 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            # As begin() finds them.
            self.headers = self.msg = None  # type: ignore[assignment]
            self.length, self.chunked, self.will_close = None, False, True
            super().begin()

    def _read_status(self) -> tuple[str, int, str]:
        self._count: int = getattr(self, "_count", 0) + 1
        if self._count > MAX_RESPONSES:
            raise http.client.HTTPException(f"more than {MAX_RESPONSES} informational responses")
        status: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
        return status


class _Head:
    """The file of a connection while the head of a response is read, the last line of which is empty."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.close = file.close

    def readline(self, limit: int) -> bytes:
        line = self._file.readline(limit)
        if not line:
            raise ConnectionError("the head of the response breaks off")
        return line


@contextlib.contextmanager
def alarm(opened: socket.socket, deadline: float) -> Iterator[threading.Event]:
    """Shut the connection down at the deadline, after the event is set: what has come until then has no end of its own.

    The timeout of a socket is for one operation: a server that sends a byte every second outlives it.
    """
    is_over = threading.Event()

    def shut_down() -> None:
        is_over.set()
        with contextlib.suppress(OSError):  # the peer was faster
            shared.shutdown(socket.SHUT_RDWR)

    # A descriptor of its own, because TLS takes the socket's away.
    with opened.dup() as shared:
        timer = threading.Timer(max(0.0, deadline - time.monotonic()), shut_down)
        timer.daemon = True
        timer.start()
        try:
            yield is_over
        finally:
            timer.cancel()
            timer.join()


def make_connection(host: str, port: int, opened: socket.socket, tls: ssl.SSLContext | None) -> HTTPConnection:
    """Make an HTTP connection of a connected socket; with TLS, unless that is None."""
    connection: HTTPConnection = HTTPConnection(host, port)
    if tls is not None:
        connection = HTTPSConnection(host, port, ssl_context=tls)
    connection.response_class = FinalResponse
    connection._new_conn = lambda: opened  # type: ignore[method-assign]  # urllib3's hook for what connects otherwise
    return connection
