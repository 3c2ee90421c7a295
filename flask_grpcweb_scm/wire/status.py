"""Status codes, the coding of ``grpc-message``, and the one error of the wire layer."""

from __future__ import annotations

import enum
import re

__all__ = ["MAX_MESSAGE_HEADER_BYTES", "RemoteProtocolError", "StatusCode", "decode_message", "encode_message"]

MAX_MESSAGE_HEADER_BYTES = 4096
"""Longest encoded ``grpc-message``; common clients and proxies refuse headers over 8 KiB in all."""


class StatusCode(enum.IntEnum):
    """The canonical gRPC status codes (gRPC, statuscodes.md)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RemoteProtocolError(Exception):
    """Raised for bytes of the peer that break the protocol or a limit; it has the status to respond with.

    :param code: None for bytes that are malformed. That is INTERNAL in gRPC; other protocols have a code of their own.
    """

    def __init__(self, message: str, *, code: StatusCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.is_malformed = code is None
        self.code = StatusCode.INTERNAL if code is None else code


# "Percent-Byte-Unencoded → 1*( %x20-%x24 / %x26-%x7E )" (PROTOCOL-HTTP2.md)
_TO_ESCAPE = re.compile(rb"[^\x20-\x24\x26-\x7e]")
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")
_CUT_ESCAPE = re.compile(rb"%[0-9A-F]?\Z")


def encode_message(text: str, max_bytes: int = MAX_MESSAGE_HEADER_BYTES) -> str:
    """Percent-encode a status message, cut to `max_bytes`.

    Lone surrogates become ``?``: they have no UTF-8 form and crash grpc-web JavaScript.
    """
    # A character takes a byte at least: what is beyond these is cut off in any case.
    encoded = _escape(text[: max_bytes + 1].encode("utf-8", "replace"))
    if len(encoded) > max_bytes:
        kept = _CUT_ESCAPE.sub(b"", encoded[:max_bytes])
        encoded = _escape(_unescape(kept).decode("utf-8", "ignore").encode())
    return encoded.decode("ascii")


def decode_message(value: str) -> str:
    """Undo :func:`encode_message`; an invalid escape is kept as it stands, never an error.

    "When decoding invalid values, implementations MUST NOT error or throw away the message" (PROTOCOL-HTTP2.md).
    """
    return _unescape(value.encode("latin-1", "replace")).decode("utf-8", "replace")


def _escape(raw: bytes) -> bytes:
    return _TO_ESCAPE.sub(lambda match: b"%%%02X" % match[0][0], raw)


def _unescape(encoded: bytes) -> bytes:
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), encoded)
