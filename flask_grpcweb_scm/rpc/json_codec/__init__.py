"""Messages to JSON and back, compiled once for every message type.

json_format walks the descriptors of a message for every message; here functions are made of them once. They know what
is usual. Whatever else they meet, in a type or in a payload, is left to json_format, which so stays the judge: of what
is a message, and of what to say when it is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from flask_grpcweb_scm.rpc.json_codec.columns import Pages
from flask_grpcweb_scm.rpc.json_codec.decoder import Decoders
from flask_grpcweb_scm.rpc.json_codec.encoder import Encoders

try:
    import orjson
except ImportError:
    orjson = None  # type: ignore[assignment]  # the extra "json" is not installed

__all__ = ["WRITERS", "JsonCodec"]

M = TypeVar("M", bound=Message)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is there twice")
    return value


_read = json.JSONDecoder(object_pairs_hook=_no_duplicates).decode
_write = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode

WRITERS: dict[str, Callable[[Any], bytes]] = {"json": lambda value: _write(value).encode()}
"""Writers of JSON, best last. Reading is left to json: orjson does not tell that a key is there twice."""
if orjson is not None:
    WRITERS["orjson"] = orjson.dumps


class JsonCodec:
    """Means what json_format does: unknown fields are ignored, fields without a value are left out.

    Holds what it has made for the message types that it has seen, and so the types. Threads may share it.

    :param max_depth: messages inside each other, the outermost included, that a payload may have.
    :param writer: one of :data:`WRITERS`.
    """

    def __init__(self, max_depth: int, *, writer: str | None = None) -> None:
        self._max_depth = max_depth
        self._write = WRITERS[writer or list(WRITERS)[-1]]
        encoders = Encoders()
        self._encoders = Pages(encoders) if self._write is WRITERS.get("orjson") else encoders
        self._decoders = Decoders()

    def encode(self, message: Message) -> bytes:
        """Write a message.

        :raises Exception: of several kinds, when JSON has no form for it: a date after the year 9999 for example.
        """
        try:
            return self._write(self._encoders[message.DESCRIPTOR](message))
        except Exception:  # whatever it is that was unusual
            return json_format.MessageToJson(message, indent=None, ensure_ascii=False).encode()

    def decode(self, message_class: type[M], payload: bytes) -> M:
        """Read a message.

        :raises json_format.ParseError: when the payload is not such a message.
        :raises ValueError: when it is not UTF-8, or not an object.
        :raises RecursionError: when it is nested deeper than Python can follow.
        """
        message = self._usual(message_class, payload)
        return self._judge(message_class, payload) if message is None else message

    def _usual(self, message_class: type[M], payload: bytes) -> M | None:
        # A function of its own: until it returns, its exception keeps all that was read.
        try:
            message = message_class()
            self._decoders[message_class.DESCRIPTOR](message, _read(payload.decode()), self._max_depth - 1)
        except Exception:  # whatever it is that was unusual
            return None
        return message

    def _judge(self, message_class: type[M], payload: bytes) -> M:
        # json_format takes a list or a text for an object of unknown fields. Some of protobuf's own messages are one.
        if payload.lstrip()[:1] in {b"[", b'"'} and message_class.DESCRIPTOR.file.package != "google.protobuf":
            raise ValueError("it is not an object")
        return json_format.Parse(
            payload.decode(), message_class(), ignore_unknown_fields=True, max_recursion_depth=self._max_depth
        )
