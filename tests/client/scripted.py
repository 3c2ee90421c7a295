"""A server over real sockets that sends what a test tells it to."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

from tests.echo_pb2 import EchoReply
from tests.grpcweb import PROTO, frame

__all__ = [
    "CHUNKED",
    "OK",
    "REPLY",
    "UNTIL_CLOSED",
    "Peer",
    "ScriptedServer",
    "chunk",
    "http",
    "respond",
    "serve",
    "trailers",
]

Script = Callable[["Peer"], None]


def trailers(text: str = "grpc-status: 0\r\n", flags: int = 0x80) -> bytes:
    return frame(text.encode(), flags)


OK = trailers()
REPLY = frame(EchoReply(text="hi").SerializeToString())
CHUNKED = f"HTTP/1.1 200 OK\r\ncontent-type: {PROTO}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
UNTIL_CLOSED = f"HTTP/1.1 200 OK\r\ncontent-type: {PROTO}\r\nconnection: close\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def http(body: bytes = b"", *headers: str, status: str = "200 OK", content_type: str = PROTO) -> bytes:
    """A response with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Peer:
    """A connected client, and the request that it has sent."""

    def __init__(self, server: ScriptedServer, connection: socket.socket) -> None:
        self.server = server
        self.connection = connection
        self.file = connection.makefile("rb")
        self.target = ""
        """The first line of the request."""
        self.body = b""

    def read_request(self) -> bool:
        """Read a request; false when there is none any more."""
        head = {}
        self.target = self.file.readline().decode().strip()
        if not self.target:
            return False
        while line := self.file.readline().strip():
            name, _, value = line.decode().partition(": ")
            head[name.lower()] = value
        self.body = self.file.read(int(head.get("content-length", 0)))
        self.server.requests.append(head)
        return True

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def drip(self, data: bytes, seconds: float) -> None:
        """Send a byte at a time, until the client has gone or the test is over."""
        for byte in data:
            if self.server.stopped.wait(seconds):
                return
            self.send(bytes([byte]))

    def wait(self) -> None:
        """Send nothing until the test is over."""
        self.server.stopped.wait(10)

    def shut_down(self) -> None:
        """Close this side, as http.client does not see it in the response."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def respond(response: bytes, *, close: bool = False) -> Script:
    def script(peer: Peer) -> None:
        peer.send(response)
        if close:
            peer.shut_down()

    return script


class ScriptedServer:
    """Runs a script for each request of each connection."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.requests: list[dict[str, str]] = []
        self.connections = 0
        self.stopped = threading.Event()
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.port: int = self._listener.getsockname()[1]
        self.url = f"https://localhost:{self.port}" if tls else f"http://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=[connection])
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # Clients go away in the middle of scripts: that is what most of them are for.
        with contextlib.suppress(OSError), connection:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                peer = Peer(self, connection)
                with peer.file:
                    while peer.read_request():
                        self.script(peer)

    def wait_until_closed(self) -> None:
        """Wait until it has closed all connections that it has taken."""
        for thread in self._threads[1:]:
            thread.join(10)
            assert not thread.is_alive()

    def stop(self) -> None:
        self.stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join(10)
        assert not self._threads[0].is_alive()
        self.wait_until_closed()


@contextlib.contextmanager
def serve(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    server = ScriptedServer(script, tls)
    try:
        yield server
    finally:
        server.stop()
