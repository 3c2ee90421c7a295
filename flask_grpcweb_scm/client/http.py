"""HTTP: the interface that calls use, and a pool of connections to one server."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util import Url, parse_url

from flask_grpcweb_scm.client.deadline_socket import MAX_HEAD_BYTES, DeadlineSocket, remaining

__all__ = [
    "Exchange",
    "Head",
    "Pairs",
    "Request",
    "SocketTransport",
    "Transport",
    "TransportError",
    "parse_base_url",
]

Pairs = list[tuple[str, str]]


class TransportError(Exception):
    """Raised for a missing or incomplete HTTP response: an error of the network, of the server, or the deadline."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to send."""

    path: str
    headers: Pairs = field(repr=False)
    """Credentials are among them."""
    body: bytes | Iterable[bytes] = field(repr=False)
    """Chunks when the requests are a stream."""
    deadline: float | None
    """An instant of :func:`time.monotonic`, or None."""
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class Head:
    """A response without its body."""

    status: int
    headers: Pairs
    """Names in lower case."""


class Exchange(Protocol):
    """One request and its response."""

    def start(self) -> Head:
        """Send the request and wait for the head of the response.

        :raises TransportError: when that fails, is aborted, or exceeds the deadline.
        """

    def read(self) -> bytes:
        """Wait for a chunk of the body; ``b""`` at its end.

        :raises TransportError: as :meth:`start`, and when the body is cut short.
        """

    def abort(self) -> None:
        """Make an operation fail that another thread waits for."""

    def close(self) -> None:
        """Release the resources of the exchange, at any stage."""


class Transport(Protocol):
    """Sends requests to one server; used by several threads at once."""

    def exchange(self, request: Request) -> Exchange:
        """Prepare a request; nothing is sent yet."""

    def close(self) -> None:
        """Close idle connections."""


# Sockets, with urllib3's connections

MAX_IDLE_CONNECTIONS = 10
CHUNK_BYTES = 65536

# Reasons of OpenSSL for a response that is no record of TLS.
_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
_ERRORS = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError)


def parse_base_url(url: str) -> Url:
    """Parse the URL of a server.

    :raises ValueError: for a URL that is not ``http://`` or ``https://``, a host and a path.
    """
    parsed = Url()
    with contextlib.suppress(ValueError):
        parsed = parse_url(url)
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        shown = repr(url) if "@" not in url else "what is given"  # which may have a password
        raise ValueError(f"{shown} is not the URL of a server; write it as https://host:port")
    if parsed.auth or parsed.query or parsed.fragment:
        raise ValueError(
            f"the URL of {parsed.host} may have a path, but no user, query or fragment; is there a token=?"
        )
    return parsed


class SocketTransport:
    """Keeps up to ten idle connections to a server, for the process that opened them.

    :param ca_certs: path of a PEM file with the certificates to trust; None for the system's.
    :raises OSError: when the file cannot be read.
    :raises ValueError: when it has none.
    """

    def __init__(self, url: Url, *, ca_certs: str | None = None) -> None:
        self._host = (url.host or "").strip("[]")
        self._port = url.port
        self._ca_certs = ca_certs
        self._tls = _tls_context(ca_certs) if url.scheme == "https" else None
        # A deque needs no lock, which a fork could leave locked in the child.
        self._idle: deque[HTTPConnection] = deque()

    def exchange(self, request: Request) -> Exchange:
        """Prepare a request; it acquires a connection when it is started."""
        return SocketExchange(self, request)

    def acquire(self) -> HTTPConnection | None:
        """Return an idle connection, if there is one."""
        with contextlib.suppress(IndexError):
            while True:
                connection = self._idle.pop()
                opened = connection.sock
                if isinstance(opened, DeadlineSocket) and not opened.inherited and connection.is_connected:
                    return connection
                connection.close()
        return None

    def release(self, connection: HTTPConnection) -> None:
        """Keep a connection whose response has been read to its end."""
        self._idle.append(connection)
        with contextlib.suppress(IndexError):
            while len(self._idle) > MAX_IDLE_CONNECTIONS:
                self._idle.popleft().close()

    def close(self) -> None:
        """Close idle connections."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def connect(self, deadline: float | None) -> HTTPConnection:
        """Open a connection.

        :raises OSError: when that fails, or takes until the deadline; also urllib3's own errors.
        """
        timeout = remaining(deadline)
        if self._tls is None:
            connection = HTTPConnection(self._host, self._port, timeout=timeout)
        else:
            connection = HTTPSConnection(self._host, self._port, timeout=timeout, ssl_context=self._tls)
        try:
            connection.connect()
        except BaseException as error:
            connection.close()
            if isinstance(error, ssl.SSLCertVerificationError) and self._ca_certs is not None:
                raise TransportError(f"{error}; trusted are the certificates of {self._ca_certs!r}") from error
            if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
                text = f"the server responds without TLS ({error.reason}): http://, not https://"
                raise TransportError(text) from error
            raise
        connection.response_class = _FinalResponse
        assert connection.sock is not None
        # A DeadlineSocket has only those methods of a socket that http.client and urllib3 use.
        connection.sock = DeadlineSocket(connection.sock)
        return connection


class SocketExchange:
    """One request on a connection of its own."""

    def __init__(self, transport: SocketTransport, request: Request) -> None:
        self._transport = transport
        self._request = request
        self._connection: HTTPConnection | None = None
        self._socket: DeadlineSocket | None = None
        self._response: urllib3.BaseHTTPResponse | None = None
        self._lock = threading.Lock()
        self._aborted = False
        self._complete = False
        self._is_sent = False
        """True once the whole request has been written."""

    def start(self) -> Head:
        """Send the request and wait for the head of the response."""
        with _translated():
            idle = self._transport.acquire()
            if idle is None or not self._start_on_idle(idle):
                self._start_on(self._transport.connect(self._request.deadline))
        assert self._response is not None
        headers = [(name.lower(), value) for name, value in self._response.headers.iteritems()]
        return Head(self._response.status, headers)

    def _start_on_idle(self, connection: HTTPConnection) -> bool:
        """Return False when the server has closed the connection meanwhile, and cannot have got the request.

        Without its last byte it serves none: then the request may be sent again, whatever its method does.
        """
        try:
            self._start_on(connection)
        except _ERRORS:
            if self._is_sent or self._aborted or not isinstance(self._request.body, bytes):
                raise
            connection.close()
            return False
        return True

    def _start_on(self, connection: HTTPConnection) -> None:
        self._connection = connection
        assert isinstance(connection.sock, DeadlineSocket)
        self._socket = connection.sock
        self._socket.deadline = self._request.deadline
        if self._aborted:
            raise TransportError("the call was cancelled")
        self._socket.budget = MAX_HEAD_BYTES
        self._send(connection)
        self._response = connection.getresponse()
        # http.client accepts a head that is cut short: "grpc-status: 1" of "grpc-status: 14".
        if self._socket.ended:
            raise TransportError("the connection was closed in the head of the response")

    def _send(self, connection: HTTPConnection) -> None:
        request = self._request
        # A server may respond before it has read everything, and close.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(
                request.method,
                request.path,
                body=request.body,
                headers=dict(request.headers),
                preload_content=False,
                decode_content=False,
            )
            self._is_sent = True

    def read(self) -> bytes:
        """Wait for a chunk of the body; ``b""`` at its end."""
        assert self._response is not None
        with _translated():
            if self._socket is not None:
                self._socket.budget = MAX_HEAD_BYTES + CHUNK_BYTES
            chunk = self._response.read1(CHUNK_BYTES)
        self._complete = not chunk
        return chunk

    def abort(self) -> None:
        """Shut down the socket, which wakes the thread that reads from it."""
        with self._lock:
            self._aborted = True
            if self._socket is not None:
                self._socket.abort()

    def close(self) -> None:
        """Release the connection when its response was read to the end; else close it."""
        # A released connection belongs to another call: aborting this one must not touch it.
        with self._lock:
            opened, self._socket = self._socket, None
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._complete and not self._aborted and not connection.is_closed:
            self._transport.release(connection)
            return
        if self._response is not None:
            self._response.close()
        connection.close()
        # Of a response that urllib3 refuses, such as one with two lengths, nobody else has the file.
        if opened is not None and opened.file is not None:
            opened.file.close()


class _FinalResponse(http.client.HTTPResponse):
    """A response that is not preceded by others.

    "A client MUST be able to parse one or more 1xx responses received prior to a final response" (RFC 9110, 15.2);
    http.client does so with 100 alone.
    """

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        while 100 <= self.status < 200 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            # As begin() finds them.
            self.headers = self.msg = None  # type: ignore[assignment]
            self.length, self.chunked, self.will_close = None, False, True
            super().begin()


def _tls_context(ca_certs: str | None) -> ssl.SSLContext:
    if ca_certs is None:
        return ssl.create_default_context()
    # The errors of ssl do not name the file, and an empty name is the system's certificates to it.
    with open(ca_certs, "rb"):
        try:
            return ssl.create_default_context(cafile=ca_certs)
        except ssl.SSLError:
            raise ValueError(f"ca_certs: {ca_certs!r} has no certificate in PEM") from None


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        raise TransportError(str(error) or type(error).__name__) from error
