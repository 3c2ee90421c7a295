"""Peers that stop: a call never waits for one that no longer reads or sends for longer than the call may take.

WSGI has no timeouts, and a service function has control only between two messages. Where the server gives its socket,
as gunicorn does for HTTP/1.1, the connection of a call is cut: soon after the deadline, or, without one, when the peer
has neither taken nor sent a byte for the idle timeout. What is cut fails as if the client had left.
"""

from __future__ import annotations

import array
import contextlib
import itertools
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.rpc import IncomingCall

if sys.platform != "win32":
    import fcntl
    import termios

__all__ = ["SOCKET_KEY", "PatientAgain", "SocketCall", "call_class", "end_reading", "impatient", "strangers_body"]

SOCKET_KEY = "gunicorn.socket"
"""The key of the WSGI environment that has the socket."""

LOOK_SECONDS = 0.25
"""Between two looks at the open calls: a deadline is noticed this much later at most."""

STATUS_SECONDS = 0.5
"""After the deadline, for the peer to take what is sent."""

STRANGER_SECONDS = 30.0
"""For all of a message, of a caller who is known by its signature only."""

STALL_SECONDS = 2.0
"""For the next bytes of it."""

SHORTEST_SECONDS = 0.001
"""As a timeout of a socket: 0 means that it does not wait at all, which TLS tells by another error."""

DRAIN_SECONDS = 0.5
"""For the next bytes of a body that nobody needs."""


def call_class(environ: dict[str, Any]) -> type[IncomingCall]:
    """The class of the call that a request with :data:`SOCKET_KEY` makes."""
    return IncomingCall if _socket(environ) is None else SocketCall


def _socket(environ: dict[str, Any]) -> socket.socket | None:
    # One of HTTP/2 is shared with other calls.
    return environ.get(SOCKET_KEY) if environ.get("SERVER_PROTOCOL") in {"HTTP/1.0", "HTTP/1.1"} else None


class SocketCall(IncomingCall):
    """A call whose connection can be cut."""

    connection: socket.socket | None = None
    """The socket, until the call is over."""
    sends_since: float | None = None
    """The instant, after the deadline, since which the peer takes nothing; None when it takes everything."""

    @property
    def message_bytes(self) -> bytes:
        """See :attr:`IncomingCall.message_bytes`: a stranger is waited for with less patience than a caller.

        Else whoever sends a signature, right or not, would hold a thread with the rest of a message.
        """
        connection = None if self.connection else _socket(self.environ)
        if connection is None:
            return super().message_bytes
        deadline, latest = self.deadline, time.monotonic() + STRANGER_SECONDS
        with _waiting(connection, STALL_SECONDS):
            self.connection, self.deadline = connection, latest if deadline is None else min(deadline, latest)
            _watch.add(self)
            try:
                return super().message_bytes
            finally:
                _watch.remove(self)
                self.connection, self.deadline = None, deadline

    def open(self) -> None:
        """See :meth:`IncomingCall.open`; from then on the peer is waited for with patience that ends."""
        super().open()
        self.connection = _socket(self.environ)
        assert self.connection is not None
        if self.deadline is None:
            self.connection.settimeout(self.endpoint.settings.idle_timeout)
        else:
            if _is_tls(self.connection):
                _hurry_reading(self, self.connection, time.monotonic(), self.deadline)
            _watch.add(self)

    def close(self) -> None:
        """End the patience: the connection may go on to another request.

        A response that is still to be sent has as much time as the call had left.
        """
        connection, self.connection = self.connection, None
        if connection is not None and self.deadline is not None:
            _watch.remove(self)
            with contextlib.suppress(OSError):
                connection.settimeout(max(self.deadline - time.monotonic(), 0) + STATUS_SECONDS)


class _Body:
    """A body that is being read, of a request that is no call."""

    is_read = False

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.deadline = time.monotonic() + STRANGER_SECONDS


@contextlib.contextmanager
def strangers_body(environ: dict[str, Any]) -> Iterator[None]:
    """Wait as long for the body of a request, which is read while the block runs, as for a stranger's message."""
    connection = _socket(environ)
    if connection is None:
        yield
        return
    body = _Body(connection)
    with _waiting(connection, STALL_SECONDS):
        _watch.add(body)
        try:
            yield
        finally:
            _watch.remove(body)


class PatientAgain:
    """The response to a call, after which its connection is as patient as before: others use it, such as views.

    Of the workers of gunicorn, gevent's keep the timeout of a connection from one request to the next.
    """

    def __init__(self, environ: dict[str, Any], respond: Callable[[], Iterable[bytes]]) -> None:
        self._connection = _socket(environ)
        self._timeout = None if self._connection is None else self._connection.gettimeout()
        self._pieces = respond()
        self._is_under_way = False

    def __iter__(self) -> Iterator[bytes]:
        return itertools.chain(self._note(True), self._pieces, self._note(False))

    def _note(self, is_under_way: bool) -> Iterator[bytes]:
        self._is_under_way = is_under_way
        yield from ()

    def close(self) -> None:
        """Close the response, and the connection of one that the server could not send to its end.

        gunicorn's sync worker would wait two seconds more for the peer.
        """
        try:
            close: Callable[[], object] = getattr(self._pieces, "close", lambda: None)
            close()
        finally:
            if self._connection is not None:
                if self._is_under_way:
                    _shut_down(self._connection, socket.SHUT_RDWR)
                # The server may have closed it meanwhile.
                with contextlib.suppress(OSError):
                    self._connection.settimeout(self._timeout)


class _Watch:
    """The calls with a deadline and a socket, and a thread that looks at them while there are any."""

    def __init__(self) -> None:
        self._renew()
        renew_after_fork(self, _Watch._renew)

    def _renew(self) -> None:
        self._calls: dict[int, SocketCall | _Body] = {}
        self._is_running = False

    def add(self, call: SocketCall | _Body) -> None:
        self._calls[id(call)] = call
        # Two threads would do no harm.
        if not self._is_running:
            self._is_running = True
            threading.Thread(target=self._run, name="flask_grpcweb_scm deadlines", daemon=True).start()

    def remove(self, call: SocketCall | _Body) -> None:
        self._calls.pop(id(call), None)

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            now = time.monotonic()
            for call in self._calls.copy().values():
                # Each looked at once: the thread of the call may let go of them.
                deadline, connection = call.deadline, call.connection
                if deadline is not None and connection is not None:
                    _hurry_reading(call, connection, now, deadline)
                    if now >= deadline and isinstance(call, SocketCall):
                        _hurry_sending(call, connection, now)


def _hurry_reading(call: SocketCall | _Body, connection: socket.socket, now: float, deadline: float) -> None:
    """Have a thread that waits for the rest of a request go on at the deadline; it can still send the status."""
    if call.is_read:
        return
    if _is_tls(connection):
        # TLS ends for good, in both directions, where the peer's end does not tell of its own. A read that has begun
        # keeps the time that it had then.
        connection.settimeout(max(deadline - now, SHORTEST_SECONDS))
    elif now >= deadline:
        _shut_down(connection, socket.SHUT_RD)


def _is_tls(connection: socket.socket) -> bool:
    return hasattr(connection, "cipher")


def _hurry_sending(call: SocketCall, connection: socket.socket, now: float) -> None:
    """Cut the connection of a call that is over its deadline, if the peer takes nothing."""
    if not _is_sending(connection):
        call.sends_since = None
    elif call.sends_since is None:
        call.sends_since = now
    elif now >= call.sends_since + STATUS_SECONDS:
        _shut_down(connection, socket.SHUT_RDWR)


def _is_sending(connection: socket.socket) -> bool:
    """Return whether the peer has not taken everything that was sent to it."""
    if sys.platform == "win32":  # where gunicorn is not
        return False
    unsent = array.array("i", [0])
    try:
        fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, unsent)
    except (OSError, ValueError):  # the server has closed it meanwhile
        return False
    return unsent[0] > 0


_watch = _Watch()


def _shut_down(connection: socket.socket, how: int) -> None:
    # Not by the method of an SSLSocket, which is in use in another thread and would lose its state.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, how)


def end_reading(environ: dict[str, Any]) -> None:
    """Have the server close the connection after the response: what comes of the request would be read as the next one.

    gunicorn takes no notice of the header ``Connection``, and waits for the rest of a body for some seconds.
    """
    connection = _socket(environ)
    if connection is not None:
        _shut_down(connection, socket.SHUT_RD)


def impatient(environ: dict[str, Any]) -> contextlib.AbstractContextManager[None]:
    """Wait only for a moment for each of the next bytes of a request, while the block runs."""
    connection = _socket(environ)
    return contextlib.nullcontext() if connection is None else _waiting(connection, DRAIN_SECONDS)


@contextlib.contextmanager
def _waiting(connection: socket.socket, seconds: float) -> Iterator[None]:
    timeout = connection.gettimeout()
    connection.settimeout(seconds)
    try:
        yield
    finally:
        connection.settimeout(timeout)
