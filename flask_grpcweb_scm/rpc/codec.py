"""Payloads to messages and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from flask_grpcweb_scm.wire import RemoteProtocolError

__all__ = ["CODECS", "Codec"]

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Codec:
    """How messages are written in the payload of a frame."""

    decode: Callable[[type[Message], bytes], Message]
    """Takes the message class and the payload; raises RemoteProtocolError."""
    encode: Callable[[Message], bytes]


def _decode_proto(message_class: type[M], payload: bytes) -> M:
    try:
        return message_class.FromString(payload)
    except DecodeError:
        raise RemoteProtocolError(
            f"the payload of {len(payload)} bytes is not a {message_class.DESCRIPTOR.full_name} in protobuf"
        ) from None


def _encode_proto(message: Message) -> bytes:
    return message.SerializeToString()


def _decode_json(message_class: type[M], payload: bytes) -> M:
    # Unknown fields are ignored, as in protobuf: an older server must understand a newer client.
    try:
        # json_format takes a list or a text for an object of unknown fields. Some of protobuf's own messages are one.
        if payload.lstrip()[:1] in {b"[", b'"'} and message_class.DESCRIPTOR.file.package != "google.protobuf":
            raise ValueError("it is not an object")
        return json_format.Parse(payload.decode(), message_class(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else _first_line(error)
        raise RemoteProtocolError(
            f"the payload is not a {message_class.DESCRIPTOR.full_name} in JSON: {reason}"
        ) from None


def _encode_json(message: Message) -> bytes:
    return json_format.MessageToJson(message, indent=None, ensure_ascii=False).encode()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


CODECS = {"proto": Codec(_decode_proto, _encode_proto), "json": Codec(_decode_json, _encode_json)}
"""The codecs by the name that a content type gives them."""
