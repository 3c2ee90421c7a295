"""A whole body as frames: base64 and compression undone together, limits kept."""

from __future__ import annotations

import base64
import gzip

import pytest

from flask_grpcweb_scm.wire import (
    ENCODINGS,
    END_STREAM,
    TRAILERS,
    FrameReader,
    RemoteProtocolError,
    StatusCode,
    decode_frames,
)
from tests.grpcweb import frame

GZIP = ENCODINGS["gzip"]
BODY = frame(b"plain") + frame(gzip.compress(b"small"), 1) + frame(b"grpc-status: 0\r\n", TRAILERS)


def decode(chunks: list[bytes], *, text: bool = False, gzip: bool = True, limit: int = 100) -> list[tuple[int, bytes]]:
    reader = FrameReader(max_payload=100, trailers=True)
    frames = decode_frames(chunks, reader, text=text, encoding=GZIP if gzip else None, limit=limit)
    return [(frame.flags, frame.payload) for frame in frames]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("text", [False, True])
def test_payloads_come_plain_however_the_body_is_cut(text: bool, size: int) -> None:
    body = base64.b64encode(BODY) if text else BODY
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    assert decode(chunks, text=text) == [(0, b"plain"), (0, b"small"), (TRAILERS, b"grpc-status: 0\r\n")]


@pytest.mark.parametrize(
    ("body", "options", "code", "message"),
    [
        (BODY[:-1], {}, StatusCode.INTERNAL, "ends inside a frame"),
        (base64.b64encode(BODY)[:-5], {"text": True}, StatusCode.INTERNAL, "base64"),
        (base64.b64encode(BODY[:-1]), {"text": True}, StatusCode.INTERNAL, "ends inside a frame"),
        (BODY, {"gzip": False}, StatusCode.INTERNAL, "name no compression"),
        (BODY, {"limit": 4}, StatusCode.RESOURCE_EXHAUSTED, "over the limit of 4 bytes"),
    ],
)
def test_a_bad_body(body: bytes, options: dict[str, bool], code: StatusCode, message: str) -> None:
    with pytest.raises(RemoteProtocolError, match=message) as caught:
        decode([body], **options)  # type: ignore[arg-type]  # of the same names
    assert caught.value.code is code


def test_the_last_frame_of_connect() -> None:
    body = frame(b"plain") + frame(gzip.compress(b"{}"), 3)
    reader = FrameReader(max_payload=100, trailers=True, trailers_flag=END_STREAM)
    frames = decode_frames([body], reader, text=False, encoding=GZIP, limit=100)
    assert [(frame.flags, frame.payload) for frame in frames] == [(0, b"plain"), (END_STREAM, b"{}")]
    reader = FrameReader(max_payload=100, trailers=True, trailers_flag=END_STREAM)
    with pytest.raises(RemoteProtocolError, match="flags 0x80"):
        [*reader.feed(frame(b"", TRAILERS))]
