"""Frames and trailers, fed whole, byte by byte and split anywhere."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_grpcweb_scm.wire import (
    COMPRESSED,
    TRAILERS,
    Frame,
    FrameReader,
    RemoteProtocolError,
    StatusCode,
    encode_frame,
    encode_trailers,
    parse_trailers,
)

FRAMES = st.lists(st.builds(Frame, st.sampled_from([0, COMPRESSED]), st.binary(max_size=50)), max_size=5)


def read_all(chunks: list[bytes], *, limit: int = 100, trailers: bool = False) -> list[Frame]:
    reader = FrameReader(max_payload=limit, trailers=trailers)
    frames = [frame for chunk in chunks for frame in reader.feed(chunk)]
    reader.finish()
    return frames


@given(FRAMES, st.lists(st.integers(0, 300)))
def test_frames_survive_any_cut(frames: list[Frame], cuts: list[int]) -> None:
    body = b"".join(encode_frame(frame.payload, flags=frame.flags) for frame in frames)
    edges = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    assert read_all([body[start:end] for start, end in itertools.pairwise(edges)]) == frames
    assert read_all([body[i : i + 1] for i in range(len(body))]) == frames


@given(st.lists(st.binary(max_size=30)))
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(chunks: list[bytes]) -> None:
    try:
        read_all(chunks)
    except RemoteProtocolError as error:
        assert error.code in (StatusCode.INTERNAL, StatusCode.RESOURCE_EXHAUSTED)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"\x00\x00\x00\x00\x65" + b"a" * 101, 8, "message of 101 bytes is over the limit of 100 bytes"),
        (b"\x00\xff\xff\xff\xff", 8, "message of 4294967295 bytes is over the limit"),
        (b"\x80\x00\x00\x00\x00", 13, "frame flags 0x80 have reserved bits set"),
        (b"\x02\x00\x00\x00\x00", 13, "frame flags 0x02"),
        (b"\x00\x00\x00", 13, "ends inside a frame, after 3 of its bytes"),
        (b"\x00\x00\x00\x00\x02a", 13, "ends inside a frame, after 6 of its bytes"),
    ],
)
def test_a_bad_body_is_refused(body: bytes, code: int, message: str) -> None:
    for chunks in ([body], [body[i : i + 1] for i in range(len(body))]):
        with pytest.raises(RemoteProtocolError, match=message) as caught:
            read_all(chunks)
        assert caught.value.code is StatusCode(code)


def test_exactly_at_the_limit_passes() -> None:
    assert read_all([encode_frame(b"a" * 100)]) == [Frame(0, b"a" * 100)]


def test_a_declared_length_is_not_believed() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            read_all([b"\x00\xff\xff\xff\xff"])
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_good_frames_before_a_bad_one_are_given_first() -> None:
    frames = FrameReader(max_payload=10).feed(encode_frame(b"a") + b"\xff\x00\x00\x00\x00")
    assert next(frames) == Frame(0, b"a")
    with pytest.raises(RemoteProtocolError):
        next(frames)


def test_trailers_are_lower_case_lines_in_a_frame_of_their_own() -> None:
    frame = encode_trailers([("Grpc-Status", "0"), ("x-a", "b: c")])
    assert frame == b"\x80\x00\x00\x00\x1b" + b"grpc-status: 0\r\nx-a: b: c\r\n"
    (read,) = read_all([frame], trailers=True)
    assert read.flags == TRAILERS
    assert parse_trailers(read.payload) == [("grpc-status", "0"), ("x-a", "b: c")]


@pytest.mark.parametrize(
    ("payload", "pairs"),
    [
        (b"", []),
        (b"Grpc-Status:0", [("grpc-status", "0")]),
        (b"grpc-status:  5 \r\n\r\n", [("grpc-status", "5")]),
        (b"a:\xff\r\n", [("a", "\xff")]),
    ],
)
def test_other_servers_trailers_are_read_leniently(payload: bytes, pairs: list[tuple[str, str]]) -> None:
    assert parse_trailers(payload) == pairs


def test_a_trailer_line_without_a_colon_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="malformed trailer line 'oops'"):
        parse_trailers(b"oops\r\n")
