"""Text mode: the frames of a body in base64 (PROTOCOL-WEB.md, "Message framing")."""

from __future__ import annotations

import binascii
import re

from flask_grpcweb_scm.wire.status import RemoteProtocolError

try:
    import pybase64
except ImportError:
    pybase64 = None  # type: ignore[assignment]  # not CPython: see setup.cfg

__all__ = ["TextDecoder", "decode_text", "encode_text"]

# "the text-encoded stream may be a concatenation of separately padded pieces": a piece ends where padding does.
# A pattern of repeated groups of four would be stricter, but needs 50 times the memory of its match.
_PIECE = re.compile(rb"[A-Za-z0-9+/]*={0,2}")

# pybase64 is up to fifty times as fast, but its call costs more.
_SHORT_BYTES = 128


def encode_text(data: bytes) -> bytes:
    """Base64 with padding, so that it can be flushed and followed by another piece."""
    if pybase64 is None or len(data) < _SHORT_BYTES:
        return binascii.b2a_base64(data, newline=False)
    return pybase64.b64encode(data)


def decode_text(body: bytes) -> bytes | None:
    """Decode a whole body that is a single piece; None for any other, see :class:`TextDecoder`."""
    if len(body) % 4:
        return None
    if pybase64 is None or len(body) < _SHORT_BYTES:
        return None if _PIECE.fullmatch(body) is None else binascii.a2b_base64(body)
    try:
        return pybase64.b64decode(body, validate=True)
    except binascii.Error:
        return None


class TextDecoder:
    """Decodes base64 cut anywhere, in four-character steps."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, chunk: bytes) -> bytes:
        """Decode all complete groups of four characters.

        :raises RemoteProtocolError: for a character outside the standard alphabet or misplaced padding.
        """
        data = self._pending + chunk
        whole = len(data) - len(data) % 4
        self._pending = data[whole:]
        piece = decode_text(data[:whole])
        if piece is not None:
            return piece
        decoded = bytearray()
        position = 0
        while position < whole:
            end = _piece_end(data, position, whole)
            if end == position:
                raise RemoteProtocolError(f"invalid base64 in the body at {data[position : position + 4]!r}")
            decoded += binascii.a2b_base64(data[position:end])
            position = end
        return bytes(decoded)

    def finish(self) -> None:
        """Check the end of the body.

        :raises RemoteProtocolError: when it ended inside a group of four characters.
        """
        if self._pending:
            raise RemoteProtocolError(f"the base64 body is cut short or unpadded: it ends with {self._pending!r}")


def _piece_end(data: bytes, position: int, end: int) -> int:
    """Find the end of the valid groups of four from `position` on."""
    piece = _PIECE.match(data, position, end)
    length = len(piece[0]) if piece else 0
    return position + length - length % 4
