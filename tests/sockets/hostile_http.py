"""Rows about HTTP itself: how bodies are cut, what is missing, what is no HTTP at all."""

from __future__ import annotations

from typing import Any

from tests.grpcweb import PROTO, frame
from tests.sockets.http1 import chunked
from tests.sockets.rows import (
    ANY,
    HELLO,
    STREAM,
    UNARY,
    Row,
    Sent,
    accepted,
    answered,
    message,
    refused,
    row,
    rpc,
)

__all__ = ["HTTP_ROWS"]

TE = [("Transfer-Encoding", "chunked")]
# granian lets the request through, and drops a half-closed connection while the call runs, or after it.
MAYBE = answered(200, lost=True)


def in_chunks(body: bytes, **options: Any) -> bytes:
    """A request whose body, already chunked, is sent as it is."""
    return rpc(body, TE, length=None, **options)


def broken(name: str, data: bytes) -> Row:
    """A body that ends too early or is no body: gunicorn lets the app answer, the others do so by themselves."""
    sent = Sent(data, end=True)
    return row(name, sent, refused(13, "the body ", closes=True), granian=ANY, waitress=ANY)


BAD_CHUNKS = {
    "size-not-hex": b"zz\r\nabc\r\n0\r\n\r\n",
    "size-negative": b"-5\r\nabcde\r\n0\r\n\r\n",
    "size-plus": b"+5\r\nabcde\r\n0\r\n\r\n",
    "size-0x": b"0x5\r\nabcde\r\n0\r\n\r\n",
    "size-underscore": b"1_0\r\nabcdeabcdeabcdef\r\n0\r\n\r\n",
    "size-empty": b"\r\nabc\r\n0\r\n\r\n",
    "size-past-64-bits": b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "no-line-break-after": b"5\r\nabcdeXX0\r\n\r\n",
    "longer-than-its-size": b"2\r\nabcde\r\n0\r\n\r\n",
    "second-malformed": b"c\r\n" + HELLO + b"\r\nzz\r\n",
    "none-at-all": HELLO,
    "cut-in-data": b"c\r\n" + HELLO[:6],
    "cut-in-size": b"c",
    "cut-before-last": b"c\r\n" + HELLO + b"\r\n",
    "cut-in-last": b"c\r\n" + HELLO + b"\r\n0\r\n",
}
CHUNKED = [
    *(row(f"chunks-of-{n}", in_chunks(chunked(HELLO, n)), accepted()) for n in (1, 2, 3, 5, 7, 4096)),
    row("chunks-slowly", Sent(in_chunks(chunked(HELLO, 3)), step=1), accepted()),
    row("chunks-with-extension", in_chunks(b"c;a=b\r\n" + HELLO + b"\r\n0;x\r\n\r\n"), accepted()),
    row("chunks-upper-case", in_chunks(b"00C\r\n" + HELLO + b"\r\n0\r\n\r\n"), accepted()),
    row("chunks-with-trailers", in_chunks(b"c\r\n" + HELLO + b"\r\n0\r\nX-Trailer: a\r\n\r\n"), accepted()),
    row("chunks-empty-body", in_chunks(b"0\r\n\r\n"), refused(12, "the body has none")),
    row("chunks-bad-frame", in_chunks(chunked(b"\x55" * 300_000, 1000)), refused(13, "0x55")),
    row("chunks-over-limit", in_chunks(chunked(frame(bytes(5 * 2**20)), 65536)), refused(8, "over the limit")),
    row("chunks-frame-cut", in_chunks(chunked(HELLO[:-2], 4)), refused(13, "ends inside a frame")),
    row("chunks-unknown-method", in_chunks(chunked(bytes(2**20), 8192), target="/a.B/C"), refused(12, "no method")),
    row("chunks-415", in_chunks(chunked(HELLO, 4), content_type="a/b"), answered(415, 12)),
    *(broken(f"chunks-{name}", in_chunks(body)) for name, body in BAD_CHUNKS.items()),
]

LENGTHS = [
    row("slowly", Sent(rpc(), step=1), accepted()),
    row("slow-body-bad-frame", Sent(rpc(b"\x55" * 100), step=7), refused(13, "0x55")),
    row("length-zero", rpc(b"", length=0), refused(12, "the body has none")),
    row("length-missing", rpc(b"", length=None), refused(12, "the body has none")),
    row("length-leading-zeros", rpc(length="0000012"), accepted()),
    broken("length-too-long", rpc(length=100)),
    broken("length-too-long-by-one", rpc(length=len(HELLO) + 1)),
    broken("length-without-body", rpc(b"", length=12)),
    broken("length-huge", rpc(length=2**40)),
    row("length-too-short", Sent(rpc(HELLO + HELLO, length=len(HELLO)), end=True), accepted()),
    row("length-cuts-the-frame", Sent(rpc(HELLO, length=8), end=True), refused(13, "ends inside a frame")),
    *(row(f"length-{value}", Sent(rpc(length=value), end=True), ANY)
      for value in ["-1", "+12", "12,12", "1e1", "0xc", "twelve", "", "9" * 30, "\xb2", "1 2", "9" * 18]),
    *(row(f"length-of-{digits}-digits", Sent(rpc(length="9" * digits), end=True), ANY) for digits in (4301, 5000)),
    row("length-of-5002-digits", Sent(rpc(length="0" * 5000 + "12"), end=True), ANY, granian=MAYBE),
    row("length-twice", Sent(rpc(headers=[("Content-Length", "5")]), end=True), ANY),
    row("length-and-chunked", Sent(rpc(chunked(HELLO, 12), TE), end=True), ANY, granian=MAYBE),
    row("transfer-encoding-unknown", Sent(rpc(headers={"Transfer-Encoding": "xchunked"}), end=True), ANY),
    row("transfer-encoding-gzip", Sent(rpc(headers={"Transfer-Encoding": "gzip, chunked"}), end=True), ANY),
    row("transfer-encoding-twice", Sent(rpc(chunked(HELLO, 5), TE * 2, length=None), end=True), ANY,
        granian=MAYBE),
    row("expect-continue", rpc(headers={"Expect": "100-continue"}), accepted()),
    row("expect-unknown", Sent(rpc(headers={"Expect": "a miracle"}), end=True), ANY, granian=MAYBE),
    row("half-closed", Sent(rpc(), end=True), accepted(), granian=MAYBE),
    row("connection-close", rpc(headers={"Connection": "close"}), answered(200, 0, "HELLO", closes=True)),
    row("http-1.0", rpc(version="HTTP/1.0"), answered(200, 0, "HELLO", closes=True)),
    row("http-1.0-415", rpc(version="HTTP/1.0", content_type="a/b"), answered(415, 12, closes=True)),
    row("http-1.0-stream", rpc(frame(message(count=3)), version="HTTP/1.0", target=STREAM),
        answered(200, 0, closes=True)),
]  # fmt: skip

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
GARBAGE = {
    "bytes": bytes(range(256)),
    "tls-hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "http-2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "frames-without-http": HELLO,
    "no-version": b"POST /\r\n\r\n",
    "version-9": GET.replace(b"1.1", b"9.9") + b"\r\n",
    "version-odd": GET.replace(b"HTTP/1.1", b"ICE/1.0") + b"\r\n",
    "verb-with-control": GET.replace(b"GET", b"GE\x01T") + b"\r\n",
    "header-without-colon": GET + b"nothing\r\n\r\n",
    "header-space-before-colon": GET + b"a : b\r\n\r\n",
    "header-folded": GET + b"a: b\r\n c\r\n\r\n",
    "header-nul": GET + b"a: b\0c\r\n\r\n",
    "header-name-empty": GET + b": b\r\n\r\n",
    "header-name-not-ascii": GET + b"\xe9: b\r\n\r\n",
    "header-huge": GET + b"a: " + b"b" * 1_000_000 + b"\r\n\r\n",
    "headers-many": GET + b"a: b\r\n" * 20_000 + b"\r\n",
    "line-huge": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
    "cut-in-line": b"POST /tests.echo",
    "cut-in-headers": GET,
    "empty": b"",
}
NO_HTTP = [
    *(row(f"http-{name}", Sent(data, end=True), ANY) for name, data in GARBAGE.items()),
    row("http-target-star", Sent(rpc(target="*"), end=True), ANY),
    row("http-target-without-slash", Sent(rpc(target=UNARY[1:]), end=True), ANY),
    row("http-host-odd", Sent(rpc(headers={"Host": "[::1"}), end=True), ANY, granian=MAYBE),
    row("http-connect", Sent(rpc(verb="CONNECT"), end=True), ANY),
    row("http-upgrade", Sent(rpc(headers={"Connection": "upgrade", "Upgrade": "websocket"}), end=True), ANY),
    row("type-twice", Sent(rpc(headers={"Content-Type": PROTO}), end=True), ANY, granian=MAYBE),
]
HTTP_ROWS = [*CHUNKED, *LENGTHS, *NO_HTTP]
