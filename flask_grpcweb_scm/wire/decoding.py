"""The chunks of a body to frames: base64 decoded, payloads decompressed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flask_grpcweb_scm.wire.compression import Encoding
from flask_grpcweb_scm.wire.frames import COMPRESSED, MAX_TRAILERS_BYTES, Frame, FrameReader
from flask_grpcweb_scm.wire.status import RemoteProtocolError, StatusCode
from flask_grpcweb_scm.wire.text import TextDecoder

__all__ = ["decode_frames"]


def decode_frames(
    chunks: Iterable[bytes], reader: FrameReader, *, text: bool, encoding: Encoding | None, limit: int
) -> Iterator[Frame]:
    """Read the frames of a body to its end.

    :param text: the body is base64.
    :param encoding: of the frames that are flagged as compressed.
    :param limit: bytes of a payload after decompression.
    :raises RemoteProtocolError: for a body that is cut short, malformed or over a limit.
    """
    decoder = TextDecoder() if text else None
    for chunk in chunks:
        for frame in reader.feed(decoder.feed(chunk) if decoder else chunk):
            yield _decompressed(frame, encoding, limit) if frame.flags & COMPRESSED else frame
    if decoder:
        decoder.finish()
    reader.finish()


def _decompressed(frame: Frame, encoding: Encoding | None, limit: int) -> Frame:
    if encoding is None:
        text = "a frame is flagged as compressed, but the headers name no compression"
        raise RemoteProtocolError(text, code=StatusCode.INTERNAL)
    if frame.flags & ~COMPRESSED:
        limit = min(limit, MAX_TRAILERS_BYTES)
    return Frame(frame.flags & ~COMPRESSED, encoding.decompress(frame.payload, limit))
