"""Text mode."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_grpcweb_scm.wire import RemoteProtocolError, TextDecoder, encode_text


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
    "text",
    [b"YQ", b"YQ=", b"YWI", b"Y", b"YQ\n=", b"YWJj\n", b" YWJj", b"YW-_", b"Y===", b"====", b"Y=Q=", b"YWJj!", b"YQ==="]
    + [b"\xff\xff\xff\xff", b"YWJj=YWJ"],
)
def test_anything_else_is_refused(text: bytes) -> None:
    for chunks in ([text], [text[i : i + 1] for i in range(len(text))]):
        with pytest.raises(RemoteProtocolError, match="base64"):
            decode(chunks)


def test_pieces_are_padded() -> None:
    assert encode_text(b"a") + encode_text(b"b") == b"YQ==Yg=="
    assert decode([b"YQ==Yg=="]) == b"ab"
