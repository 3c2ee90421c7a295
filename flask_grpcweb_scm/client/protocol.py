"""The interface of protocols: messages of a call to an HTTP request, its response to messages and a status."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from flask_grpcweb_scm.client.errors import CallError
from flask_grpcweb_scm.client.http import Head, Pairs, Request
from flask_grpcweb_scm.rpc import Codec
from flask_grpcweb_scm.wire import COMPRESSED, Encoding, Metadata, StatusCode, encode_frame, sign

__all__ = ["ChannelOptions", "ClientProtocol", "Response", "method_path"]


class ClientProtocol(Protocol):
    """Writes requests and reads responses, for all calls of a channel."""

    system: str
    """Its name in the semantic conventions of OpenTelemetry."""

    def request(
        self, method: MethodDescriptor, message: Any, metadata: Metadata, deadline: float | None, attempts: int
    ) -> Request:
        """Make the request of a call.

        :param message: or an iterable of messages, when they are a stream.
        :param attempts: that have failed.
        :raises TypeError: when a message is not of the method's class.
        :raises CallError: when it cannot be written or signed.
        """

    def response(self, method: MethodDescriptor, head: Head) -> Response:
        """Begin to read a response."""


class Response(Protocol):
    """Reads a response."""

    initial_metadata: Metadata
    trailing_metadata: Metadata
    """Empty until the end of the messages."""

    def messages(self, chunks: Iterator[bytes]) -> Iterator[Message]:
        """Read the body. At the end without an exception, the response was complete and its status is OK.

        :raises CallError: the status, when it is not OK.
        :raises RemoteProtocolError: when the response breaks the protocol, or is cut short.
        """


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """Options that the calls of a channel share, whatever the protocol."""

    prefix: str
    """Of the paths of methods."""
    codec: Codec
    encoding: Encoding | None
    """Of requests."""
    secret: str | None
    """Signs requests."""
    max_message_bytes: int
    """Of a response message, also after decompression."""

    def encode(self, method: MethodDescriptor, message: Any) -> bytes:
        """Write a request message.

        :raises TypeError: when it is not of the method's class.
        :raises CallError: INTERNAL, when it cannot be written.
        """
        message_class = GetMessageClass(method.input_type)
        if not isinstance(message, message_class):
            raise TypeError(f"the method takes {method.input_type.full_name}, got {type(message).__name__}")
        try:
            return self.codec.encode(message)
        except (
            Exception
        ) as error:  # of many kinds: JSON has nothing for an Any of an unknown type, or for the year 10000
            text = f"the {method.input_type.full_name} cannot be written in {self.codec.name}: {error}"
            raise CallError(StatusCode.INTERNAL, text) from error

    def frame(self, payload: bytes) -> bytes:
        """Compress a payload, when the channel does, and frame it."""
        if self.encoding is None:
            return encode_frame(payload)
        return encode_frame(self.encoding.compress(payload), flags=COMPRESSED)

    def signature(self, method: MethodDescriptor, payload: bytes) -> Pairs:
        """Return the headers that sign a request; none without a secret."""
        if self.secret is None:
            return []
        path, timestamp = method_path(method), int(time.time())
        signature = sign(self.secret, path, payload, timestamp)
        return [("x-method", path), ("x-timestamp", str(timestamp)), ("x-signature", signature)]

    def framed(
        self, method: MethodDescriptor, message: Any, frame: Callable[[bytes], bytes]
    ) -> tuple[Pairs, bytes | Iterable[bytes]]:
        """Return the headers of the signature and the body, of frames.

        :raises CallError: UNAUTHENTICATED, for a stream that should be signed; and as :meth:`encode`.
        """
        if not method.client_streaming:
            payload = self.encode(method, message)
            return self.signature(method, payload), frame(payload)
        if self.secret is not None:
            raise CallError(StatusCode.UNAUTHENTICATED, "a stream of requests cannot be signed; use a token")
        return [], (frame(self.encode(method, each)) for each in message)


def method_path(method: MethodDescriptor) -> str:
    """Return the path of a method, without the prefix of its server."""
    return f"/{method.containing_service.full_name}/{method.name}"
