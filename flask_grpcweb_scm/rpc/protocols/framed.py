"""Messages in frames: what gRPC-Web and the streams of Connect have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import cast

from flask_grpcweb_scm.rpc.call import IncomingCall
from flask_grpcweb_scm.rpc.call_settings import Environ
from flask_grpcweb_scm.wire import (
    COMPRESSED,
    PREFIX_BYTES,
    Encoding,
    Frame,
    FrameReader,
    RemoteProtocolError,
    StatusCode,
    decode_frames,
    decode_prefix,
    decode_text,
    encode_prefix,
    find_encoding,
    over_limit,
)

__all__ = ["LARGE_BYTES", "Framed", "counted"]

LARGE_BYTES = 64 * 2**10
"""A larger payload is handed on as it is: what copying costs is more than that of a view, or of a piece of its own."""


class Framed(ABC):
    """A protocol with its messages in frames.

    :param codec: of the messages.
    :param text: the body of a request is base64.
    """

    is_found_by_key = True
    encoding_key: str
    """The key of the WSGI environment with the compression of the request."""
    encoding_name: str
    """The header with it."""

    def __init__(self, codec: str, *, text: bool = False) -> None:
        self.codec = codec
        self._is_text_request = text

    @abstractmethod
    def accepted(self, environ: Environ) -> Encoding | None:
        """The compression that the caller accepts for responses; None for none."""

    # Requests

    def message(self, call: IncomingCall) -> bytes:
        """See :class:`RpcProtocol`."""
        endpoint = call.endpoint
        try:
            body = endpoint.reader.read_whole(call.environ, call.body_limit)
        except BaseException:
            # Nothing more would come.
            call.is_read = True
            raise
        if body is None:
            return self._only_payload(call, call.chunks)
        # Not before: until then the call is waiting for its peer, and goes on at its deadline.
        call.is_read = True
        data = decode_text(body) or b"" if self._is_text_request else body
        length = len(data) - PREFIX_BYTES
        if 0 <= length <= endpoint.settings.max_message_bytes and decode_prefix(data) == (0, length):
            # One frame without flags, as most bodies are.
            if length > LARGE_BYTES and self.codec == "proto":
                # Protobuf reads it like bytes, and that is all it is for.
                data = cast("bytes", memoryview(data))
            payload = data[PREFIX_BYTES:]
        else:
            payload = self._only_payload(call, _cut(body))
        call.bytes_received = len(body)
        return payload

    def payloads(self, call: IncomingCall) -> Iterator[bytes]:
        """See :class:`RpcProtocol`."""
        return self._payloads(call, call.chunks)

    def _only_payload(self, call: IncomingCall, chunks: Iterable[bytes]) -> bytes:
        payloads = self._payloads(call, chunks)
        first = next(payloads, None)
        if first is None:
            raise RemoteProtocolError(
                "the method takes exactly one message, the body has none", code=StatusCode.UNIMPLEMENTED
            )
        # To the end of the body, where the last mistakes show.
        next(payloads, None)
        return first

    def _payloads(self, call: IncomingCall, chunks: Iterable[bytes]) -> Iterator[bytes]:
        call.bytes_received = 0
        limit = call.endpoint.settings.max_message_bytes
        reader = FrameReader(max_payload=limit, single=not call.endpoint.method.client_streaming)
        encoding = find_encoding(call.environ.get(self.encoding_key), self.encoding_name)
        frames: Iterable[Frame] = decode_frames(
            counted(call, chunks), reader, text=self._is_text_request, encoding=encoding, limit=limit
        )
        for frame in frames:
            yield frame.payload

    # Responses

    def compresses(self, call: IncomingCall) -> bool:
        """See :class:`RpcProtocol`."""
        return call.endpoint.settings.compression_min_bytes is not None and self.accepted(call.environ) is not None

    def frame(self, call: IncomingCall, payload: bytes) -> bytes:
        """See :class:`RpcProtocol`."""
        return b"".join(self.framed(call, payload))

    def framed(self, call: IncomingCall, payload: bytes) -> tuple[bytes, bytes]:
        """The prefix and the payload of a frame as they are sent.

        :raises RemoteProtocolError: when the message is over the limit.
        """
        settings = call.endpoint.settings
        limit, minimum = settings.max_response_bytes, settings.compression_min_bytes
        if limit is not None and len(payload) > limit:
            raise over_limit(f"response of {len(payload)} bytes", limit)
        if minimum is not None and len(payload) >= minimum:
            encoding = self.accepted(call.environ)
            if encoding is not None:
                payload = encoding.compress(payload)
                return encode_prefix(COMPRESSED, len(payload)), payload
        return encode_prefix(0, len(payload)), payload


def counted(call: IncomingCall, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Count the chunks of a body as they are read."""
    for chunk in chunks:
        call.bytes_received += len(chunk)
        yield chunk


def _cut(chunk: bytes) -> Iterator[bytes]:
    """A large chunk in smaller ones: what is wrong with it may show before all of it is copied."""
    return (chunk[start : start + LARGE_BYTES] for start in range(0, len(chunk), LARGE_BYTES))
