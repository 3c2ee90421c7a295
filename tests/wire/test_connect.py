"""Codes, errors, ends of streams, timeouts, media types and queries of Connect."""

from __future__ import annotations

import json

import pytest

from flask_grpcweb_scm.wire import (
    ConnectDetail,
    ConnectError,
    ConnectType,
    Metadata,
    RemoteProtocolError,
    StatusCode,
    code_from_http,
    code_name,
    decode_connect_error,
    decode_end,
    decode_query_message,
    encode_connect_error,
    encode_end,
    encode_query,
    format_timeout_ms,
    http_status,
    parse_connect_type,
    parse_query,
    parse_timeout_ms,
    preferred_encoding,
)

# connectrpc.com/docs/protocol#error-codes
CODES = """
canceled 499            unknown 500             invalid_argument 400    deadline_exceeded 504
not_found 404           already_exists 409      permission_denied 403   resource_exhausted 429
failed_precondition 400 aborted 409             out_of_range 400        unimplemented 501
internal 500            unavailable 503         data_loss 500           unauthenticated 401
"""


def test_codes_have_the_names_and_the_http_statuses_of_the_specification() -> None:
    names_and_statuses = iter(CODES.split())
    expected = [*zip(names_and_statuses, names_and_statuses, strict=True)]
    codes = [*StatusCode][1:]
    assert [(code_name(code), http_status(code).partition(" ")[0]) for code in codes] == expected


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, StatusCode.INTERNAL),
        (401, StatusCode.UNAUTHENTICATED),
        (403, StatusCode.PERMISSION_DENIED),
        (404, StatusCode.UNIMPLEMENTED),
        (429, StatusCode.UNAVAILABLE),
        (502, StatusCode.UNAVAILABLE),
        (503, StatusCode.UNAVAILABLE),
        (504, StatusCode.UNAVAILABLE),
        (405, StatusCode.UNKNOWN),
        (200, StatusCode.UNKNOWN),
    ],
)
def test_codes_are_inferred_from_http(status: int, code: StatusCode) -> None:
    assert code_from_http(status) is code
    assert decode_connect_error(b"<html>", status) == ConnectError(code)


# Media types


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("application/proto", ConnectType("proto", is_stream=False)),
        ("application/json", ConnectType("json", is_stream=False)),
        ("application/connect+proto", ConnectType("proto", is_stream=True)),
        ("application/connect+json", ConnectType("json", is_stream=True)),
        (" Application/JSON ; charset=UTF-8", ConnectType("json", is_stream=False)),
        ('application/json;charset="utf-8"', ConnectType("json", is_stream=False)),
        ("application/json; charset=us-ascii", ConnectType("json", is_stream=False)),
        ("application/json; charset=utf-16", None),
        ("application/json;charset=latin-1", None),
        ("application/connect", None),
        ("application/connect+", None),
        ("application/connect+xml", None),
        ("application/grpc-web+json", None),
        ("text/plain; application/json", None),
        ("application/json, application/proto", None),
        ("", None),
        (None, None),
    ],
)
def test_media_types(value: str | None, expected: ConnectType | None) -> None:
    assert parse_connect_type(value) == expected


# Timeouts


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0.0), ("1", 0.001), ("5000", 5.0), ("0001", 0.001), ("9999999999", 9999999.999)]
)
def test_timeouts_are_read(text: str, seconds: float) -> None:
    assert parse_timeout_ms(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.5", "1e3", "1_0", "²", "5S", " 5", "12345678901", "0x1"])
def test_malformed_timeouts_are_invalid(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="Connect-Timeout-Ms") as caught:
        parse_timeout_ms(text)
    assert caught.value.code is StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.5, "1500"), (0.0001, "1"), (0, "0"), (-3, "0"), (1e20, "9999999999"), (0.25, "250")]
)
def test_timeouts_are_written(seconds: float, text: str) -> None:
    assert format_timeout_ms(seconds) == text


# Errors

DETAIL = ConnectDetail("google.rpc.RetryInfo", b"\n\x02\x08<", {"retryDelay": "60s"})


def test_errors_are_written_and_read() -> None:
    error = ConnectError(StatusCode.UNAVAILABLE, "overloaded: é", (DETAIL,))
    body = encode_connect_error(error)
    assert json.loads(body) == {
        "code": "unavailable",
        "message": "overloaded: é",
        "details": [{"type": "google.rpc.RetryInfo", "value": "CgIIPA", "debug": {"retryDelay": "60s"}}],
    }
    assert decode_connect_error(body, 503) == error
    assert encode_connect_error(ConnectError(StatusCode.NOT_FOUND)) == b'{"code":"not_found"}'
    assert json.loads(encode_connect_error(ConnectError(StatusCode.NOT_FOUND, "\ud800"))) == {
        "code": "not_found",
        "message": "?",
    }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"null", ConnectError(StatusCode.UNAUTHENTICATED)),
        (b"[]", ConnectError(StatusCode.UNAUTHENTICATED)),
        (b"{}", ConnectError(StatusCode.UNAUTHENTICATED)),
        (b'{"code": null, "message": "kept"}', ConnectError(StatusCode.UNAUTHENTICATED, "kept")),
        (b'{"code": "ok"}', ConnectError(StatusCode.UNAUTHENTICATED)),
        (b'{"code": 5}', ConnectError(StatusCode.UNAUTHENTICATED)),
        (b'{"code": "not_found", "message": 1, "details": {}}', ConnectError(StatusCode.NOT_FOUND)),
        (b'{"code": "not_found", "other": [1]}', ConnectError(StatusCode.NOT_FOUND)),
        (b'{"code": "not_found", "message": "cut sh', ConnectError(StatusCode.UNAUTHENTICATED)),
        (b"[" * 100_000, ConnectError(StatusCode.UNAUTHENTICATED)),
        (b"\xff", ConnectError(StatusCode.UNAUTHENTICATED)),
    ],
)
def test_malformed_errors_say_what_they_can(body: bytes, expected: ConnectError) -> None:
    assert decode_connect_error(body, 401) == expected


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ('{"type": "a.B", "value": "AQ=="}', ConnectDetail("a.B", b"\1")),
        ('{"type": "a.B", "value": "AQ", "debug": "any"}', ConnectDetail("a.B", b"\1", "any")),
        ('{"type": "a.B", "value": "AQ", "more": 1}', ConnectDetail("a.B", b"\1")),
        ('{"type": "a.B", "value": "!"}', None),
        ('{"type": "a.B"}', None),
        ('{"value": "AQ"}', None),
        ("null", None),
    ],
)
def test_malformed_details_are_left_out(detail: str, expected: ConnectDetail | None) -> None:
    body = f'{{"code": "aborted", "details": [{detail}]}}'.encode()
    assert decode_connect_error(body, 409).details == (() if expected is None else (expected,))


def test_ends_of_streams_are_written_and_read() -> None:
    metadata = Metadata([("a", "1"), ("b-bin", b"\xff"), ("a", "2")])
    error = ConnectError(StatusCode.ABORTED, "late", (DETAIL,))
    payload = encode_end(error, metadata)
    assert json.loads(payload)["metadata"] == {"a": ["1", "2"], "b-bin": ["/w"]}
    assert decode_end(payload) == (error, [("a", "1"), ("a", "2"), ("b-bin", "/w")])
    assert encode_end(None) == b"{}"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"{}", (None, [])),
        (b'{"error": null, "metadata": null}', (None, [])),
        (b'{"error": {}}', (ConnectError(StatusCode.UNKNOWN), [])),
        (b'{"error": "text"}', (ConnectError(StatusCode.UNKNOWN), [])),
        (b'{"error": {"code": "nonsense", "message": "m"}}', (ConnectError(StatusCode.UNKNOWN, "m"), [])),
        (b'{"metadata": {"A": "one", "b": [1, "two", null], "c": null}}', (None, [("a", "one"), ("b", "two")])),
        (b'{"metadata": ["a"], "other": 1}', (None, [])),
    ],
)
def test_odd_ends_of_streams(payload: bytes, expected: object) -> None:
    assert decode_end(payload) == expected


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b'"x"', b"{", b"grpc-status: 0\r\n"])
def test_an_end_that_is_no_object_is_an_error(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not a JSON object"):
        decode_end(payload)


# Queries


@pytest.mark.parametrize(
    ("codec", "message", "compression", "query"),
    [
        ("json", b'{"a":"+ "}', None, "connect=v1&encoding=json&message=%7B%22a%22%3A%22%2B%20%22%7D"),
        ("proto", b"\xff\xfe\x00", None, "connect=v1&base64=1&encoding=proto&message=__4A"),
        ("json", b"{}", "gzip", "connect=v1&base64=1&compression=gzip&encoding=json&message=e30"),
        ("proto", b"", None, "connect=v1&base64=1&encoding=proto&message="),
    ],
)
def test_queries_are_written_and_read(codec: str, message: bytes, compression: str | None, query: str) -> None:
    assert encode_query(codec, message, compression) == query
    parameters = parse_query(query)
    assert decode_query_message(parameters) == message
    assert parameters["encoding"] == codec.encode()
    assert parameters.get("compression") == (compression.encode() if compression else None)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("message=a+b", b"a b"),
        ("message=%ff", b"\xff"),
        ("message=\xff", b"\xff"),
        ("message=%zz", b"%zz"),
        ("%6Dessage=x&utm=1", b"x"),
        ("message=a=b", b"a=b"),
        ("message", b""),
        ("base64=1&message=YQ", b"a"),
        ("base64=1&message=YQ==", b"a"),
        ("base64=1&message=YQ%3D%3D", b"a"),
        ("base64=0&message=YQ", b"YQ"),
        ("base64=&message=YQ", b"YQ"),
    ],
)
def test_queries_that_are_read(query: str, message: bytes) -> None:
    assert decode_query_message(parse_query(query)) == message


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "has no message="),
        ("encoding=json", "has no message="),
        ("Message=1", "has no message="),
        ("message=1&message=1", "message= more than once"),
        ("message=1&%6dessage=2", "message= more than once"),
        ("encoding=json&encoding=proto&message=", "encoding= more than once"),
        ("base64=1&message=+w", "URL-safe base64"),
        ("base64=1&message=/w", "URL-safe base64"),
        ("base64=1&message=Y", "URL-safe base64"),
        ("base64=1&message=YQ==YQ==", "URL-safe base64"),
        ("base64=1&message=Y%20Q", "URL-safe base64"),
        ("base64=1&message=YQ===", "URL-safe base64"),
    ],
)
def test_queries_that_are_refused(query: str, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text) as caught:
        decode_query_message(parse_query(query))
    assert caught.value.code is StatusCode.INVALID_ARGUMENT


# Accept-Encoding


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("GZip , deflate", "gzip"),
        ("deflate, gzip", "deflate"),
        ("gzip;q=0, deflate;q=0.5", "deflate"),
        ("gzip; q=0.000", None),
        ("gzip;q=0.001", "gzip"),
        ("unknown, gzip", "gzip"),
        ("identity, gzip", None),
        ("*", None),
    ],
)
def test_the_first_encoding_that_is_accepted(accept: str | None, name: str | None) -> None:
    encoding = preferred_encoding(accept)
    assert (encoding.name if encoding else None) == name
