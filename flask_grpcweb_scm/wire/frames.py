"""Length-prefixed frames: 1 byte of flags, 4 bytes of big-endian length, the payload. And what trailers are in one."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flask_grpcweb_scm.wire.status import RemoteProtocolError, StatusCode

__all__ = [
    "COMPRESSED",
    "END_STREAM",
    "MAX_TRAILERS_BYTES",
    "PREFIX_BYTES",
    "TRAILERS",
    "Frame",
    "FrameReader",
    "decode_prefix",
    "encode_frame",
    "encode_prefix",
    "encode_trailers",
    "over_limit",
    "parse_trailers",
]

COMPRESSED = 0x01
TRAILERS = 0x80
END_STREAM = 0x02
"""Of the last frame of a response in Connect, which has the status and the trailing metadata as JSON."""

MAX_TRAILERS_BYTES = 2**20
"""Of a trailers frame, whatever the limit of messages; gRPC itself allows 8 KiB to 16 KiB by default."""
MAX_TRAILERS = 1000

_PREFIX = struct.Struct("!BI")
PREFIX_BYTES = _PREFIX.size


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it arrived."""

    flags: int
    """:data:`COMPRESSED` and :data:`TRAILERS`, or :data:`END_STREAM`, combined."""
    payload: bytes
    """Still compressed when the flags say so."""


encode_prefix: Callable[[int, int], bytes] = _PREFIX.pack
"""The five bytes before a payload, from its flags and its length, which is at most 2**32 - 1."""


decode_prefix: Callable[[bytes | bytearray], tuple[Any, ...]] = _PREFIX.unpack_from
"""The flags and the length of the payload, from the beginning of a frame that has its five bytes."""


def encode_frame(payload: bytes, *, flags: int = 0) -> bytes:
    """Put the prefix before a payload."""
    return encode_prefix(flags, len(payload)) + payload


def encode_trailers(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Frame ``(name, value)`` pairs as trailers.

    "use lower-case header/trailer names", each line closed by CRLF and no blank line after them (PROTOCOL-WEB.md).
    """
    lines = "".join(f"{name.lower()}: {value}\r\n" for name, value in pairs)
    return encode_frame(lines.encode("ascii"), flags=TRAILERS)


def parse_trailers(payload: bytes) -> list[tuple[str, str]]:
    """Read the payload of a trailers frame into ``(name, value)`` pairs, names in lower case.

    :raises RemoteProtocolError: for a line without a colon, or too many lines.
    """
    lines = payload.decode("latin-1").split("\r\n", MAX_TRAILERS + 1)
    if len(lines) > MAX_TRAILERS + 1:
        text = f"the trailers have more than {MAX_TRAILERS} lines"
        raise RemoteProtocolError(text, code=StatusCode.RESOURCE_EXHAUSTED)
    pairs = []
    for line in lines:
        if not line:
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise RemoteProtocolError(f"malformed trailer line {line[:40]!r}")
        pairs.append((name.strip().lower(), value.strip()))
    return pairs


def over_limit(subject: str, limit: int) -> RemoteProtocolError:
    """Make the RESOURCE_EXHAUSTED error for a `subject`, such as "message of 9 bytes", over `limit` bytes."""
    return RemoteProtocolError(f"{subject} is over the limit of {limit} bytes", code=StatusCode.RESOURCE_EXHAUSTED)


class FrameReader:
    """Cuts chunks of a body into frames, and buffers at most one incomplete frame.

    :param max_payload: bytes; a longer frame is refused from its prefix, before its payload is buffered.
    :param trailers: accept trailers frames, which occur in responses only.
    :param single: refuse a second frame, from its prefix as well.
    :param trailers_flag: of trailers frames; in Connect it is :data:`END_STREAM`.
    """

    def __init__(
        self, *, max_payload: int, trailers: bool = False, single: bool = False, trailers_flag: int = TRAILERS
    ) -> None:
        self._max_payload = max_payload
        self._single = single
        self._count = 0
        self._known_flags = COMPRESSED | trailers_flag if trailers else COMPRESSED
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Buffer a chunk and return the frames it completes.

        :raises RemoteProtocolError: while iterating, for unknown flags or a payload over the limit.
        """
        self._buffer += chunk
        return self._frames()

    def finish(self) -> None:
        """Check the end of the body.

        :raises RemoteProtocolError: when it ended inside a frame.
        """
        if self._buffer:
            raise RemoteProtocolError(f"the body ends inside a frame, after {len(self._buffer)} of its bytes")

    def _frames(self) -> Iterator[Frame]:
        while len(self._buffer) >= PREFIX_BYTES:
            flags, length = decode_prefix(self._buffer)
            self._check(flags, length)
            end = PREFIX_BYTES + length
            if len(self._buffer) < end:
                return
            with memoryview(self._buffer) as view:
                payload = bytes(view[PREFIX_BYTES:end])
            del self._buffer[:end]
            self._count += 1
            yield Frame(flags, payload)

    def _check(self, flags: int, length: int) -> None:
        if flags & ~self._known_flags:
            raise RemoteProtocolError(f"frame flags 0x{flags:02x} have reserved bits set; is the body made of frames?")
        if self._single and self._count == 1:
            raise RemoteProtocolError(
                "the method takes exactly one message, the body has more than one", code=StatusCode.UNIMPLEMENTED
            )
        if length > self._max_payload:
            raise over_limit(f"message of {length} bytes", self._max_payload)
        if length > MAX_TRAILERS_BYTES and flags & ~COMPRESSED:
            raise over_limit(f"trailers of {length} bytes", MAX_TRAILERS_BYTES)
