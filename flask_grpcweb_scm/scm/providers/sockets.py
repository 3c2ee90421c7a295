"""Connections that are made before HTTP begins, and shut down at a deadline."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Collection, Iterator

from urllib3.connection import HTTPConnection, HTTPSConnection

from flask_grpcweb_scm.scm.providers.addresses import IPAddress

__all__ = ["alarm", "connect_to_first", "make_connection"]


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
