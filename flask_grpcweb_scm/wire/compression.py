"""Message encodings, with output that never grows past a limit."""

from __future__ import annotations

import functools
import importlib
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from flask_grpcweb_scm.wire.frames import over_limit
from flask_grpcweb_scm.wire.headers import cached_by_headers
from flask_grpcweb_scm.wire.status import RemoteProtocolError, StatusCode

__all__ = ["ENCODINGS", "Encoding", "choose_encoding", "find_encoding", "preferred_encoding"]

# Level 1 is 2.5 times as fast as zlib's default on protobuf messages, and about as small.
_LEVEL = 1
_GZIP_WBITS = 31
_ZLIB_WBITS = 15
# RFC 8878 recommends decoders to support 8 MiB; a frame may demand gigabytes.
_MAX_ZSTD_WINDOW = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Encoding:
    """A message encoding by its name in headers."""

    name: str
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes, int], bytes]
    """Takes the payload and the limit of its output in bytes; raises RemoteProtocolError."""


class _Stream(Protocol):
    """A decompressor with the interface of zlib's."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _decompressor(
    open_stream: Callable[[], _Stream], errors: type[Exception], *, window: int, members: bool
) -> Callable[[bytes, int], bytes]:
    """Build the ``decompress`` of an encoding.

    :param window: bytes to feed at once. zlib copies what follows the end of a stream: small windows keep a message of
        200 000 empty gzip members linear. They also bound what comes out at once: 1 MiB of 1 KiB.
    :param members: one payload may have several streams.
    """

    def decompress(payload: bytes, limit: int) -> bytes:
        # Not a bytearray, which is copied as it grows.
        pieces = []
        room = limit
        position = 0
        while position < len(payload) and (members or position == 0):
            stream = open_stream()
            while not stream.eof:
                chunk = payload[position : position + window]
                if not chunk:
                    raise RemoteProtocolError("corrupt compressed message: it is cut short")
                try:
                    piece = stream.decompress(chunk, room + 1)
                except errors as error:
                    raise RemoteProtocolError(f"corrupt compressed message: {error}") from None
                pieces.append(piece)
                room -= len(piece)
                if room < 0:
                    raise over_limit("decompressed message", limit)
                position += len(chunk) - len(stream.unused_data)
        if position < len(payload):
            raise RemoteProtocolError("corrupt compressed message: bytes follow its end")
        return b"".join(pieces)

    return decompress


def _gzip(payload: bytes) -> bytes:
    compressor = zlib.compressobj(_LEVEL, wbits=_GZIP_WBITS)
    return compressor.compress(payload) + compressor.flush()


def _zlib_encodings() -> list[Encoding]:
    def stream(wbits: int) -> Callable[[], Any]:
        return functools.partial(zlib.decompressobj, wbits)

    return [
        # "A gzip file consists of a series of members" (RFC 1952, 2.2)
        Encoding("gzip", _gzip, _decompressor(stream(_GZIP_WBITS), zlib.error, window=1024, members=True)),
        # gRPC's "deflate" is the zlib format of RFC 1950 (compression.md), not a raw deflate stream.
        Encoding(
            "deflate",
            functools.partial(zlib.compress, level=_LEVEL),
            _decompressor(stream(_ZLIB_WBITS), zlib.error, window=1024, members=False),
        ),
    ]


def _brotli_encodings() -> list[Encoding]:
    try:
        brotli = importlib.import_module("brotli")
    except ImportError:
        return []

    class Stream:
        unused_data = b""

        def __init__(self) -> None:
            self._decompressor = brotli.Decompressor()

        @property
        def eof(self) -> bool:
            return bool(self._decompressor.is_finished())

        def decompress(self, data: bytes, max_length: int, /) -> bytes:
            return bytes(self._decompressor.process(data, output_buffer_limit=max_length))

    compress = functools.partial(brotli.compress, quality=_LEVEL)
    return [Encoding("br", compress, _decompressor(Stream, brotli.error, window=4096, members=False))]


def _zstandard_encodings() -> list[Encoding]:
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError:
        return []

    class Stream:
        def __init__(self) -> None:
            self._object = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW).decompressobj()

        @property
        def eof(self) -> bool:
            return bool(self._object.eof)

        @property
        def unused_data(self) -> bytes:
            return bytes(self._object.unused_data)

        def decompress(self, data: bytes, max_length: int, /) -> bytes:
            return bytes(self._object.decompress(data))

    def compress(payload: bytes) -> bytes:
        return bytes(zstandard.ZstdCompressor(level=_LEVEL).compress(payload))

    # There is no way to bound one step's output, but a block of 128 KiB takes 4 bytes at least: 64 give 2 MiB at most.
    return [Encoding("zstd", compress, _decompressor(Stream, zstandard.ZstdError, window=64, members=False))]


ENCODINGS = {e.name: e for e in (*_zlib_encodings(), *_brotli_encodings(), *_zstandard_encodings())}
"""The supported encodings besides identity, in order of preference; br and zstd only with brotli and zstandard."""


def find_encoding(name: str | None, header: str = "grpc-encoding") -> Encoding | None:
    """Find the encoding that a header names; None stands for identity.

    :raises RemoteProtocolError: UNIMPLEMENTED, when the encoding is not supported.
    """
    wanted = (name or "identity").strip().lower()
    if wanted == "identity":
        return None
    if wanted not in ENCODINGS:
        supported = ", ".join(["identity", *ENCODINGS])
        raise RemoteProtocolError(
            f"{header} {wanted[:40]!r} is not supported; use one of {supported}", code=StatusCode.UNIMPLEMENTED
        )
    return ENCODINGS[wanted]


@cached_by_headers
def choose_encoding(accept: str | None) -> Encoding | None:
    """Choose how to compress responses from a ``grpc-accept-encoding`` header; None stands for identity."""
    accepted = {item.strip().lower() for item in (accept or "").split(",")}
    return next((ENCODINGS[name] for name in ENCODINGS if name in accepted), None)


# "Accept-Encoding: gzip;q=0" refuses it (RFC 9110, section 12.5.3).
_REFUSED = re.compile(r"\s*q\s*=\s*0(?:\.0*)?\s*", re.ASCII | re.IGNORECASE)


@cached_by_headers
def preferred_encoding(accept: str | None) -> Encoding | None:
    """Choose how to compress responses from an ``Accept-Encoding`` header; None stands for identity.

    "Servers should treat Accept-Encoding as an ordered list, with the client's most preferred encoding first"
    (Connect); of HTTP's quality values only 0 counts.
    """
    for item in (accept or "").split(","):
        name, *parameters = item.split(";")
        name = name.strip().lower()
        if not any(map(_REFUSED.fullmatch, parameters)):
            if name == "identity":
                return None
            if name in ENCODINGS:
                return ENCODINGS[name]
    return None
