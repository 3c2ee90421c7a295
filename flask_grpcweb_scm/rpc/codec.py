"""Payloads to messages and back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.json_format import ParseError
from google.protobuf.message import DecodeError, Message

from flask_grpcweb_scm.rpc.items import check_json_items, check_proto_items
from flask_grpcweb_scm.rpc.json_codec import JsonCodec
from flask_grpcweb_scm.wire import RemoteProtocolError

__all__ = ["Codec", "codecs"]

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Codec:
    """A notation for messages in the payload of a frame."""

    name: str
    decode: Callable[[type[Message], bytes], Message]
    """Takes the message class and the payload; raises RemoteProtocolError."""
    encode: Callable[[Message], bytes]

    def encoder(self, message_class: type[M]) -> Callable[[M], bytes]:
        """Return :attr:`encode` for messages of one class, which takes less time for many of them."""
        return message_class.SerializeToString if self.name == "proto" else self.encode


def _proto_codec(max_items: int) -> Codec:
    def decode(message_class: type[M], payload: bytes) -> M:
        if len(payload) > max_items:  # few are as long
            check_proto_items(message_class, payload, max_items)
        try:
            return message_class.FromString(payload)
        except DecodeError:
            raise RemoteProtocolError(
                f"the payload of {len(payload)} bytes is not a {message_class.DESCRIPTOR.full_name} in protobuf"
            ) from None

    return Codec("proto", decode, _encode_proto)


def _encode_proto(message: Message) -> bytes:
    return message.SerializeToString()


def _json_codec(max_depth: int, max_items: int) -> Codec:
    codec = JsonCodec(max_depth)

    def decode(message_class: type[M], payload: bytes) -> M:
        if len(payload) > max_items:  # few are as long
            check_json_items(message_class, payload, max_items)
        try:
            return codec.decode(message_class, payload)
        except (ParseError, ValueError, RecursionError) as error:
            raise RemoteProtocolError(
                f"the payload is not a {message_class.DESCRIPTOR.full_name} in JSON: {_reason(error, max_depth)}"
            ) from None

    return Codec("json", decode, codec.encode)


def _reason(error: Exception, max_depth: int) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if "Message too deep." in str(error):
        # The text begins with the names of so many fields.
        return f"more than {max_depth} messages are inside each other"
    return str(error).partition("\n")[0][:200]


def codecs(max_json_depth: int = 100, max_items: int | None = None) -> dict[str, Codec]:
    """Codecs by the name that a content type gives them.

    They hold what they find out about message types, so make them once for a server or a channel.

    :param max_json_depth: messages inside each other, the outermost included, that are read from JSON.
    :param max_items: fields, items of lists and entries of maps that are read from one message; None for any number.
    """
    limit = sys.maxsize if max_items is None else max_items
    return {"proto": _proto_codec(limit), "json": _json_codec(max_json_depth, limit)}
