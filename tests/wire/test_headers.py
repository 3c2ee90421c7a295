"""What stands in headers: content types, timeouts, status messages."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_grpcweb_scm.wire import (
    CONTENT_TYPES,
    RemoteProtocolError,
    StatusCode,
    decode_message,
    encode_message,
    format_timeout,
    parse_content_type,
    parse_timeout,
    response_content_type,
)
from flask_grpcweb_scm.wire.headers import MAX_TIMEOUT
from flask_grpcweb_scm.wire.status import MAX_MESSAGE_HEADER_BYTES

BINARY, TEXT = "application/grpc-web+proto", "application/grpc-web-text+proto"


@pytest.mark.parametrize("name", CONTENT_TYPES)
def test_a_content_type_reads_back_as_itself(name: str) -> None:
    for spelling in (name, name.upper(), f" {name} ; charset=utf-8", f"{name};a=b"):
        assert str(parse_content_type(spelling)) == name


@pytest.mark.parametrize(
    ("name", "text", "codec"),
    [
        ("application/grpc-web", False, "proto"),
        ("application/grpc-web+json", False, "json"),
        ("application/grpc-web-text", True, "proto"),
        ("application/grpc-web-text+json", True, "json"),
    ],
)
def test_a_content_type_says_mode_and_codec(name: str, text: bool, codec: str) -> None:
    content_type = parse_content_type(name)
    assert content_type is not None
    assert (content_type.text, content_type.codec) == (text, codec)


@pytest.mark.parametrize(
    "name", [None, "", "application/grpc", "application/grpc-web+", "application/grpc-webx", "a;b"]
)
def test_other_content_types_are_not_ours(name: str | None) -> None:
    assert parse_content_type(name) is None


@pytest.mark.parametrize(
    ("request_type", "accept", "answer"),
    [
        (BINARY, None, BINARY),
        (TEXT, None, TEXT),
        (BINARY, "*/*", BINARY),
        (TEXT, "application/json, text/html", TEXT),
        (BINARY, "application/grpc-web-text", TEXT),
        (TEXT, "application/grpc-web", BINARY),
        (TEXT, "application/grpc-web+proto;q=1", BINARY),
        ("application/grpc-web-text+json", "application/grpc-web", "application/grpc-web+json"),
        ("application/grpc-web", "Application/GRPC-Web-Text+proto", "application/grpc-web-text"),
    ],
)
def test_the_answer_is_as_accept_says_or_as_the_request(request_type: str, accept: str | None, answer: str) -> None:
    assert str(response_content_type(CONTENT_TYPES[request_type], accept)) == answer


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("1H", 3600), ("2M", 120), ("3S", 3), ("250m", 0.25), ("5u", 5e-6), ("7n", 7e-9), ("0n", 0), ("00000000S", 0)]
    + [("123456789012m", 123456789.012), ("99999999H", MAX_TIMEOUT), ("9" * 5000 + "S", MAX_TIMEOUT)],
)
def test_a_timeout_is_read(value: str, seconds: float) -> None:
    assert parse_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", ["", "5", "m", "-5m", "+5m", "1.5S", "²S", "1_0S", "5s", "5 m", " 5m", "5mm", "٣S", "5m\n"]
)
def test_a_malformed_timeout_is_refused(value: str) -> None:
    with pytest.raises(RemoteProtocolError, match="grpc-timeout") as caught:
        parse_timeout(value)
    assert caught.value.code is StatusCode.INVALID_ARGUMENT


@given(st.floats(0, MAX_TIMEOUT))
def test_a_timeout_is_written_rounded_up_in_eight_digits(seconds: float) -> None:
    written = format_timeout(seconds)
    assert len(written) <= 9
    assert parse_timeout(written) >= seconds - 1e-9
    assert parse_timeout(written) <= seconds * (1 + 1e-4) + 1e-9


@pytest.mark.parametrize(("seconds", "written"), [(-1, "0n"), (0.1, "100000u"), (1e12, "5256000M")])
def test_a_timeout_is_written_in_the_finest_unit_that_fits(seconds: float, written: str) -> None:
    assert format_timeout(seconds) == written


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("plain ~ text", "plain ~ text"),
        ("100%", "100%25"),
        ("ü", "%C3%BC"),
        ("a\r\nb\0\x7f", "a%0D%0Ab%00%7F"),
        ("😈", "%F0%9F%98%88"),
        ("\ud83d", "?"),
    ],
)
def test_a_message_is_encoded(text: str, encoded: str) -> None:
    assert encode_message(text) == encoded


@given(st.text())
def test_a_message_comes_back(text: str) -> None:
    encoded = encode_message(text)
    assert encoded.isascii()
    assert encoded.isprintable()
    expected = text.encode("utf-8", "replace").decode()
    if len(encoded) < MAX_MESSAGE_HEADER_BYTES - 12:
        assert decode_message(encoded) == unquote(encoded) == expected


@given(st.text(min_size=1), st.integers(1000, 2000), st.integers(12, 2000) | st.just(MAX_MESSAGE_HEADER_BYTES))
def test_a_long_message_is_cut_between_characters(text: str, times: int, max_bytes: int) -> None:
    encoded = encode_message(text * times * 2, max_bytes)
    assert max_bytes - 12 < len(encoded) <= max_bytes or len(text) * times * 2 <= max_bytes
    whole = (text * times * 2).encode("utf-8", "replace").decode()
    assert whole.startswith(decode_message(encoded))


@pytest.mark.parametrize(("value", "text"), [("%", "%"), ("%zz", "%zz"), ("a%4", "a%4"), ("%ff", "�"), ("%c3%bc", "ü")])
def test_decoding_a_message_never_fails(value: str, text: str) -> None:
    assert decode_message(value) == text
