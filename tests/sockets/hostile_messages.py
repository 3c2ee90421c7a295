"""Rows about what is inside a well-formed HTTP request: rules of paths, content types, frames, encodings, metadata."""

from __future__ import annotations

import base64
import gzip
import zlib

from flask_grpcweb_scm.wire import ENCODINGS, Encoding
from tests.grpcweb import BOMB, FOUR_CONTENT_TYPES, JSON, PROTO, TEXT, TEXT_PROTO, frame
from tests.sockets.app import MAX_MESSAGE_BYTES
from tests.sockets.rows import (
    HELLO,
    REQUESTS,
    STREAM,
    UNARY,
    Row,
    Sent,
    accepted,
    answered,
    gzipped,
    message,
    refused,
    row,
    rpc,
    zlibbed,
)

__all__ = ["MESSAGE_ROWS", "PAYLOAD_ROWS"]

MEBIBYTE = bytes(2**20)
# The largest request that the limit allows: its text field is what is left after tag and length.
AT_LIMIT = message("x" * (MAX_MESSAGE_BYTES - 5))
OVER_LIMIT = message("x" * (MAX_MESSAGE_BYTES - 4))

PATHS = [
    row("path-query", rpc(target=UNARY + "?a=b&c"), accepted()),
    row("path-absolute", rpc(target="http://127.0.0.1" + UNARY), accepted()),
    row("path-escaped-letter", rpc(target=UNARY.replace("Unary", "Un%61ry")), accepted()),
    row("path-trailing-slash", rpc(target=UNARY + "/"), answered(404)),
    row("path-escaped-trailing-slash", rpc(target=UNARY + "%2f"), answered(404)),
    row("path-double-slash", rpc(target="/" + UNARY), accepted()),
    row("path-case", rpc(target=UNARY.lower()), refused(12, "no method")),
    row("path-nul", rpc(target=UNARY + "%00"), answered(404)),
    row("path-not-utf-8", rpc(target=UNARY + "%ff"), answered(404)),
    row("path-line-break", rpc(target=UNARY + "%0d%0agrpc-status:0"), answered(404)),
    row("path-parameters", rpc(target=UNARY + ";a=b"), answered(404)),
    row("path-dots", rpc(target="/debug/.." + UNARY), answered(404)),
    row("path-stray-percent", rpc(target=UNARY + "%zz"), answered(404)),
    row("path-of-2000-letters", rpc(target="/a.B/" + "c" * 2000), refused(12, "no method /a.B/ccc")),
    row("path-unicode", rpc(target="/a.B/%C3%A9"), answered(404)),
    row("method-misspelt", rpc(target=UNARY + "y"), refused(12, "did you mean '/tests.echo.v1.Echo/Unary'?")),
    row("service-unknown", rpc(target="/no.Such/Method"), refused(12, "no method /no.Such/Method is served here")),
    row("method-unknown-long-body", rpc(MEBIBYTE, target="/no.Such/Method"), refused(12, "no method")),
    row("method-unknown-no-type", rpc(target="/no.Such/Method", content_type=None), answered(404)),
    row(
        "method-unknown-other-type",
        rpc(MEBIBYTE, target="/no.Such/Method", content_type="a/b"),
        answered(404, closes=True),
        waitress=answered(404),
    ),
    row("method-unknown-get", rpc(b"", target="/no.Such/Method", verb="GET"), answered(404)),
    row("method-unimplemented", rpc(target=UNARY.replace("Unary", "Missing")), refused(12, "is not implemented")),
    *(
        row(f"method-unknown-{content_type}", rpc(target="/a.B/C", content_type=content_type), refused(12, "no method"))
        for content_type in FOUR_CONTENT_TYPES
    ),
]

NOT_GRPC_WEB = [
    None,
    "",
    "application/json-seq",
    "application/grpc+",
    "application/grpc+thrift",
    "application/grpc-webfoo",
    "application/grpc-web+foo",
    "application/grpc-web+",
    "application/grpc-web-text+",
    "application/grpc-web,application/grpc-web",
    "text/plain;application/grpc-web",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
]

CONTENT_TYPES = [
    *(row(f"type-415-{value}", rpc(content_type=value), answered(415, 12, "not gRPC-Web")) for value in NOT_GRPC_WEB),
    *(
        row(f"type-505-{value}", rpc(content_type=value), answered(505, 12, "needs a server that sends trailers"))
        for value in ("application/grpc", "application/grpc+proto", "Application/GRPC+JSON;a")
    ),
    row("type-415-long-body", rpc(MEBIBYTE, content_type="text/plain"), answered(415, 12, "'text/plain' is not")),
    row("type-415-long", rpc(content_type="a/" + "b" * 6000), answered(415, 12, "content type 'a/bbb")),
    row("type-415-not-ascii", rpc(content_type="a/\xe9\xff"), answered(415, 12, "is not gRPC-Web")),
    row("type-case", rpc(content_type="Application/GRPC-Web+Proto"), accepted()),
    row("type-parameters", rpc(content_type=PROTO + " ; charset=utf-8;x"), accepted()),
    row("type-bare", rpc(content_type="application/grpc-web"), accepted()),
    row("verb-put-long-body", rpc(MEBIBYTE, verb="PUT"), answered(405, 12, "called with POST, not PUT")),
    row("verb-get-with-body", rpc(verb="GET"), answered(405, 12, "not GET")),
    row("verb-get", rpc(b"", verb="GET", content_type=None), answered(405, 12, "not GET")),
    row("verb-head", Sent(rpc(b"", verb="HEAD"), verb="HEAD"), answered(405, 12, "not HEAD")),
    row("verb-delete", rpc(verb="DELETE"), answered(405, 12, "not DELETE")),
    row("verb-patch", rpc(verb="PATCH"), answered(405, 12, "not PATCH")),
    row("verb-propfind", rpc(verb="PROPFIND"), answered(405, 12, "not PROPFIND")),
    row(
        "verb-options-with-body",
        rpc(MEBIBYTE, verb="OPTIONS"),
        answered(204),
        waitress=answered(204, closes=True),
        fast_lane=answered(200),
    ),
    row("accept-text", rpc(headers={"Accept": "application/grpc-web-text"}), accepted()),
    row("accept-garbage", rpc(headers={"Accept": ",;,q=;\xff,*/*;q=x"}), accepted()),
]

RESERVED = [0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x81, 0xFF]
FRAMES = [
    *(row(f"flags-{flags:02x}", rpc(frame(message(), flags)), refused(13, f"0x{flags:02x}")) for flags in RESERVED),
    row("frames-none", rpc(b""), refused(12, "exactly one message, the body has none")),
    row("frames-two", rpc(HELLO * 2), refused(12, "exactly one message, the body has more than one")),
    row("frames-none-stream", rpc(b"", target=STREAM), refused(12, "the body has none")),
    row("frames-two-stream", rpc(HELLO * 2, target=STREAM), refused(12, "the body has more than one")),
    row("frame-then-half-a-prefix", rpc(HELLO + b"\0\0"), refused(13, "ends inside a frame, after 2")),
    row("frame-then-bad-flags", rpc(HELLO + b"\x80\0\0\0\0"), refused(13, "0x80")),
    row("frame-then-http", rpc(HELLO + b"POST / HTTP/1.1\r\n\r\n"), refused(13, "0x50")),
    row("message-empty", rpc(frame(b"")), accepted("")),
    *(row(f"prefix-{n}-bytes", rpc(HELLO[:n]), refused(13, "the body ends inside a frame")) for n in range(1, 5)),
    row("payload-missing", rpc(HELLO[:5]), refused(13, "ends inside a frame, after 5")),
    row("payload-cut", rpc(HELLO[:-1]), refused(13, "ends inside a frame")),
    row("json-instead-of-frames", rpc(b'{"text": "hello"}', content_type=JSON), refused(13, "0x7b")),
    row("length-4-gib", rpc(b"\0\xff\xff\xff\xff"), refused(8, "message of 4294967295 bytes is over the limit")),
    row("length-4-gib-compressed", rpc(b"\1\xff\xff\xff\xff", {"grpc-encoding": "gzip"}), refused(8, "4294967295")),
    row("length-over-limit", rpc(b"\0\0\x40\0\1"), refused(8, "message of 4194305 bytes is over the limit of 4194304")),
]  # fmt: skip

LONG_BODIES = [
    row("frames-thousands", rpc(frame(b"") * 100_000), refused(12, "more than one")),
    row("message-at-limit", rpc(frame(AT_LIMIT)), accepted("XXXX")),
    row("message-over-limit", rpc(frame(OVER_LIMIT)), refused(8, "over the limit")),
    row("message-over-limit-stream", rpc(frame(OVER_LIMIT), target=STREAM), refused(8, "over the limit")),
    row("message-16-mib", rpc(frame(MEBIBYTE * 15)), refused(8, "message of 15728640 bytes")),
    row("message-20-mib", rpc(frame(MEBIBYTE * 20)), refused(8, "message of 20971520 bytes", closes=True),
        granian=refused(8, "message of 20971520 bytes", closes=True, lost=True),
        waitress=refused(8, "message of 20971520 bytes")),
    row("garbage-long", rpc(b"\x55" * 2**20), refused(13, "0x55")),
]  # fmt: skip

BAD_PROTO = {
    "wire-type": b"\x0f",
    "field-0": b"\x00\x00",
    "varint-endless": b"\x10" + b"\xff" * 11,
    "varint-cut": b"\x10\xff",
    "length-past-the-end": b"\x0a\x7fhi",
    "length-of-2-gib": b"\x0a\xff\xff\xff\xff\x07",
    "not-utf-8": b"\x0a\x01\xff",
    "group-without-end": b"\x0b",
    "group-without-start": b"\x0c",
    "deep-groups": b"\x2b" * 10_000,
    "random": bytes(range(255, 155, -1)),
}
BAD_JSON = {
    "empty": b"",
    "null": b"null",
    "list": b"[]",
    "text": b'"text"',
    "number": b"5",
    "cut": b'{"text": "he',
    "not-utf-8": b'{"text": "\xff"}',
    "bom": b"\xef\xbb\xbf{}",
    "utf-16": '{"text": "hello"}'.encode("utf-16"),
    "twice": b'{"text": "a", "text": "b"}',
    "wrong-kind": b'{"text": {"a": 1}}',
    "infinity": b'{"count": Infinity}',
    "over-int32": b'{"count": 2147483648}',
    "1e400": b'{"count": 1e400}',
    "6000-digits": b'{"count": ' + b"9" * 6000 + b"}",
    "6000-digits-text": b'{"count": "' + b"9" * 6000 + b'"}',
    "lone-surrogate": b'{"text": "\\ud800"}',
    "deep-lists": b"[" * 100_000,
    "deep-objects": b'{"x":' * 100_000,
    "two-values": b'{"text": "a"} {}',
    "single-quotes": b"{'text': 'a'}",
}
PAYLOADS = [
    *(row(f"proto-{name}", rpc(frame(payload)), refused(13, "is not a tests.echo.v1.EchoRequest in protobuf"))
      for name, payload in BAD_PROTO.items()),
    *(row(f"json-{name}", rpc(frame(payload), content_type=JSON), refused(13, "in JSON"))
      for name, payload in BAD_JSON.items()),
    row("proto-unknown-fields", rpc(frame(message() + b"\xf8\x07\x01")), accepted()),
    row("json-unknown-fields", rpc(frame(b'{"text": "hello", "nose": [1]}'), content_type=JSON), accepted()),
]  # fmt: skip

GZIP = {"grpc-encoding": "gzip"}
DEFLATE = {"grpc-encoding": "deflate"}
WHOLE = gzip.compress(message())
TWO_MEMBERS = gzip.compress(message()[:3]) + gzip.compress(message()[3:])
BAD_CHECKSUM = WHOLE[:-8] + bytes(4) + WHOLE[-4:]
ZEROS = bytes(16 * 2**20)
MESSAGE_ENCODINGS = [
    row("gzip", rpc(gzipped(message()), GZIP), accepted()),
    row("gzip-name-case", rpc(gzipped(message()), {"grpc-encoding": " GZip "}), accepted()),
    row("gzip-not-flagged", rpc(HELLO, GZIP), accepted()),
    row("gzip-two-members", rpc(frame(TWO_MEMBERS, 1), GZIP), accepted()),
    row("gzip-at-limit", rpc(gzipped(AT_LIMIT), GZIP), accepted("XXXX")),
    row("gzip-over-limit", rpc(gzipped(OVER_LIMIT), GZIP), refused(8, "decompressed message is over the limit")),
    row("gzip-members-over-limit", rpc(frame(gzip.compress(AT_LIMIT, 1) + WHOLE, 1), GZIP), refused(8, "decompressed")),
    row("gzip-of-gzip", rpc(gzipped(BOMB), GZIP), refused(13, "in protobuf")),
    row("gzip-cut", rpc(frame(WHOLE[:-1], 1), GZIP), refused(13, "it is cut short")),
    row("gzip-header-only", rpc(frame(WHOLE[:10], 1), GZIP), refused(13, "it is cut short")),
    row("gzip-garbage-after", rpc(frame(WHOLE + b"garbage", 1), GZIP), refused(13, "corrupt")),
    row("gzip-checksum", rpc(frame(BAD_CHECKSUM, 1), GZIP), refused(13, "corrupt")),
    row("gzip-is-text", rpc(frame(message(), 1), GZIP), refused(13, "corrupt")),
    row("gzip-is-zlib", rpc(zlibbed(message()), GZIP), refused(13, "corrupt")),
    row("deflate", rpc(zlibbed(message()), DEFLATE), accepted()),
    row("deflate-is-raw", rpc(frame(zlib.compress(message())[2:-4], 1), DEFLATE), refused(13, "corrupt")),
    row("deflate-is-gzip", rpc(gzipped(message()), DEFLATE), refused(13, "corrupt")),
    row("deflate-cut", rpc(frame(zlib.compress(message())[:-1], 1), DEFLATE), refused(13, "it is cut short")),
    row("deflate-and-more", rpc(frame(zlib.compress(message()) + b"x", 1), DEFLATE), refused(13, "follow its end")),
    row("flagged-without-encoding", rpc(gzipped(message())), refused(13, "the headers name no compression")),
    row("flagged-identity", rpc(gzipped(message()), {"grpc-encoding": "identity"}), refused(13, "name no compression")),
    row("identity", rpc(headers={"grpc-encoding": "Identity"}), accepted()),
    row("encoding-unknown", rpc(headers={"grpc-encoding": "lzma"}), refused(12, "'lzma' is not supported")),
    row("encoding-list", rpc(headers={"grpc-encoding": "gzip, deflate"}), refused(12, "'gzip, deflate' is not")),
]  # fmt: skip
ENCODING_HEADERS = [
    row("gzip-thousands-of-members", rpc(frame(gzip.compress(b"") * 50_000 + WHOLE, 1), GZIP), accepted()),
    row("gzip-bomb", rpc(frame(BOMB, 1), GZIP), refused(8, "decompressed message is over the limit")),
    row("deflate-bomb", rpc(frame(zlib.compress(ZEROS, 1), 1), DEFLATE), refused(8, "decompressed message")),
    row("encoding-unknown-long-body", rpc(MEBIBYTE, {"grpc-encoding": "lzma"}), refused(12, "'lzma'")),
    row("encoding-twice", rpc(headers=[("grpc-encoding", "gzip")] * 2), refused(12, "is not supported")),
    row("encoding-not-ascii", rpc(headers={"grpc-encoding": "\xe9"}), refused(12, "not supported"), granian=accepted()),
    row("accept-encoding-odd", rpc(headers={"grpc-accept-encoding": ",,\xff,;"}), accepted()),
    row("content-encoding", rpc(headers={"Content-Encoding": "gzip"}), accepted()),
]  # fmt: skip


def optional_rows(encoding: Encoding) -> list[Row]:
    def sent(payload: bytes) -> bytes:
        return rpc(frame(payload, 1), {"grpc-encoding": encoding.name})

    whole = encoding.compress(message("a" * 999))
    return [
        row(encoding.name, sent(whole), accepted("AAA")),
        row(f"{encoding.name}-cut", sent(whole[:-1]), refused(13, "it is cut short")),
        row(f"{encoding.name}-garbage-after", sent(whole + b"\xff" * 9), refused(13, "corrupt")),
        row(f"{encoding.name}-is-gzip", sent(WHOLE), refused(13, "corrupt")),
        row(f"{encoding.name}-at-limit", sent(encoding.compress(AT_LIMIT)), accepted("XXXX")),
        row(f"{encoding.name}-over-limit", sent(encoding.compress(OVER_LIMIT)), refused(8, "decompressed message")),
        row(f"{encoding.name}-bomb", sent(encoding.compress(ZEROS)), refused(8, "decompressed message")),
    ]


# br and zstd are there when their packages are.
OPTIONAL = [row_ for name in ("br", "zstd") if name in ENCODINGS for row_ in optional_rows(ENCODINGS[name])]

MALFORMED_TIMEOUTS = ["", "5", "m", "5 m", "-5m", "+5m", "1.5S", "5s", "5ms", "1_0S", "0x5S", "\xb2S", "S5", "1S1"]
HUGE_TIMEOUTS = ["99999999H", "999999999999S", "9" * 4000 + "H", "9" * 400 + "n", "00000000001M"]
TIMEOUTS = [
    *(row(f"timeout-{value}", rpc(headers={"grpc-timeout": value}), refused(3, "grpc-timeout"))
      for value in MALFORMED_TIMEOUTS),
    *(row(f"timeout-{value[:12]}", rpc(headers={"grpc-timeout": value}), accepted()) for value in HUGE_TIMEOUTS),
    *(row(f"timeout-{value}", rpc(headers={"grpc-timeout": value}), refused(4, "deadline"))
      for value in ["0n", "0H", "00000S", "1n"]),
]  # fmt: skip
METADATA = [
    row("timeout-twice", rpc(headers=[("grpc-timeout", "5S")] * 2), refused(3, "grpc-timeout")),
    row("timeout-malformed-long-body", rpc(MEBIBYTE, {"grpc-timeout": "x"}), refused(3, "grpc-timeout 'x'")),
    row("binary-undecodable", rpc(headers={"x-initial-bin": "a", "x-trailing-bin": "*"}), accepted()),
    row("binary-unpadded", rpc(headers={"x-initial-bin": "YQ", "x-trailing-bin": "YQ==,,YQ, a"}), accepted()),
    row("metadata-not-ascii", rpc(headers={"x-initial": "\xe9\xff"}), accepted()),
    row("metadata-tab", rpc(headers={"x-initial": "a\tb"}), accepted()),
    row("metadata-odd-name", rpc(headers={"x!#$%&'*^`|~": "a"}), accepted()),
    row("metadata-reserved", rpc(headers={"grpc-status": "5", "grpc-message": "no", "trailer": "x"}), accepted()),
    row("metadata-twice", rpc(headers=[("x-initial", "a"), ("X-Initial", "b")]), accepted()),
    row("metadata-over-limit", rpc(headers={f"x-{n}": "a" * 4000 for n in range(5)}), refused(8, "metadata of 200")),
    row("metadata-over-limit-long-body", rpc(MEBIBYTE, {f"x-{n}": "a" * 4000 for n in range(5)}), refused(8, "meta")),
    row("refused-by-a-hook", rpc(MEBIBYTE, {"x-refuse": "429"}), refused(8, "refused with 429"),
        fast_lane=refused(12, "the body has more than one")),
    row("refused-by-a-hook-not-grpc", rpc(MEBIBYTE, {"x-refuse": "403"}, content_type="a/b"), answered(403),
        fast_lane=answered(415)),
    row("refused-by-a-hook-get", rpc(b"", {"x-refuse": "401"}, content_type=None, verb="GET"), answered(401),
        fast_lane=answered(405)),
]  # fmt: skip


def text(body: bytes) -> bytes:
    return base64.b64encode(body)


TEXT_BODIES: list[Row] = [
    row("text-is-binary", rpc(HELLO, content_type=TEXT), refused(13, "invalid base64")),
    row("text-in-binary", rpc(text(HELLO), content_type=PROTO), refused(13, "0x41")),
    row("text-empty", rpc(b"", content_type=TEXT), refused(12, "the body has none")),
]
MESSAGES = [
    row("text-over-limit", rpc(text(frame(OVER_LIMIT)), content_type=TEXT_PROTO), refused(8, "over the limit")),
    row("text-at-limit", rpc(text(frame(AT_LIMIT)), content_type=TEXT_PROTO), accepted("XXXX")),
    row(
        "error-text-needs-escapes",
        rpc(frame(message("fail \u00fc%\r\n\x7f\U0001f600"))),
        refused(5, "fail ü%\r\n\x7f😀"),
    ),
    row("error-text-long", rpc(frame(message("fail " + "é" * 10_000))), refused(5, "fail ééé")),
    row("error-with-metadata", rpc(frame(message("fail")), {"x-initial": "a"}), refused(5, "fail")),
    row("error-in-text", rpc(text(frame(message("fail"))), {"x-trailing": "a"}, content_type=TEXT), refused(5, "fail")),
    row("error-at-once-in-stream", rpc(frame(message("fail")), target=STREAM), refused(15, "fail")),
    row(
        "error-later-in-stream",
        rpc(frame(message("fail", count=2)), target=STREAM),
        refused(15, "fail"),
        waitress=refused(15, "fail", closes=True),
    ),
    row("stream-empty", rpc(frame(message()), target=STREAM), accepted(""), waitress=answered(200, 0, closes=True)),
    row(
        "stream",
        rpc(frame(message(count=3)), target=STREAM),
        accepted("hello"),
        waitress=answered(200, 0, "hello", closes=True),
    ),
    row("browser", rpc(headers={"X-Grpc-Web": "1"}), accepted()),
]
REQUEST_STREAMS = [
    row("requests", rpc(HELLO * 3, target=REQUESTS), accepted("hello,hello,hello")),
    row("requests-none", rpc(b"", target=REQUESTS), accepted("")),
    row("requests-slowly", Sent(rpc(HELLO * 3, target=REQUESTS), step=4), accepted("hello,hello,hello")),
    row("requests-100000-empty", rpc(frame(b"") * 100_000, target=REQUESTS), accepted(",,,")),
    row("requests-text", rpc(text(HELLO) * 2, target=REQUESTS, content_type=TEXT), accepted("hello,hello")),
    row("requests-gzip-or-not", rpc(HELLO + gzipped(message("b")), GZIP, target=REQUESTS), accepted("hello,b")),
    row("requests-last-cut", rpc(HELLO * 3 + HELLO[:-1], target=REQUESTS), refused(13, "inside a frame")),
    row("requests-second-malformed", rpc(HELLO + frame(b"\x0f") + HELLO, target=REQUESTS), refused(13, "in protobuf")),
    row("requests-second-flags", rpc(HELLO + b"\x80\0\0\0\0", target=REQUESTS), refused(13, "0x80")),
    row("requests-second-4-gib", rpc(HELLO + b"\0\xff\xff\xff\xff", target=REQUESTS), refused(8, "over the limit")),
    row("requests-second-bomb", rpc(HELLO + frame(BOMB, 1), GZIP, target=REQUESTS), refused(8, "decompressed")),
]
# What is in a body that the app reads whole comes from every server alike.
PAYLOAD_ROWS = [*FRAMES, *PAYLOADS, *MESSAGE_ENCODINGS, *OPTIONAL, *TIMEOUTS, *TEXT_BODIES]
MESSAGE_ROWS = [
    *(*PATHS, *CONTENT_TYPES, *LONG_BODIES, *ENCODING_HEADERS, *METADATA, *MESSAGES, *REQUEST_STREAMS),
]
