"""A relay of this machine between git and one remote, where an outgoing proxy is between the two.

git would tell the proxy a name, which that would resolve once more. So git is given a proxy of ours, which makes its
connections to an address that was checked, whatever name it is told.
"""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import closing, suppress

__all__ = ["Relay"]

CHUNK_BYTES = 64 * 2**10
HANDSHAKE_SECONDS = 10.0
MAX_CONNECTIONS = 8
"""At a time; git has one or two."""

# SOCKS Protocol Version 5 (RFC 1928), and its username and password (RFC 1929)
VERSION, BY_PASSWORD, CONNECT, BY_NAME = 5, 2, 1, 3
SUCCEEDED, FAILED = 0, 1
NO_ADDRESS = b"\x01" + bytes(6)


class Relay:
    """A SOCKS proxy on the loopback interface that leads to one place, for whoever has its password.

    :param connect: makes a connection to that place.
    """

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self.error: OSError | None = None
        """The last one in making a connection."""
        self._password = secrets.token_hex(16)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._slots = threading.Semaphore(MAX_CONNECTIONS)
        self._thread = threading.Thread(target=self._accept, name="relay", daemon=True)

    @property
    def url(self) -> str:
        """URL of the proxy for git, with the password in it."""
        return f"socks5h://git:{self._password}@127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Relay:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        # A thread that waits for a connection does not see that its socket is closed, but that it is shut down.
        _shut_down(self._server)
        self._thread.join()
        self._server.close()
        for each in [*self._open]:
            _shut_down(each)

    def _accept(self) -> None:
        with suppress(OSError):  # it is shut down
            while True:
                git, _ = self._server.accept()
                if not self._slots.acquire(blocking=False):
                    git.close()
                    continue
                threading.Thread(target=self._serve, args=[git], name="relay to a remote", daemon=True).start()

    def _serve(self, git: socket.socket) -> None:
        try:
            with closing(git), suppress(OSError):
                self._open.add(git)
                git.settimeout(HANDSHAKE_SECONDS)
                self._check_password(git)
                self._relay(git)
        finally:
            self._open.discard(git)
            self._slots.release()

    def _check_password(self, git: socket.socket) -> None:
        version, count = _read(git, 2)
        if version != VERSION or BY_PASSWORD not in _read(git, count):
            git.sendall(bytes([VERSION, 0xFF]))
            raise ConnectionError("no method of authentication in common")
        git.sendall(bytes([VERSION, BY_PASSWORD]))
        _read(git, 1)
        _read(git, _read(git, 1)[0])
        password = _read(git, _read(git, 1)[0])
        is_right = secrets.compare_digest(password, self._password.encode())
        git.sendall(bytes([1, 0 if is_right else 1]))
        if not is_right:
            raise ConnectionError("another password")

    def _relay(self, git: socket.socket) -> None:
        _, command, _, kind = _read(git, 4)
        # What it names is not what is connected to.
        _read(git, (_read(git, 1)[0] if kind == BY_NAME else 4) + 2)
        remote = None
        try:
            remote = self._connect() if command == CONNECT else None
        except OSError as error:
            self.error = error
        if remote is None:
            git.sendall(bytes([VERSION, FAILED, 0]) + NO_ADDRESS)
            return
        with closing(remote):
            self._open.add(remote)
            for each in (git, remote):
                each.settimeout(None)
            git.sendall(bytes([VERSION, SUCCEEDED, 0]) + NO_ADDRESS)
            back = threading.Thread(target=_pump, args=[remote, git], name="relay from a remote", daemon=True)
            back.start()
            _pump(git, remote)
            back.join()
            self._open.discard(remote)


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes until it ends, and then the end."""
    with suppress(OSError):
        while chunk := source.recv(CHUNK_BYTES):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
        return
    for each in (source, target):
        _shut_down(each)


def _read(opened: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = opened.recv(count - len(data))
        if not chunk:
            raise ConnectionError("it ended early")
        data += chunk
    return data


def _shut_down(opened: socket.socket) -> None:
    with suppress(OSError):  # the peer was faster
        opened.shutdown(socket.SHUT_RDWR)
