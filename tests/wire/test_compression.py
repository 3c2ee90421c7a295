"""Message encodings and their bounds."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_grpcweb_scm.wire import ENCODINGS, RemoteProtocolError, StatusCode, choose_encoding, find_encoding

NAMES = list(ENCODINGS)


def test_the_development_environment_has_all_encodings() -> None:
    assert NAMES == ["gzip", "deflate", "br", "zstd"]


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=2000), times=st.sampled_from([1, 500]))
def test_a_message_comes_back_at_the_limit_and_not_over_it(name: str, data: bytes, times: int) -> None:
    encoding, message = ENCODINGS[name], data * times
    compressed = encoding.compress(message)
    assert encoding.decompress(compressed, len(message)) == message
    if message:
        with pytest.raises(RemoteProtocolError, match="over the limit") as caught:
            encoding.decompress(compressed, len(message) - 1)
        assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(name: str, data: bytes) -> None:
    try:
        assert len(ENCODINGS[name].decompress(data, 1000)) <= 1000
    except RemoteProtocolError as error:
        assert error.code in (StatusCode.INTERNAL, StatusCode.RESOURCE_EXHAUSTED)


@pytest.mark.parametrize("name", NAMES)
def test_a_message_cut_short_or_followed_by_garbage_is_corrupt(name: str) -> None:
    compressed = ENCODINGS[name].compress(b"some message " * 1000)
    for corrupt in (
        compressed[:-1],
        compressed[: len(compressed) // 2],
        compressed + b"garbage",
        b"garbage" + compressed,
    ):
        with pytest.raises(RemoteProtocolError, match="corrupt compressed message") as caught:
            ENCODINGS[name].decompress(corrupt, 10**6)
        assert caught.value.code is StatusCode.INTERNAL


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_payload_is_an_empty_message(name: str) -> None:
    assert ENCODINGS[name].decompress(b"", 0) == b""


@pytest.mark.parametrize("name", NAMES)
def test_a_bomb_of_64_mib_takes_little_memory(name: str) -> None:
    bomb = ENCODINGS[name].compress(bytes(64 * 2**20))
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError, match="over the limit"):
            ENCODINGS[name].decompress(bomb, 2**20)
        # Doubling output buffers need some times the limit, never the bomb's size.
        assert tracemalloc.get_traced_memory()[1] < 6 * 2**20
    finally:
        tracemalloc.stop()


def test_gzip_members_may_follow_each_other() -> None:
    assert ENCODINGS["gzip"].decompress(gzip.compress(b"ab") + gzip.compress(b"cd"), 4) == b"abcd"


def test_many_empty_gzip_members_take_linear_time() -> None:
    started = time.process_time()
    assert ENCODINGS["gzip"].decompress(gzip.compress(b"") * 50_000, 10) == b""
    # Quadratic copying takes minutes.
    assert time.process_time() - started < 20


def test_deflate_is_the_zlib_format() -> None:
    assert zlib.decompress(ENCODINGS["deflate"].compress(b"abc")) == b"abc"
    raw = zlib.compressobj(wbits=-15)
    with pytest.raises(RemoteProtocolError, match="corrupt"):
        ENCODINGS["deflate"].decompress(raw.compress(b"abc") + raw.flush(), 100)


@pytest.mark.parametrize(("header", "name"), [(None, None), ("", None), ("Identity", None), (" GZIP ", "gzip")])
def test_an_encoding_is_found(header: str | None, name: str | None) -> None:
    found = find_encoding(header)
    assert (found.name if found else None) == name


@pytest.mark.parametrize("header", ["lzw", "gzip, deflate", "gzip;q=1", "ü"])
def test_an_unknown_encoding_is_unimplemented(header: str) -> None:
    with pytest.raises(RemoteProtocolError, match="use one of identity, gzip, deflate") as caught:
        find_encoding(header)
    assert caught.value.code is StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("lzw", None),
        ("deflate,gzip", "gzip"),
        ("identity, DEFLATE", "deflate"),
    ],
)
def test_responses_are_compressed_only_as_the_caller_accepts(accept: str | None, name: str | None) -> None:
    chosen = choose_encoding(accept)
    assert (chosen.name if chosen else None) == name
