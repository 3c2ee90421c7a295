"""Rows about Connect: messages without frames, envelopes, queries, and headers that gRPC-Web has other names for."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from tests.grpcweb import BOMB, frame
from tests.protocols import CODES
from tests.sockets.app import MAX_MESSAGE_BYTES
from tests.sockets.hostile_messages import AT_LIMIT, BAD_JSON, BAD_PROTO, MEBIBYTE, OVER_LIMIT
from tests.sockets.http1 import chunked, request
from tests.sockets.rows import (
    ANY,
    REQUESTS,
    STREAM,
    UNARY,
    Outcome,
    Sent,
    accepted,
    answered,
    gzipped,
    message,
    refused,
    row,
)

__all__ = ["CONNECT_PAYLOAD_ROWS", "CONNECT_ROWS", "IN_JSON", "get", "post"]

FIND = "/tests.echo.v1.Lookup/Find"
PROTO, JSON = "application/proto", "application/json"
STREAM_PROTO, STREAM_JSON = "application/connect+proto", "application/connect+json"
HELLO = b'{"text": "hello"}'
STATUSES = dict(CODES.values())
TWO = frame(message(count=2))


def post(
    body: bytes = HELLO,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    *,
    target: str = UNARY,
    content_type: str = JSON,
    **options: Any,
) -> Sent:
    """A POST request; `options` are those of :class:`Sent` and of :func:`request`."""
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    sending = {name: options.pop(name) for name in ("step", "end") if name in options}
    data = request(target, body, [("Content-Type", content_type), *pairs], **options)
    kind = content_type.lower().partition(";")[0].strip()
    return Sent(data, verb=options.get("verb", "POST"), connect=kind, **sending)


def envelopes(body: bytes, headers: Any = (), *, target: str = STREAM, content_type: str = STREAM_PROTO) -> Sent:
    return post(body, headers, target=target, content_type=content_type)


def get(
    query: str,
    headers: Iterable[tuple[str, str]] = (),
    *,
    target: str = FIND,
    verb: str = "GET",
    end: bool = False,
) -> Sent:
    codec = "proto" if "encoding=proto" in query else "json"
    data = request(f"{target}?{query}", b"", headers, verb=verb)
    return Sent(data, verb=verb, end=end, connect=f"application/{codec}")


def denied(code: int, text: str, **options: bool) -> Outcome:
    """The error of a unary call, which has an HTTP status of its own."""
    return Outcome(STATUSES[code], code, text, **options)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


# Unary calls: the body is the message

UNARY_BODIES = [
    row("connect", post(), accepted()),
    row("connect-proto", post(message(), content_type=PROTO), accepted()),
    row("connect-proto-empty", post(b"", content_type=PROTO), accepted("")),
    row("connect-json-empty-object", post(b"{}"), accepted("")),
    row("connect-json-unknown-fields", post(b'{"text": "hello", "nose": [1]}'), accepted()),
    row("connect-json-snake-or-not", post(b' {"text":\n"hello"}\t'), accepted()),
    row("connect-proto-unknown-fields", post(message() + b"\xf8\x07\x01", content_type=PROTO), accepted()),
    row("connect-enveloped", post(frame(message()), content_type=PROTO), denied(3, "in protobuf")),
    row("connect-enveloped-json", post(frame(HELLO)), denied(3, "in JSON")),
    row("connect-two-messages", post(HELLO * 2), denied(3, "in JSON")),
    row("connect-json-as-proto", post(HELLO, content_type=PROTO), denied(3, "in protobuf")),
    row("connect-proto-as-json", post(message()), denied(3, "in JSON")),
    *(row(f"connect-proto-{name}", post(payload, content_type=PROTO),
          denied(3, "is not a tests.echo.v1.EchoRequest in protobuf")) for name, payload in BAD_PROTO.items()),
    *(row(f"connect-json-{name}", post(payload), denied(3, "in JSON")) for name, payload in BAD_JSON.items()),
    row("connect-json-nan", post(b'{"text": "hello", "count": NaN}'), denied(3, "in JSON")),
    row("connect-error-text", post(b'{"text": "fail \\u00fc%\\r\\n\\u007f\\ud83d\\ude00\\u2028\\""}'),
        denied(5, 'fail ü%\r\n\x7f😀\u2028"')),
    row("connect-error-metadata", post(b'{"text": "fail"}', {"x-trailing": "a", "x-initial-bin": "YQ"}),
        denied(5, "fail")),
]  # fmt: skip

GZIP = {"content-encoding": "gzip"}
WHOLE = gzip.compress(HELLO)
COMPRESSED = [
    row("connect-gzip", post(WHOLE, GZIP), accepted()),
    row("connect-gzip-empty-body", post(b"", GZIP, content_type=PROTO), accepted("")),
    row("connect-gzip-two-members", post(gzip.compress(HELLO[:4]) + gzip.compress(HELLO[4:]), GZIP), accepted()),
    row("connect-gzip-at-limit", post(gzip.compress(AT_LIMIT, 1), GZIP, content_type=PROTO), accepted("XXXX")),
    row("connect-gzip-over-limit", post(gzip.compress(OVER_LIMIT, 1), GZIP, content_type=PROTO),
        denied(8, "decompressed message is over the limit")),
    row("connect-gzip-bomb", post(BOMB, GZIP), denied(8, "decompressed message is over the limit")),
    row("connect-gzip-of-gzip", post(gzip.compress(WHOLE), GZIP), denied(3, "in JSON")),
    row("connect-gzip-cut", post(WHOLE[:-1], GZIP), denied(3, "it is cut short")),
    row("connect-gzip-garbage-after", post(WHOLE + b"garbage", GZIP), denied(3, "corrupt")),
    row("connect-gzip-is-text", post(HELLO, GZIP), denied(3, "corrupt")),
    row("connect-gzip-is-zlib", post(zlib.compress(HELLO), GZIP), denied(3, "corrupt")),
    row("connect-deflate", post(zlib.compress(HELLO), {"content-encoding": "deflate"}), accepted()),
    row("connect-identity", post(headers={"content-encoding": "Identity"}), accepted()),
    row("connect-encoding-unknown", post(headers={"content-encoding": "lzma"}), denied(12, "'lzma' is not supported")),
    row("connect-encoding-list", post(headers={"content-encoding": "gzip, gzip"}), denied(12, "is not supported")),
    row("connect-encoding-of-grpc", post(WHOLE, {"grpc-encoding": "gzip"}), denied(3, "in JSON")),
    row("connect-encoding-of-streams", post(WHOLE, {"connect-content-encoding": "gzip"}), denied(3, "in JSON")),
    row("connect-accept-odd", post(headers={"accept-encoding": ",,\xff;q=x, br;q=0,*"}), accepted()),
]  # fmt: skip

TIMEOUT = "connect-timeout-ms"
MALFORMED_TIMEOUTS = [
    *("", "x", "-5", "+5", "1.5", "5m", "5 5", "1_0", "0x5", "\xb2", "1e3", "9" * 11, "0" * 11, "9" * 4000),
]
HEADERS = [
    *(row(f"connect-timeout-{value[:12]}", post(headers={TIMEOUT: value}), denied(3, "Connect-Timeout-Ms"))
      for value in MALFORMED_TIMEOUTS),
    row("connect-timeout-stream", envelopes(TWO, {TIMEOUT: "5S"}), refused(3, "Connect-Timeout-Ms")),
    *(row(f"connect-timeout-{value}", post(headers={TIMEOUT: value}), denied(4, "deadline"))
      for value in ["0", "0000"]),
    *(row(f"connect-timeout-{value}", post(headers={TIMEOUT: value}), accepted())
      for value in ["9999999999", "20000"]),
    row("connect-timeout-of-grpc", post(headers={"grpc-timeout": "0n"}), accepted()),
    *(row(f"connect-version-{value}", post(headers={"connect-protocol-version": value}),
          denied(3, "Connect-Protocol-Version")) for value in ["2", "", "1.0", "v1", "1, 1", "\xb9", "9" * 4000]),
    row("connect-version-1", post(headers={"connect-protocol-version": " 1 "}), accepted()),
    row("connect-version-stream", envelopes(TWO, {"connect-protocol-version": "2"}), refused(3, "Protocol-Version")),
]  # fmt: skip

# Streams: the body is envelopes

ENVELOPES = [
    row("connect-stream", envelopes(TWO), accepted("hello"), waitress=answered(200, 0, "hello", closes=True)),
    row("connect-stream-json", envelopes(frame(HELLO), content_type=STREAM_JSON), accepted(""),
        waitress=answered(200, 0, closes=True)),
    *(row(f"connect-flags-{flags:02x}", envelopes(frame(message(), flags)), refused(3, f"0x{flags:02x}"))
      for flags in (0x02, 0x03, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFF)),
    *(row(f"connect-prefix-{n}-bytes", envelopes(TWO[:n]), refused(3, "ends inside a frame")) for n in range(1, 6)),
    row("connect-payload-cut", envelopes(TWO[:-1]), refused(3, "ends inside a frame")),
    row("connect-bare", envelopes(message()), refused(3, "0x0a")),
    row("connect-bare-json", envelopes(HELLO, content_type=STREAM_JSON), refused(3, "0x7b")),
    row("connect-none", envelopes(b""), refused(12, "the body has none")),
    row("connect-two", envelopes(TWO * 2), refused(12, "the body has more than one")),
    row("connect-then-http", envelopes(TWO + b"POST / HTTP/1.1\r\n\r\n"), refused(3, "0x50")),
    row("connect-length-4-gib", envelopes(b"\0\xff\xff\xff\xff"), refused(8, "message of 4294967295 bytes")),
    row("connect-length-over-limit", envelopes(b"\0\0\x40\0\1"), refused(8, "over the limit of 4194304")),
    row("connect-stream-bad-proto", envelopes(frame(b"\x0f")), refused(3, "in protobuf")),
    row("connect-stream-bad-json", envelopes(frame(b"{"), content_type=STREAM_JSON), refused(3, "in JSON")),
    row("connect-stream-deep-json", envelopes(frame(b"[" * 100_000), content_type=STREAM_JSON), refused(3, "in JSON")),
    row("connect-stream-gzip", envelopes(gzipped(message(count=1)), {"connect-content-encoding": "gzip"}),
        accepted("hello"), waitress=answered(200, 0, "hello", closes=True)),
    row("connect-stream-gzip-without-encoding", envelopes(gzipped(message())), refused(13, "name no compression")),
    row("connect-stream-gzip-of-unary", envelopes(gzipped(message()), GZIP), refused(13, "name no compression")),
    row("connect-stream-bomb", envelopes(frame(BOMB, 1), {"connect-content-encoding": "gzip"}),
        refused(8, "decompressed message is over the limit")),
    row("connect-stream-encoding-unknown", envelopes(TWO, {"connect-content-encoding": "lzma"}), refused(12, "'lzma'")),
    row("connect-stream-fails", envelopes(frame(message("fail", count=2))), refused(15, "fail"),
        waitress=refused(15, "fail", closes=True)),
    row("connect-requests", envelopes(frame(message()) * 3, target=REQUESTS), accepted("hello,hello,hello")),
    row("connect-requests-none", envelopes(b"", target=REQUESTS), accepted("")),
    row("connect-requests-last-cut", envelopes(frame(message()) * 2 + b"\0\0", target=REQUESTS), refused(3, "inside")),
    row("connect-requests-end-stream", envelopes(frame(message()) + frame(b"{}", 2), target=REQUESTS),
        refused(3, "0x02")),
    row("connect-requests-second-malformed", envelopes(frame(message()) + frame(b"\x0f"), target=REQUESTS),
        refused(3, "in protobuf")),
    row("connect-requests-100000-empty", envelopes(frame(b"") * 100_000, target=REQUESTS), accepted(",,,")),
]  # fmt: skip

# Queries

TEXT = "%7B%22text%22%3A%22hello%22%7D"
IN_JSON = "connect=v1&encoding=json&message="
IN_BASE64 = "connect=v1&base64=1"
MESSAGE = base64url(message())
QUERIES = [
    row("get", get(f"{IN_JSON}{TEXT}"), accepted()),
    row("get-proto", get(f"{IN_BASE64}&encoding=proto&message={MESSAGE}"), accepted()),
    row("get-unpadded", get(f"{IN_BASE64}&encoding=proto&message={MESSAGE.rstrip('=')}"), accepted()),
    row("get-escaped", get(f"{IN_BASE64}&encoding=proto&message={MESSAGE.replace('=', '%3D')}"), accepted()),
    row("get-names-escaped", get(f"connect=v1&encoding=json&%6Dessage={TEXT}"), accepted()),
    row("get-gzip", get(f"connect=v1&base64=1&compression=gzip&encoding=json&message={base64url(WHOLE)}"), accepted()),
    row("get-without-version", get(f"encoding=json&message={TEXT}"), accepted()),
    row("get-message-empty", get("connect=v1&encoding=proto&base64=1&message="), accepted("")),
    row("get-other-parameters", get(f"a=b&connect=v1&&encoding=json&message={TEXT}&c&=&utm=%ff"), accepted()),
    row("get-base64-2", get(f"connect=v1&base64=2&encoding=json&message={TEXT}"), accepted()),
    row("get-json-empty", get(IN_JSON), denied(3, "in JSON")),
    row("get-message-missing", get("connect=v1&encoding=json"), denied(3, "has no message=")),
    row("get-message-twice", get(f"{IN_JSON}{TEXT}&message={TEXT}"), denied(3, "more than once")),
    row("get-message-twice-escaped", get(f"{IN_JSON}{TEXT}&%6Dessage=x"), denied(3, "than once")),
    row("get-encoding-missing", get(f"connect=v1&message={TEXT}"), denied(3, "no encoding=json")),
    row("get-encoding-twice", get(f"{IN_JSON}{TEXT}&encoding=json"), denied(3, "more than once")),
    row("get-encoding-unknown", get(f"connect=v1&encoding=xml&message={TEXT}"), answered(415)),
    row("get-encoding-case", get(f"connect=v1&encoding=JSON&message={TEXT}"), answered(415)),
    row("get-encoding-wrong", get(f"connect=v1&encoding=proto&message={TEXT}"), denied(3, "in protobuf")),
    row("get-connect-v2", get(f"connect=v2&encoding=json&message={TEXT}"), denied(3, "connect=v2")),
    row("get-connect-empty", get(f"connect=&encoding=json&message={TEXT}"), denied(3, "connect=")),
    row("get-connect-twice", get(f"connect=v1&connect=v1&encoding=json&message={TEXT}"), denied(3, "more than once")),
    *(row(f"get-percent-{name}", get(f"{IN_JSON}{TEXT}{text}"), denied(3, "in JSON"))
      for name, text in {"stray": "%", "zz": "%zz", "cut": "%2", "nul": "%00", "ff": "%ff",
                         "lone-surrogate": "%ed%a0%80", "overlong": "%c0%80"}.items()),
    *(row(f"get-base64-{name}", get(f"{IN_BASE64}&encoding=proto&message={text}"), denied(3, "base64"))
      for name, text in {"one-letter": "A", "odd-length": "AAAAA", "standard": "%2B%2F%2B%2F", "inside": "AA==AA==",
                         "star": "AA*A", "only-padding": "===", "line-break": "AAAA%0A", "not-ascii": "%c3%a9%c3%a9"
                         }.items()),
    row("get-plus", get(IN_JSON + "%7B%22text%22:+%22hello%22%7D"), accepted()),
    row("get-compression-unknown", get(f"{IN_JSON}{TEXT}&compression=lzma"), denied(12, "lzma")),
    row("get-compression-of-text", get(f"{IN_JSON}{TEXT}&compression=gzip"), denied(3, "corrupt")),
    row("get-compression-twice", get(f"{IN_JSON}{TEXT}&compression=gzip&compression=br"),
        denied(3, "more than once")),
    row("get-gzip-cut", get(f"{IN_BASE64}&compression=gzip&encoding=json&message={base64url(WHOLE[:-1])}"),
        denied(3, "cut short")),
    row("get-deep", get(IN_JSON + "[" * 2000), denied(3, "in JSON")),
    row("get-side-effects", get(f"{IN_JSON}{TEXT}", target=UNARY), answered(405)),
    row("get-stream", get(f"{IN_JSON}{TEXT}", target=STREAM), answered(405)),
    row("get-unknown-method", get(f"{IN_JSON}{TEXT}", target="/a.B/C"), answered(404)),
    row("get-nothing", get(""), denied(3, "has no")),
    row("get-timeout-malformed", get(f"{IN_JSON}{TEXT}", [(TIMEOUT, "x")]), denied(3, "Timeout")),
    row("get-timeout-0", get(f"{IN_JSON}{TEXT}", [(TIMEOUT, "0")]), denied(4, "deadline")),
    row("get-fails", get(IN_JSON + "%7B%22text%22:%22fail%22%7D"), denied(5, "fail")),
    row("get-head", get(f"{IN_JSON}{TEXT}", verb="HEAD"), answered(200)),
    row("get-head-malformed", get("connect=v1&encoding=json", verb="HEAD"), answered(400)),
    *(row(f"get-{verb}", get(f"{IN_JSON}{TEXT}", verb=verb), answered(405))
      for verb in ("PUT", "DELETE", "PATCH", "PROPFIND")),
    row("get-post", get(f"{IN_JSON}{TEXT}", verb="POST"), answered(415)),
]  # fmt: skip

# What servers have a hand in, and ways to others than the method

TE = [("Transfer-Encoding", "chunked")]
WAYS = [
    row("connect-slowly", post(step=1), accepted()),
    row("connect-chunked", post(chunked(HELLO, 5), TE, length=None), accepted()),
    row("connect-chunked-stream", post(chunked(frame(message()) * 3, 7), TE, length=None,
                                       target=REQUESTS, content_type=STREAM_PROTO), accepted("hello,hello")),
    row("connect-chunked-over-limit", post(chunked(bytes(MAX_MESSAGE_BYTES + 1), 65536), TE,
                                           length=None, content_type=PROTO), denied(8, "over the limit")),
    row("connect-at-limit", post(AT_LIMIT, content_type=PROTO), accepted("XXXX")),
    row("connect-over-limit", post(OVER_LIMIT, content_type=PROTO), denied(8, "message of 4194305 bytes")),
    row("connect-over-limit-json", post(b'"' + b"x" * MAX_MESSAGE_BYTES), denied(8, "message of 4194305 bytes")),
    row("connect-long-body-refused", post(MEBIBYTE, {"connect-protocol-version": "2"}), denied(3, "Protocol-Version")),
    row("connect-length-missing", post(b"", length=None, content_type=PROTO), accepted("")),
    row("connect-half-closed", post(end=True), accepted(), granian=answered(200, lost=True)),
    row("connect-close", post(headers={"connection": "close"}), answered(200, 0, "HELLO", closes=True)),
    row("connect-http-1.0", post(version="HTTP/1.0"), answered(200, 0, "HELLO", closes=True)),
    *(row(f"connect-type-{value}", post(content_type=value), accepted()) for value in [
        "Application/JSON", "application/json;", "application/json; charset=utf-8", 'application/json;charset="UTF-8"',
        "application/json ; x=y"]),
    *(row(f"connect-type-415-{value}", post(content_type=value), answered(415)) for value in [
        "application/json; charset=utf-16", "application/json;charset=latin-1", "application/jsonp", "text/json",
        "application/json, application/json", "application/connect+json", "application/connect+proto",
        "application/connect", "application/x-protobuf", "application/json+proto"]),
    *(row(f"connect-type-415-stream-{value}", envelopes(TWO, content_type=value), answered(415))
      for value in [PROTO, JSON, "application/connect+xml", "application/connect+"]),
    *(row(f"connect-verb-{verb}", post(verb=verb), answered(405)) for verb in ("PUT", "DELETE", "PATCH", "GET")),
    row("connect-verb-options", post(verb="OPTIONS"), answered(204), fast_lane=answered(200),
        waitress=answered(204, closes=True)),
    row("connect-unknown-json-is-the-apps", post(target="/a.B/C"), answered(404)),
    row("connect-unknown", post(headers={"connect-protocol-version": "1"}, target="/a.B/C"),
        Outcome(404, 12, "no method /a.B/C")),
    row("connect-unknown-stream", envelopes(TWO, target="/a.B/C"), Outcome(200, 12, "no method /a.B/C")),
    row("connect-unimplemented", post(target=UNARY.replace("Unary", "Missing")), denied(12, "is not implemented")),
    row("connect-query", post(target=UNARY + "?connect=v2&message=x"), accepted()),
    row("connect-find-post", post(target=FIND), accepted()),
    row("connect-refused-by-a-hook", post(MEBIBYTE, {"x-refuse": "429"}), denied(8, "refused with 429"),
        fast_lane=denied(3, "in JSON")),
    row("connect-metadata-over-limit", post(headers={f"x-{n}": "a" * 4000 for n in range(5)}), denied(8, "metadata")),
    row("connect-timeout-twice", post(headers=[(TIMEOUT, "5")] * 2), denied(3, "Connect-Timeout-Ms")),
    row("connect-version-twice", post(headers=[("connect-protocol-version", "1")] * 2), denied(3, "Protocol-Version")),
    row("connect-encoding-twice", post(WHOLE, [("content-encoding", "gzip")] * 2), denied(12, "is not supported")),
    row("connect-expect", post(headers={"Expect": "100-continue"}), accepted()),
    row("connect-headers-of-grpc", post(headers={"x-grpc-web": "1", "grpc-status": "5", "te": "trailers"}), accepted()),
    row("connect-headers-of-responses", post(headers={"trailer-x": "a", "trailer": "x"}), accepted()),
    row("connect-method-in-a-header", post(headers={"x-http-method-override": "GET"}, target=FIND), accepted()),
    row("get-http-1.0", Sent(request(f"{FIND}?{IN_JSON}{TEXT}", b"", version="HTTP/1.0", verb="GET"), connect=JSON),
        answered(200, 0, "HELLO", closes=True)),
    row("get-with-the-type-of-a-post", get(f"{IN_JSON}{TEXT}", [("Content-Type", PROTO)]), accepted()),
    row("get-with-an-encoding-of-a-post", get(f"{IN_JSON}{TEXT}", [("Content-Encoding", "gzip")]), accepted()),
    row("get-conditional", get(f"{IN_JSON}{TEXT}", [("If-None-Match", "*"), ("Range", "bytes=0-1")]), accepted()),
    row("get-huge", get(IN_JSON + "x" * 100_000, end=True), ANY),
    row("get-with-a-body", post(target=f"{FIND}?{IN_JSON}{TEXT}", verb="GET"), accepted()),
    row("get-not-ascii", get(IN_JSON + "\xff\xfe", end=True), ANY),
]  # fmt: skip
CONNECT_PAYLOAD_ROWS = [*UNARY_BODIES, *COMPRESSED, *HEADERS, *ENVELOPES, *QUERIES]
CONNECT_ROWS = WAYS
