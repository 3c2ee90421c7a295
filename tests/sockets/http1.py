"""HTTP/1.1 by hand, over one socket: what is sent is any bytes, what comes back is taken apart strictly."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType

__all__ = ["Closed", "Connection", "Response", "chunked", "request"]

PATIENCE = 20.0
"""Seconds that any answer may take on a busy machine."""


class Closed(Exception):
    """The server has closed the connection before, or inside, a response."""


@dataclass
class Response:
    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    """The body as it was cut, when it was sent in chunks."""

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key.lower() == name)

    @property
    def closes(self) -> bool:
        return self.header("connection").lower() == "close"


def request(
    target: str,
    body: bytes = b"",
    headers: Iterable[tuple[str, str]] = (),
    *,
    verb: str = "POST",
    version: str = "HTTP/1.1",
    length: int | str | None = -1,
) -> bytes:
    """The bytes of a request.

    :param length: the Content-Length; -1 for the true one, None for none.
    """
    lines = [f"{verb} {target} {version}", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers]
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length == -1 else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


class Connection:
    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self._socket = tls.wrap_socket(self._socket, server_hostname="localhost")
        self._received = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes, *, step: int = 0, pause: float = 0.0005) -> None:
        """Send, in pieces of `step` bytes with pauses between them; a server that has closed is not an error here."""
        pieces = [data[i : i + step] for i in range(0, len(data), step)] if step else [data]
        try:
            for piece in pieces:
                self._socket.sendall(piece)
                time.sleep(pause if step else 0)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def end_sending(self) -> None:
        # An error says that the server has closed already.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def response(self, *, to: str = "POST") -> Response:
        """Read one response; interim ones (100 Continue) are passed over.

        :raises Closed: when the connection ends first.
        """
        response = self.head()
        while response.status < 200:
            response = self.head()
        if to != "HEAD" and response.status not in {204, 304}:
            response.chunks = list(self.chunks(response))
            response.body = b"".join(response.chunks)
        return response

    def head(self) -> Response:
        lines = [line.decode("latin-1") for line in self._until(b"\r\n\r\n").split(b"\r\n")]
        protocol, status, *_ = lines[0].split(" ")
        assert protocol in {"HTTP/1.0", "HTTP/1.1"}, lines[0]
        headers = [tuple(line.split(": ", 1)) for line in lines[1:]]
        return Response(int(status), [(name, value) for name, value in headers])

    def chunks(self, response: Response) -> Iterator[bytes]:
        """The pieces of the body as the server cut it."""
        if response.header("transfer-encoding") == "chunked":
            while size := int(self._until(b"\r\n").partition(b";")[0], 16):
                yield self._exactly(size)
                assert self._exactly(2) == b"\r\n"
            assert self._until(b"\r\n") == b""
        elif length := response.header("content-length"):
            yield self._exactly(int(length))
        else:
            yield self._rest()

    def read_some(self, size: int) -> None:
        """Wait for so many bytes, of whatever they are, and drop them."""
        self._exactly(size)

    def reset(self) -> None:
        """Go away as a process does that dies."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def read_to_end(self) -> bytes:
        """Everything until the server closes the connection, in whatever way."""
        return self._rest()

    def is_closed(self) -> bool:
        """Whether the server closes the connection, within a second."""
        self._socket.settimeout(1)
        try:
            return self._received == b"" and self._socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def _until(self, end: bytes) -> bytes:
        while end not in self._received:
            self._receive()
        data, _, self._received = self._received.partition(end)
        return data

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._receive()
        data, self._received = self._received[:size], self._received[size:]
        return data

    def _rest(self) -> bytes:
        try:
            while True:
                self._receive()
        except Closed:
            return self._exactly(len(self._received))

    def _receive(self) -> None:
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError as error:
            raise Closed("the connection was reset") from error
        if not data:
            raise Closed(f"the connection ended after {self._received[-200:]!r}")
        self._received += data
