"""Counting what a payload holds before anything is made of it: an empty message of two bytes takes a hundred in memory.

The count ends at the limit, so that it takes no longer for more.
"""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import Any

from google.protobuf.message import Message

from flask_grpcweb_scm.wire import RemoteProtocolError, StatusCode

__all__ = ["check_json_items", "check_proto_items"]

_VARINT, _FIXED64, _DELIMITED, _GROUP, _END_GROUP, _FIXED32 = range(6)
_FIXED_BYTES = {_FIXED64: 8, _GROUP: 0, _END_GROUP: 0, _FIXED32: 4}
_MAX_DEPTH = 100
"""Protobuf refuses messages that are deeper inside each other."""


def check_proto_items(message_class: type[Message], payload: bytes, limit: int) -> None:
    """Check the number of fields, items of lists and entries of maps in a message, and in most of those inside.

    What is not protobuf is left to the parser.

    :raises RemoteProtocolError: INVALID_ARGUMENT, when there are more than `limit`.
    """
    if len(payload) > limit and _count_records(message_class.DESCRIPTOR, payload, limit) > limit:
        raise _too_many(message_class, limit)


def check_json_items(message_class: type[Message], payload: bytes, limit: int) -> None:
    """Check the number of keys and values in JSON.

    What is not JSON is left to the parser.

    :raises RemoteProtocolError: INVALID_ARGUMENT, when there are more than `limit`.
    """
    # Most are far below, also with those in texts.
    if len(payload) > limit and _count_marks(payload) > limit and _count_values(payload, limit) > limit:
        raise _too_many(message_class, limit)


def _too_many(message_class: type[Message], limit: int) -> RemoteProtocolError:
    text = f"the {message_class.DESCRIPTOR.full_name} has more than {limit} items; send fewer at a time"
    return RemoteProtocolError(text, code=StatusCode.INVALID_ARGUMENT)


def _count_records(descriptor: Any, payload: bytes, limit: int) -> int:
    """Count the records of a message up to one more than the limit."""
    # "A protocol buffer message is a series of key-value pairs" (Encoding, protobuf.dev).
    count, position, end = 0, 0, len(payload)
    fields = _inner_messages(descriptor)
    outer: list[tuple[int, dict[int, Any]]] = []
    with suppress(IndexError):  # it is cut short: the parser says so
        while count <= limit:
            if position >= end:
                if not outer:
                    break
                end, fields = outer.pop()
                continue
            count += 1
            tag, position = _varint(payload, position)
            if tag & 7 != _DELIMITED:
                position = _skip(payload, position, tag & 7)
                continue
            length, position = _varint(payload, position)
            inner = fields.get(tag >> 3)
            if inner is None or len(outer) == _MAX_DEPTH:
                position += length
            else:
                outer.append((end, fields))
                end, fields = min(end, position + length), _inner_messages(inner)
    return count


def _skip(payload: bytes, position: int, kind: int) -> int:
    """Return the position behind a value that begins at one.

    :raises IndexError: when it has no end.
    """
    if kind == _VARINT:
        return _varint(payload, position)[1]
    if kind in _FIXED_BYTES:
        return position + _FIXED_BYTES[kind]
    raise IndexError(kind)


def _varint(payload: bytes, position: int) -> tuple[int, int]:
    """Read a number; returns it and the position behind it."""
    number = payload[position]
    position += 1
    if number >= 0x80:
        number, shift, byte = number & 0x7F, 7, 0x80
        while byte >= 0x80 and shift < 70:
            byte = payload[position]
            position += 1
            number |= (byte & 0x7F) << shift
            shift += 7
    return number, position


@functools.lru_cache(maxsize=1024)
def _inner_messages(descriptor: Any) -> dict[int, Any]:
    """Return the fields, by number, whose messages may have others inside: what is in one without is cheap."""
    return {
        field.number: field.message_type
        for field in descriptor.fields
        if field.message_type is not None and any(inner.message_type is not None for inner in field.message_type.fields)
    }


def _count_marks(payload: bytes) -> int:
    # A key counts as a value does: it takes as much.
    return payload.count(b",") + payload.count(b":") + payload.count(b"[") + payload.count(b"{")


def _count_values(payload: bytes, limit: int) -> int:
    """Count commas, colons and brackets outside of texts up to more than the limit."""
    # Of the same length, and without a quotation mark that ends no text.
    payload = payload.replace(rb"\\", b"  ").replace(rb"\"", b"  ")
    count = texts = position = 0
    while count <= limit:
        start = payload.find(b'"', position)
        count += _count_marks(payload[position : len(payload) if start < 0 else start])
        texts += 1
        # In JSON no text follows another one.
        if start < 0 or texts > 2 * count + 2:
            break
        position = payload.find(b'"', start + 1) + 1
        if position == 0:
            break
    return count
