"""Text mode."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_grpcweb_scm.wire import RemoteProtocolError, TextDecoder, decode_text, encode_text, text


def decode(chunks: list[bytes]) -> bytes:
    decoder = TextDecoder()
    decoded = b"".join(decoder.feed(chunk) for chunk in chunks)
    decoder.finish()
    return decoded


@given(st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 7))
def test_separately_padded_pieces_survive_any_cut(pieces: list[bytes], size: int) -> None:
    text = b"".join(encode_text(piece) for piece in pieces)
    assert decode([text[i : i + size] for i in range(0, len(text), size)]) == b"".join(pieces)
    assert decode([text]) == b"".join(pieces)


@given(st.binary(max_size=60))
def test_what_it_accepts_is_base64(text: bytes) -> None:
    try:
        decoded = decode([text])
    except RemoteProtocolError:
        return
    quanta = [text[i : i + 4] for i in range(0, len(text), 4)]
    assert decoded == b"".join(base64.b64decode(quantum, validate=True) for quantum in quanta)


@pytest.mark.parametrize(
    "malformed",
    [b"YQ", b"YQ=", b"YWI", b"Y", b"YQ\n=", b"YWJj\n", b" YWJj", b"YW-_", b"Y===", b"====", b"Y=Q=", b"YWJj!", b"YQ==="]
    + [b"\xff\xff\xff\xff", b"YWJj=YWJ"],
)
def test_anything_else_is_refused(malformed: bytes) -> None:
    for chunks in ([malformed], [malformed[i : i + 1] for i in range(len(malformed))]):
        with pytest.raises(RemoteProtocolError, match="base64"):
            decode(chunks)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 127, 128, 129, 130, 10_000])
def test_long_bodies_are_coded_as_short_ones_are(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By pybase64 and, where that is not installed, by the standard library."""
    data = random.Random(length).randbytes(length)
    piece = base64.b64encode(data)
    bodies = [
        piece,
        piece[:-1],
        piece + b"====",
        piece + b"YQ==YQ==",
        b"\n" + piece[1:],
        piece[:-1] + b"-",
        b"=" + piece,
    ]
    ways = []
    for library in (text.pybase64, None):
        monkeypatch.setattr(text, "pybase64", library)
        ways.append((encode_text(data), [decode_text(body) for body in bodies]))
    assert ways[0] == ways[1]
    assert ways[0][0] == piece
    assert ways[0][1][0] == data


@given(st.binary(min_size=128, max_size=140), st.text("AB+/= \n", max_size=4), st.integers(0, 4))
def test_odd_ends_of_long_bodies_mean_what_those_of_short_ones_do(data: bytes, end: str, cut: int) -> None:
    body = base64.b64encode(data)[: -cut or None] + end.encode()
    decoded = decode_text(body)
    assert decoded is None or decoded == decode([body])


def test_pieces_are_padded() -> None:
    assert encode_text(b"a") + encode_text(b"b") == b"YQ==Yg=="
    assert decode([b"YQ==Yg=="]) == b"ab"
