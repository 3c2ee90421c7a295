"""Counting what a payload holds before anything is made of it: an empty message of two bytes takes a hundred in memory.

The count ends at the limit, so that it takes no longer for more.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message

from flask_grpcweb_scm.wire import RemoteProtocolError, StatusCode

__all__ = ["check_json_items", "check_proto_items"]

_VARINT, _FIXED64, _DELIMITED, _GROUP, _END_GROUP, _FIXED32 = range(6)
_MAX_DEPTH = 100
"""Protobuf refuses messages that are deeper inside each other."""


def check_proto_items(message_class: type[Message], payload: bytes, limit: int) -> None:
    """Check the number of fields, items of lists and entries of maps in a message, and in those that have others inside.

    What is not protobuf is left to the parser.

    :raises RemoteProtocolError: INVALID_ARGUMENT, when there are more than `limit`.
    """
    if len(payload) > limit and _count_records(message_class.DESCRIPTOR, payload, limit) > limit:
        raise _too_many(message_class, limit)


def check_json_items(message_class: type[Message], payload: bytes, limit: int) -> None:
    """Check the number of values in JSON.

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
    # "A protocol buffer message is a series of key-value pairs … called a Tag-Length-Value" (Encoding, protobuf.dev).
    count, position, end = 0, 0, len(payload)
    fields = _inner_messages(descriptor)
    outer: list[tuple[int, dict[int, Any]]] = []
    try:
        while count <= limit:
            while position >= end:
                if not outer:
                    return count
                end, fields = outer.pop()
            count += 1
            tag = payload[position]
            position += 1
            if tag >= 0x80:
                tag, position = _varint(payload, position - 1)
            kind = tag & 7
            if kind == _DELIMITED:
                length = payload[position]
                position += 1
                if length >= 0x80:
                    length, position = _varint(payload, position - 1)
                inner = fields.get(tag >> 3)
                if inner is not None and len(outer) < _MAX_DEPTH:
                    outer.append((end, fields))
                    end, fields = min(end, position + length), _inner_messages(inner)
                else:
                    position += length
            elif kind == _VARINT:
                while payload[position] >= 0x80:
                    position += 1
                position += 1
            elif kind in {_FIXED32, _FIXED64}:
                position += 4 if kind == _FIXED32 else 8
            elif kind not in {_GROUP, _END_GROUP}:
                return count
    except IndexError:
        return count  # it is cut short: the parser says so
    return count


def _varint(payload: bytes, position: int) -> tuple[int, int]:
    """Read a number; returns it and the position behind it."""
    number = shift = 0
    while True:
        byte = payload[position]
        position += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80 or shift >= 70:
            return number, position


def _inner_messages(descriptor: Any) -> dict[int, Any]:
    """Return the fields, by number, whose messages may have messages inside: others take little more than their bytes."""
    return {
        field.number: field.message_type
        for field in descriptor.fields
        if field.message_type is not None and any(inner.message_type is not None for inner in field.message_type.fields)
    }


def _count_marks(payload: bytes) -> int:
    return payload.count(b",") + payload.count(b"[") + payload.count(b"{")


def _count_values(payload: bytes, limit: int) -> int:
    """Count commas and brackets outside of texts up to more than the limit."""
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
