"""A socket with one deadline for all operations on it, and a bound on what is read of a head."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import time

__all__ = ["MAX_HEAD_BYTES", "DeadlineSocket", "remaining"]

MAX_HEAD_BYTES = 2**18  # of all that comes before a chunk: 1xx responses, headers, extensions, trailers of HTTP
# Python refuses to wait longer than 24 days at once.
_MAX_WAIT = 86400.0


class DeadlineSocket:
    """A connected socket with one deadline for all operations on it.

    The timeout of a socket is for each operation: a server that sends a byte every second never exceeds it.
    """

    def __init__(self, connected: socket.socket) -> None:
        self.deadline: float | None = None
        """An instant of :func:`time.monotonic`, or None."""
        self.budget = MAX_HEAD_BYTES
        """Bytes that may still be read, so that no head is without an end."""
        self.ended = False
        """True once a read has found the end of the peer's data."""
        self.file: io.RawIOBase | None = None  # made from the socket last
        self._socket = connected
        self._owner = os.getpid()

    @property
    def inherited(self) -> bool:
        """True in a process that was forked from the owner of the socket."""
        return os.getpid() != self._owner

    def settimeout(self, timeout: float | None) -> None:
        """Ignore the timeout: the deadline decides."""

    def sendall(self, data: bytes) -> None:
        """Send everything.

        :raises TimeoutError: when the deadline passes.
        """
        view = memoryview(data)
        while view:
            self.arm()
            view = view[self._socket.send(view) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a file to read from, under the deadline."""
        raw = self.file = self._socket.makefile(mode, buffering=0)  # type: ignore[call-overload]
        return io.BufferedReader(_DeadlineReader(self, raw))

    def arm(self) -> None:
        """Set the timeout of the next operation to the remaining time.

        :raises TimeoutError: when none remains.
        :raises ConnectionError: in a forked child, which would read the data of its parent or write into it.
        """
        if self.inherited:
            raise ConnectionError("the connection belongs to the process that this one was forked from")
        self._socket.settimeout(remaining(self.deadline))

    def abort(self) -> None:
        """Shut down for all threads of this process; a forked child leaves it to its parent."""
        if not self.inherited:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def fileno(self) -> int:
        """Return the file descriptor, to poll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket; files made from it stay open."""
        self._socket.close()


class _DeadlineReader(io.RawIOBase):
    def __init__(self, owner: DeadlineSocket, raw: io.RawIOBase) -> None:
        self._owner = owner
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        self._owner.arm()
        if self._owner.budget < 0:
            raise ConnectionError(f"the head of the response has more than {MAX_HEAD_BYTES} bytes")
        count = self._raw.readinto(buffer)
        self._owner.ended = count == 0
        self._owner.budget -= count or 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def remaining(deadline: float | None) -> float | None:
    """Return the seconds until an instant of :func:`time.monotonic`, or until it is time to look again.

    :raises TimeoutError: when there are none.
    """
    if deadline is None:
        return None
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError("timed out")
    return min(seconds, _MAX_WAIT)
