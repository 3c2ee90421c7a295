"""A client of HTTP/2 that sends what it is told to, frame by frame."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

__all__ = ["Exchange", "Http2Connection"]

SECONDS = 10.0
"""For anything that the server is to send."""

Pairs = Sequence[tuple[str, str]]


@dataclass
class Exchange:
    """What has come of one stream."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    trailers: dict[str, str] = field(default_factory=dict)
    has_ended: bool = False
    reset: int | None = None
    """The error code of a stream or a connection that the server has ended."""

    @property
    def code(self) -> int | None:
        """The status of gRPC."""
        text = {**self.headers, **self.trailers}.get("grpc-status")
        return None if text is None else int(text)


class Http2Connection:
    """One connection, without TLS."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), SECONDS)
        # Not as it should be: as the test wants it.
        config = H2Configuration(
            header_encoding="latin-1", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self._h2 = H2Connection(config)
        self._h2.initiate_connection()
        self._streams: dict[int, Exchange] = {}
        self._flush()

    def __enter__(self) -> Http2Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(
        self, path: str, headers: Pairs, body: bytes | None = b"", *, verb: str = "POST", ends: bool = True
    ) -> int:
        """Begin a stream, and return its number.

        :param body: None for none, and the end of the stream in the headers.
        """
        number = self._h2.get_next_available_stream_id()
        pseudo = [(":method", verb), (":scheme", "http"), (":authority", "127.0.0.1"), (":path", path)]
        self._h2.send_headers(number, [*pseudo, *headers], end_stream=body is None)
        self._streams[number] = Exchange()
        if body is not None:
            self.send_data(number, body, ends=ends)
        self._flush()
        return number

    def send_data(self, number: int, data: bytes, *, ends: bool = False) -> None:
        """Send more of a body."""
        while data:
            size = min(len(data), self._h2.local_flow_control_window(number), 16_000)
            if size == 0:
                self._receive()
                continue
            self._h2.send_data(number, data[:size])
            data = data[size:]
            self._flush()
        if ends:
            self._h2.end_stream(number)
            self._flush()

    def send_trailers(self, number: int, pairs: Pairs) -> None:
        """End a stream with trailers."""
        self._h2.send_headers(number, pairs, end_stream=True)
        self._flush()

    def send_bytes(self, data: bytes) -> None:
        """Send what may be no frame."""
        self._socket.sendall(data)

    def reset(self, number: int) -> None:
        """Cancel a stream."""
        self._h2.reset_stream(number, 8)
        self._flush()

    def receive(self, number: int, size: int | None = None) -> Exchange:
        """Receive a whole stream, or `size` bytes of its body.

        :raises TimeoutError: when it does not come.
        """
        exchange = self._streams[number]
        while not exchange.has_ended and (size is None or len(exchange.body) < size):
            self._receive()
        return exchange

    def _receive(self) -> None:
        data = self._socket.recv(65_536)
        if not data:
            self._end_all(0)
        for event in self._h2.receive_data(data) if data else ():
            self._note(event)
        self._flush()

    def _note(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated):
            self._end_all(int(event.error_code or 0))
        exchange = self._streams.get(getattr(event, "stream_id", None) or 0)
        if exchange is None:
            return
        if isinstance(event, ResponseReceived):
            exchange.headers.update(event.headers)
        elif isinstance(event, TrailersReceived):
            exchange.trailers.update(event.headers)
        elif isinstance(event, DataReceived):
            exchange.body += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            exchange.has_ended = True
        elif isinstance(event, StreamReset):
            exchange.has_ended, exchange.reset = True, int(event.error_code)

    def _end_all(self, code: int) -> None:
        for exchange in self._streams.values():
            if not exchange.has_ended:
                exchange.has_ended, exchange.reset = True, code

    def _flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())
