"""Connect over real sockets: what is sent; responses of servers that misbehave, with bounded memory."""

from __future__ import annotations

import base64
import gzip
import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from hypothesis import given
from hypothesis import strategies as st

from flask_grpcweb_scm.client import CallError, Channel, Head, Request, RetryPolicy, ScmStub, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.testing import assert_rpc_error
from flask_grpcweb_scm.wire import ENCODINGS, sign
from tests.client.scripted import Peer, Script, ScriptedServer, chunk, http, respond, serve
from tests.client.support import ECHO, call_error
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import BOMB, frame
from tests.grpcweb import PROTO as GRPC_WEB

PROTO = "application/proto"
JSON = "application/json"
STREAM = "application/connect+proto"
HTML = "text/html; charset=utf-8"

HI = EchoReply(text="hi").SerializeToString()
END = frame(b"{}", 2)
METHODS = ["unary", "server_stream"]


def spaces(peer: Peer) -> None:
    """64 MiB of them as the end of a stream, compressed piece by piece while a test measures memory."""
    compressor = zlib.compressobj(1, wbits=31)
    pieces = [compressor.compress(b" " * 2**20) for _ in range(64)]
    peer.send(stream(frame(b"".join([*pieces, compressor.flush()]), 3), "connect-content-encoding: gzip"))


def error_of(response: bytes | Script, method: str = "unary", **options: Any) -> CallError:
    script = respond(response, close=True) if isinstance(response, bytes) else response
    return call_error(script, method, protocol="connect", **options)


def unary(body: bytes = HI, *headers: str, content_type: str = PROTO, status: str = "200 OK") -> bytes:
    return http(body, *headers, content_type=content_type, status=status)


def stream(body: bytes, *headers: str) -> bytes:
    return http(body, *headers, content_type=STREAM)


def failed(body: object, *headers: str, status: str = "503 Service Unavailable") -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http(data, *headers, content_type=JSON, status=status)


def ended(end: object) -> bytes:
    return stream(frame(end if isinstance(end, bytes) else json.dumps(end).encode(), 2))


def detail(message: Message, **others: Any) -> dict[str, Any]:
    value = base64.b64encode(message.SerializeToString()).decode().rstrip("=")
    return {"type": message.DESCRIPTOR.full_name, "value": value, **others}


# Requests


class Recorder:
    """Calls a server that responds to everything, and keeps what it was sent."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    def script(self, peer: Peer) -> None:
        self.targets.append(peer.target)
        self.bodies.append(peer.body)
        content_type = peer.server.requests[-1].get("content-type", JSON if "encoding=json" in peer.target else PROTO)
        if content_type == STREAM:
            peer.send(stream(frame(HI) + END))
        else:
            peer.send(unary(b"{}" if content_type == JSON else b"", content_type=content_type))

    def call(self, message: Message, method: str = "get_repository", **options: Any) -> None:
        timeout, metadata = options.pop("timeout", None), options.pop("metadata", ())
        with serve(self.script) as server:
            with Channel(server.url, protocol="connect", **options) as channel:
                getattr(ScmStub(channel), method)(message, timeout=timeout, metadata=metadata)
            self.headers += server.requests

    def query(self) -> dict[str, str]:
        """The parameters of the last request's query; empty for a POST."""
        verb, target, _ = self.targets[-1].split(" ")
        assert verb == ("GET" if "?" in target else "POST")
        return dict(parse_qsl(target.partition("?")[2], keep_blank_values=True))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


GET_REPOSITORY = scm_pb2.GetRepositoryRequest(repository_id=5)


def test_a_unary_request_is_the_message_itself(recorder: Recorder) -> None:
    recorder.call(GET_REPOSITORY, timeout=30, token="t0ken", metadata={"x-a-bin": b"\xff"})
    assert recorder.targets == ["POST /sentry.integrations.scm.v1.ScmService/GetRepository HTTP/1.1"]
    assert recorder.bodies == [GET_REPOSITORY.SerializeToString()]
    (headers,) = recorder.headers
    assert int(headers.pop("connect-timeout-ms")) in range(20_000, 30_001)
    assert {name: value for name, value in headers.items() if name not in {"host", "content-length"}} == {
        "accept-encoding": ", ".join(ENCODINGS),
        "connect-protocol-version": "1",
        "content-type": PROTO,
        "user-agent": "connect-python-flask-grpcweb-scm",
        "x-a-bin": "/w",
        "x-grpc-auth-token": "t0ken",
    }


def test_an_empty_message_has_a_length(recorder: Recorder) -> None:
    recorder.call(scm_pb2.GetRepositoryRequest())
    assert (recorder.headers[0]["content-length"], recorder.bodies) == ("0", [b""])


def test_a_compressed_one_says_so(recorder: Recorder) -> None:
    recorder.call(GET_REPOSITORY, compression="gzip", codec="json")
    assert gzip.decompress(recorder.bodies[0]) == b'{"repositoryId":"5"}'
    assert recorder.headers[0]["content-encoding"] == "gzip"
    assert recorder.headers[0]["content-type"] == JSON


def test_a_stream_has_frames_and_headers_of_its_own(recorder: Recorder) -> None:
    with serve(recorder.script) as server, Channel(server.url, protocol="connect", compression="gzip") as channel:
        assert [reply.text for reply in channel.stub(ECHO).server_stream(EchoRequest(text="a"))] == ["hi"]
    (headers,) = server.requests
    assert headers["connect-content-encoding"] == "gzip"
    assert headers["connect-accept-encoding"] == ", ".join(ENCODINGS)
    assert headers["content-type"] == STREAM
    assert "content-encoding" not in headers
    assert recorder.bodies[0][0] == 1
    assert gzip.decompress(recorder.bodies[0][5:]) == EchoRequest(text="a").SerializeToString()


def test_long_timeouts_have_ten_digits(recorder: Recorder) -> None:
    recorder.call(GET_REPOSITORY, timeout=1e12)
    assert recorder.headers[0]["connect-timeout-ms"] == "9999999999"


@pytest.mark.parametrize("name", ["connect-timeout-ms", "Connect-Protocol-Version", "accept-encoding"])
def test_metadata_does_not_speak_for_the_protocol(recorder: Recorder, name: str) -> None:
    with pytest.raises(ValueError, match="reserved"):
        recorder.call(GET_REPOSITORY, metadata={name: "1"})


# GET


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"encoding": "proto", "base64": "1", "message": "CAU"}),
        ({"codec": "json"}, {"encoding": "json", "message": '{"repositoryId":"5"}'}),
        # What fits needs no compression.
        ({"compression": "gzip"}, {"encoding": "proto", "base64": "1", "message": "CAU"}),
    ],
)
def test_methods_without_side_effects_are_called_by_get(
    recorder: Recorder, options: dict[str, Any], expected: dict[str, str]
) -> None:
    recorder.call(GET_REPOSITORY, use_get=True, timeout=5, hmac_secret="s3cret", **options)
    assert recorder.query() == {"connect": "v1", **expected}
    (headers,) = recorder.headers
    assert {"content-type", "content-encoding", "connect-protocol-version"}.isdisjoint(headers)
    assert headers["content-length"] == "0"
    assert "connect-timeout-ms" in headers
    payload = b"\x08\x05" if "codec" not in options else b'{"repositoryId":"5"}'
    path = "/sentry.integrations.scm.v1.ScmService/GetRepository"
    assert headers["x-signature"] == sign("s3cret", path, payload, int(headers["x-timestamp"]))


def test_others_are_not(recorder: Recorder) -> None:
    recorder.call(scm_pb2.LinkExternalIssueRequest(), "link_external_issue", use_get=True)
    recorder.call(GET_REPOSITORY)
    assert [target.split()[0] for target in recorder.targets] == ["POST", "POST"]
    with serve(recorder.script) as server, Channel(server.url, protocol="connect", use_get=True) as channel:
        # It has no side effects, but a stream of responses.
        list(channel.stub(ECHO).server_stream(EchoRequest()))
    assert recorder.targets[-1].split()[0] == "POST"


@pytest.mark.parametrize(
    ("size", "options", "verb", "compressed"),
    [
        (2800, {}, "GET", False),
        (3800, {}, "POST", False),
        (3800, {"codec": "json"}, "GET", False),
        (10**6, {"codec": "json"}, "POST", False),
        (3800, {"compression": "gzip"}, "GET", True),
        (3800, {"compression": "gzip", "codec": "json"}, "GET", False),
        (10**5, {"compression": "gzip", "codec": "json"}, "GET", True),
        (10**7, {"compression": "gzip"}, "POST", True),
    ],
)
def test_a_url_that_would_be_too_long_is_not_sent(
    recorder: Recorder, size: int, options: dict[str, Any], verb: str, compressed: bool
) -> None:
    request = scm_pb2.ListRepositoriesRequest(query="a" * size)
    recorder.call(request, "list_repositories", use_get=True, **options)
    assert recorder.targets[0].split()[0] == verb
    assert len(recorder.targets[0]) < 4094
    if verb == "POST":
        assert ("content-encoding" in recorder.headers[0]) is compressed
    else:
        assert recorder.query().get("compression") == ("gzip" if compressed else None)
        assert recorder.bodies == [b""]


def test_the_path_of_a_server_comes_before_the_query() -> None:
    recorder = Recorder()
    with serve(recorder.script) as server, Channel(f"{server.url}/api/", protocol="connect", use_get=True) as channel:
        ScmStub(channel).get_repository(GET_REPOSITORY)
    assert recorder.targets[0].startswith("GET /api/sentry.integrations.scm.v1.ScmService/GetRepository?connect=v1&")


# Responses of a unary method


@pytest.mark.parametrize(
    ("response", "code", "message"),
    [
        # HTTP without Connect
        (unary(b"<h1>", status="502 Bad Gateway", content_type=HTML), 14, "HTTP status 502 without an error of Conn"),
        (unary(b"<p>Busy</p>", status="429 Too Many Requests", content_type=HTML), 14, "Connect: 'Busy'"),
        (unary(status="401 Unauthorized"), 16, "401"),
        (unary(status="418 I'm a teapot"), 2, "418"),
        (unary(b"", status="304 Not Modified"), 2, "HTTP status 304 without"),
        (unary(b"<h1>", content_type=HTML), 2, "content type 'text/html; charset=utf-8' is not Connect; is the URL"),
        (unary(b"", content_type=""), 2, "content type '' is not Connect"),
        (unary(frame(HI), content_type=GRPC_WEB), 2, "content type 'application/grpc-web+proto' is not Connect"),
        (unary(b"", "location: http://thief.example/", status="307 T"), 2, "a redirect to thief.example"),
        # The codec, the kind and the encoding
        (unary(b"{}", content_type=JSON), 13, "requested application/proto, got content type 'application/json'"),
        (stream(frame(HI) + END), 13, "requested application/proto, got content type 'application/connect+proto'"),
        (unary(HI, "content-encoding: rot13"), 13, "content-encoding 'rot13' is not supported"),
        (unary(HI, "content-encoding: gzip, gzip"), 13, "is not supported"),
        (unary(HI, "content-encoding: gzip"), 13, "corrupt compressed message"),
        (unary(gzip.compress(HI)[:-3], "content-encoding: gzip"), 13, "it is cut short"),
        (unary(gzip.compress(HI)), 13, "is not a tests.echo.v1.EchoReply in protobuf"),
        # The body
        (unary(b"\xff\xff"), 13, "is not a tests.echo.v1.EchoReply in protobuf"),
        (unary(HI + b"\xff"), 13, "is not a tests.echo.v1.EchoReply in protobuf"),
        (unary(b"\0" * (2**22 + 1)), 8, "message is over the limit of 4194304 bytes"),
        (unary(BOMB, "content-encoding: gzip"), 8, "decompressed message is over the limit"),
    ],
)  # fmt: skip
def test_a_bad_response(response: bytes, code: int, message: str) -> None:
    error = error_of(response)
    assert (error.code, message in error.message) == (code, True), error


def test_a_good_response() -> None:
    for body, headers in [
        (HI, []),
        (gzip.compress(HI), ["content-encoding: gzip"]),
        (gzip.compress(HI), ["Content-Encoding:  GZIP "]),
        (HI, ["content-encoding: identity"]),
        # Nothing is an empty message, and never compressed.
        (b"", ["content-encoding: gzip"]),
    ]:
        with serve(respond(unary(body, *headers))) as server, Channel(server.url, protocol="connect") as channel:
            assert channel.stub(ECHO).unary(EchoRequest()).text == ("hi" if body else "")


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"code": "not_found", "message": "größe ü%"}, 5, "größe ü%"),
        ({"code": "canceled"}, 1, ""),
        ({"code": "unavailable", "message": ""}, 14, ""),
        ({"code": "out_of_range", "else": [1], "details": None}, 11, ""),
        # The HTTP status has a code where the body has none.
        ({"code": "ok", "message": "fine"}, 14, "fine"),
        ({"code": "NOT_FOUND", "message": "no"}, 14, "no"),
        ({"code": 5, "message": "no"}, 14, "no"),
        ({"code": None, "message": "no"}, 14, "no"),
        ({"code": ["not_found"], "message": "no"}, 14, "no"),
        ({"code": "not_found", "message": 5}, 5, ""),
        ({"code": "not_found", "message": ["no"]}, 5, ""),
        # JSON of somebody else
        ({"detail": "Busy"}, 14, """HTTP status 503 without an error of Connect: '{"detail": "Busy"}'"""),
        ({}, 14, "HTTP status 503 without an error of Connect: '{}'"),
        ([], 14, "HTTP status 503 without an error of Connect: '[]'"),
        ("not_found", 14, "HTTP status 503 without an error of Connect: '\"not_found\"'"),
        (b"null", 14, "HTTP status 503 without an error of Connect: 'null'"),
        (b"", 14, "HTTP status 503 without an error of Connect"),
        (b"{", 14, "HTTP status 503 without an error of Connect: '{'"),
        (b"\xff\xfe\xfd", 14, "HTTP status 503 without an error of Connect: '\ufffd\ufffd\ufffd'"),
        (b"[" * 10**5, 14, f"HTTP status 503 without an error of Connect: '{'[' * 200}'"),
        (b'{"code": ' + b"9" * 10**5, 14, f"""HTTP status 503 without an error of Connect: '{{"code": {"9" * 191}'"""),
        (b" " * (2**20 + 1), 14, "HTTP status 503 without an error of Connect"),
    ],
)  # fmt: skip
def test_an_error(body: object, code: int, message: str) -> None:
    error = error_of(failed(body))
    assert (error.code, error.message, error.details) == (code, message, ())


def test_an_error_that_is_compressed_or_has_another_media_type() -> None:
    body = json.dumps({"code": "not_found", "message": "no"}).encode()
    assert error_of(failed(gzip.compress(body), "content-encoding: gzip")).message == "no"
    # Nobody tells what it is: the HTTP status does.
    for headers, content_type in [([], HTML), ([], "application/problem+json"), (["content-encoding: rot13"], JSON)]:
        error = error_of(unary(body, *headers, content_type=content_type, status="404 Not Found"))
        assert error.code is StatusCode.UNIMPLEMENTED
        assert error.message.startswith("HTTP status 404 without an error of Connect")


@pytest.mark.parametrize("status", ["502 Bad Gateway", "200 OK"])
@pytest.mark.parametrize(
    ("body", "encoding", "line"),
    [
        (b"<p>Busy</p>", "", "'Busy'"),
        (gzip.compress(b"<p>Busy</p>"), "gzip", "'Busy'"),
        (gzip.compress(b"<p>Busy</p>")[:-3], "gzip", None),
        (b"<p>Busy</p>", "gzip", None),
        (b"<p>Busy</p>", "rot13", None),
        (BOMB, "gzip", None),
    ],
)
def test_an_http_error_tells_the_first_line_of_its_page(
    body: bytes, encoding: str, line: str | None, status: str
) -> None:
    headers = [f"content-encoding: {encoding}"] if encoding else []
    for method in METHODS:
        error = error_of(unary(body, *headers, content_type=HTML, status=status), method)
        assert error.code is (StatusCode.UNKNOWN if status == "200 OK" else StatusCode.UNAVAILABLE)
        assert error.message.endswith(line or ("is the URL right?" if status == "200 OK" else "an error of Connect"))


def test_an_error_that_is_cut_or_never_comes_changes_no_status() -> None:
    head = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n"
    for script in (respond(head, close=True), respond(head + b'{"code"', close=True), respond(head)):
        error = error_of(script, timeout=0.3)
        assert error.code in {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED}


VIOLATION = BadRequest(field_violations=[{"field": "text"}])
UNKNOWN = AnyMessage(type_url="type.googleapis.com/unknown.Type", value=b"1")


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ([detail(VIOLATION)], (VIOLATION,)),
        ([detail(VIOLATION, debug={"@type": "lie"}, more=1)], (VIOLATION,)),
        ([{"type": "type.googleapis.com/google.rpc.BadRequest", "value": ""}], (BadRequest(),)),
        ([{"type": "unknown.Type", "value": "MQ=="}, detail(VIOLATION)], (UNKNOWN, VIOLATION)),
        ([{"type": "google.rpc.BadRequest", "value": "////"}],
         (AnyMessage(type_url="type.googleapis.com/google.rpc.BadRequest", value=b"\xff\xff\xff"),)),
        ([{"type": "google.rpc.BadRequest", "value": "!"}, detail(VIOLATION)], (VIOLATION,)),
        ([{"type": "google.rpc.BadRequest"}, {"value": ""}, {}, None, 5, [], "x", detail(VIOLATION)], (VIOLATION,)),
        ([{"type": 5, "value": ""}, {"type": "x", "value": None}], ()),
        ([{"type": "\ud800", "value": ""}], (AnyMessage(type_url="type.googleapis.com/?"),)),
        ({"type": "google.rpc.BadRequest", "value": ""}, ()),
        ([{"type": "a.B", "value": "A" * 2**19}], ()),
        ([detail(VIOLATION)] * 5000, (VIOLATION,) * 100),
    ],
    ids=range(12),
)  # fmt: skip
@pytest.mark.parametrize("method", METHODS)
def test_details(method: str, details: Any, expected: tuple[Message, ...]) -> None:
    error = {"code": "aborted", "message": "no", "details": details}
    found = error_of(failed(error) if method == "unary" else ended({"error": error}), method)
    assert (found.code, found.message, found.details) == (StatusCode.ABORTED, "no", expected)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\x1b[2Jgone", "\\x1b[2Jgone"), ("a\nforged", "a\\nforged"), ("\u202eevil", "\\u202eevil"), ("?", "?")],
)
@pytest.mark.parametrize("method", METHODS)
def test_a_text_with_control_characters_is_shown_escaped(method: str, text: str, shown: str) -> None:
    error = {"code": "aborted", "message": text.replace("?", "\ud800")}
    found = error_of(failed(error) if method == "unary" else ended({"error": error}), method)
    assert (found.message, str(found)) == (text, f"ABORTED (10): {shown}")


# Responses of a stream


def error_end(error: object) -> bytes:
    return ended({"error": error})


@pytest.mark.parametrize(
    ("response", "code", "message"),
    [
        (unary(b"<p>Busy</p>", status="502 Bad Gateway", content_type=HTML), 14, "HTTP status 502 without an error"),
        (failed({"code": "not_found", "message": "no"}, status="404 Not Found"), 5, "no"),
        (unary(b"<h1>", content_type=HTML), 2, "is not Connect"),
        (unary(), 13, "requested application/connect+proto, got content type 'application/proto'"),
        (stream(frame(HI) + END, "connect-content-encoding: rot13"), 13, "connect-content-encoding 'rot13' is not"),
        (stream(frame(gzip.compress(HI), 1) + END), 13, "flagged as compressed"),
        (stream(frame(b"no gzip", 1) + END, "connect-content-encoding: gzip"), 13, "corrupt compressed message"),
        (stream(frame(BOMB, 1) + END, "connect-content-encoding: gzip"), 8, "decompressed message is over the limit"),
        (stream(END[:-2] + gzip.compress(END), "connect-content-encoding: gzip"), 13, ""),
        # The end
        (stream(b""), 13, "cut short"),
        (stream(frame(HI)), 13, "cut short"),
        (stream(frame(HI)[:-1]), 13, "the body ends inside a frame"),
        (stream(frame(HI) + END[:-1]), 13, "the body ends inside a frame"),
        (stream(END + END), 13, "a frame follows the end of the stream"),
        (stream(END + frame(HI)), 13, "a frame follows the end of the stream"),
        (stream(END + b"\0"), 13, "the body ends inside a frame"),
        (stream(frame(HI, 0x80) + END), 13, "reserved bits"),
        (stream(frame(b"grpc-status: 0\r\n", 0x80)), 13, "reserved bits"),
        (stream(frame(HI, 4) + END), 13, "reserved bits"),
        (stream(b"<!doctype html><html>"), 13, "reserved bits"),
        (stream(frame(b"\xff\xff") + END), 13, "is not a tests.echo.v1.EchoReply in protobuf"),
        (stream(struct.pack("!BI", 0, 2**32 - 1)), 8, "over the limit"),
        (stream(struct.pack("!BI", 2, 2**32 - 1)), 8, "over the limit"),
        (stream(struct.pack("!BI", 2, 2**21)), 8, "over the limit"),
        (ended(b""), 13, "is not a JSON object"),
        (ended(b"{"), 13, "is not a JSON object"),
        (ended([]), 13, "is not a JSON object"),
        (ended(b"null"), 13, "is not a JSON object"),
        (ended(b"\xff"), 13, "is not a JSON object"),
        (ended(b"[" * 10**5), 13, "is not a JSON object"),
        # The status
        (error_end({"code": "not_found", "message": "größe ü%"}), 5, "größe ü%"),
        (error_end({"code": "not_found"}), 5, ""),
        (error_end({"code": "ok", "message": "fine"}), 2, "fine"),
        (error_end({"code": "else", "message": "no"}), 2, "no"),
        (error_end({"message": "no"}), 2, "no"),
        (error_end({}), 2, ""),
        (error_end([]), 2, ""),
        (error_end("not_found"), 2, ""),
        (error_end(False), 2, ""),
        (ended({"metadata": {"a": ["b"] * 1001}}), 8, "more than 1000 values"),
    ],
)  # fmt: skip
def test_a_bad_response_of_a_stream(response: bytes, code: int, message: str) -> None:
    error = error_of(response, "server_stream")
    assert (error.code, message in error.message) == (code, True), error


@pytest.mark.parametrize(
    "end",
    [b"{}", b'{"error": null}', b'{"metadata": null}', b'{"metadata": []}', b'{"metadata": {"a b": ["c"], "x": 5}}',
     b'{"code": "not_found"}', b' {"more": 1} '],
)  # fmt: skip
@pytest.mark.parametrize("compressed", [False, True])
def test_a_good_end(end: bytes, compressed: bool) -> None:
    last = frame(gzip.compress(end), 3) if compressed else frame(end, 2)
    script = respond(stream(frame(HI) + last, "connect-content-encoding: gzip"))
    with serve(script) as server, Channel(server.url, protocol="connect") as channel:
        assert [reply.text for reply in channel.stub(ECHO).server_stream(EchoRequest())] == ["hi"]


@pytest.mark.parametrize(("body", "count"), [(END, "none"), (frame(HI) * 2 + END, "more than one")])
def test_a_stream_of_requests_has_one_response(body: bytes, count: str) -> None:
    with serve(respond(stream(body))) as server, Channel(server.url, protocol="connect") as channel:
        call = channel.stub(ECHO).client_stream.start([])
        with assert_rpc_error(StatusCode.UNIMPLEMENTED, match=count):
            call.result()


# Either


def chunked(content_type: str, *chunks: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return head + b"".join(map(chunk, chunks))


@pytest.mark.parametrize(
    ("method", "response"),
    [
        ("unary", unary()[:-1]),
        ("unary", unary(b"").replace(b"content-length: 0", b"content-length: 1")),
        ("unary", chunked(PROTO, HI)),
        ("unary", chunked(PROTO)),
        ("unary", failed({"code": "not_found"})[:40]),
        ("server_stream", stream(frame(HI) + END)[:-1]),
        ("server_stream", chunked(STREAM, frame(HI), END)),
        ("server_stream", chunked(STREAM, frame(HI))),
    ],
)
def test_a_response_that_is_cut_is_an_error_not_a_short_result(method: str, response: bytes) -> None:
    assert error_of(response, method).code is StatusCode.UNAVAILABLE


@pytest.mark.parametrize("method", METHODS)
def test_a_response_may_arrive_byte_by_byte(method: str) -> None:
    response = unary() if method == "unary" else stream(frame(HI) + END)
    with serve(lambda peer: peer.drip(response, 0)) as server, Channel(server.url, protocol="connect") as channel:
        (reply,) = (
            channel.stub(ECHO).unary.start(EchoRequest())
            if method == "unary"
            else channel.stub(ECHO).server_stream(EchoRequest())
        )
    assert reply.text == "hi"


def test_metadata_of_a_unary_method_is_told_apart_by_its_prefix() -> None:
    headers = ["x-first: 1", "trailer-x-last: 2", "Trailer-X-Last-Bin: /w", "connect-x: 3"]
    with serve(respond(unary(HI, *headers))) as server, Channel(server.url, protocol="connect") as channel:
        _, call = channel.stub(ECHO).unary.with_call(EchoRequest())
    assert list(call.initial_metadata) == [("x-first", "1")]
    assert list(call.trailing_metadata) == [("x-last", "2"), ("x-last-bin", b"\xff")]
    error = error_of(failed({"code": "aborted"}, *headers))
    assert list(error.initial_metadata) == [("x-first", "1")]
    assert list(error.trailing_metadata) == [("x-last", "2"), ("x-last-bin", b"\xff")]


def test_metadata_of_a_stream_is_in_its_end() -> None:
    end = {"metadata": {"X-Last": ["2", 3, None, "4"], "x-last-bin": ["/w", "!"], "grpc-status": ["5"], "x": "6"}}
    for error in (None, {"code": "aborted"}):
        body = frame(HI) + frame(json.dumps({**end, "error": error}).encode(), 2)
        with serve(respond(stream(body, "trailer-x: 1"))) as server, Channel(server.url, protocol="connect") as channel:
            call = channel.stub(ECHO).server_stream(EchoRequest())
            assert next(call).text == "hi"
            assert (list(call.initial_metadata), list(call.trailing_metadata)) == ([("trailer-x", "1")], [])
            if error is None:
                assert list(call) == []
            else:
                with pytest.raises(CallError, match="ABORTED"):
                    list(call)
        assert list(call.trailing_metadata) == [("x-last", "2"), ("x-last", "4"), ("x-last-bin", b"\xff"), ("x", "6")]


def endless(head: bytes, piece: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.send(head)
        block = piece * (65536 // len(piece) + 1)
        while not peer.server.stopped.is_set():
            peer.send(block)

    return script


def until_closed(content_type: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\nconnection: close\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("method", "script", "code"),
    [
        ("unary", endless(until_closed(PROTO), b"\0"), 8),
        ("unary", endless(until_closed(JSON, "503 Busy"), b" "), 14),
        ("unary", endless(until_closed(HTML, "503 Busy"), b"<p>"), 14),
        ("server_stream", endless(until_closed(STREAM) + struct.pack("!BI", 0, 2**32 - 1), b"\0"), 8),
        ("server_stream", endless(until_closed(STREAM) + END, b"\0"), 13),
        ("server_stream", endless(until_closed(STREAM), END), 13),
        ("server_stream", endless(until_closed(STREAM) + struct.pack("!BI", 2, 2**20), b"["), 13),
        ("server_stream", respond(ended({"metadata": {"a" * 10**5: ["b"], "c": ["d"] * 10**5}})), 8),
        ("server_stream", respond(ended({"error": {"code": "aborted", "details": [detail(VIOLATION)] * 10**4}})), 10),
        ("server_stream", spaces, 8),
    ],
    ids=range(10),
)  # fmt: skip
@pytest.mark.needs("time")
def test_what_has_no_end_ends_and_memory_is_bounded(method: str, script: Callable[[Peer], None], code: int) -> None:
    tracemalloc.start()
    try:
        assert error_of(script, method, timeout=20).code == code
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


JSON_KEYS = st.sampled_from(["code", "message", "details", "type", "value", "error", "metadata", "x-a", "x-b-bin"])
JSON_TEXTS = st.sampled_from(
    ["not_found", "google.rpc.BadRequest", "google.rpc", "", "/", "Cgp0", "!", "\ud800", "\0"]
) | st.text(max_size=5)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | JSON_TEXTS,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(JSON_KEYS | JSON_TEXTS, values, max_size=5),
    max_leaves=20,
)
HEADERS = st.tuples(
    st.sampled_from(
        ["content-type", "content-encoding", "connect-content-encoding", "retry-after", "location", "x-bin"]
    ),
    st.sampled_from([PROTO, JSON, STREAM, "gzip", "deflate", "5", "http://["]) | st.text(max_size=5),
)


@given(
    st.sampled_from(METHODS),
    st.sampled_from([200, 200, 200, 204, 301, 304, 401, 503, 999]),
    st.lists(HEADERS, max_size=4),
    st.booleans(),
    JSON_VALUES.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40),
    st.sampled_from([0, 1, 2, 2, 3]),
)
@pytest.mark.needs("time")
def test_whatever_comes_has_a_code(
    method: str, status: int, headers: list[tuple[str, str]], well_typed: bool, body: bytes, flags: int
) -> None:
    """No other exception than CallError is raised."""
    if well_typed:
        headers = [
            *headers,
            ("content-type", STREAM if method == "server_stream" else PROTO if status == 200 else JSON),
        ]
        body = frame(body, flags) if method == "server_stream" else body
    with Channel("http://example.test", protocol="connect", transport=Canned(status, headers, body)) as channel:
        try:
            list(getattr(channel.stub(ECHO), method).start(EchoRequest()))
        except CallError as error:
            assert error.code is not StatusCode.OK
            assert str(error).isprintable()
            error.message.encode()


@dataclass
class Canned:
    """A transport, and its only exchange."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def exchange(self, request: Request) -> Canned:
        return self

    def start(self) -> Head:
        return Head(self.status, self.headers)

    def read(self) -> bytes:
        chunk, self.body = self.body[:7], self.body[7:]
        return chunk

    def abort(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_the_limit_of_messages_is_inclusive() -> None:
    for response, method in ((unary(), "unary"), (stream(frame(HI) + END), "server_stream")):
        with serve(respond(response)) as server:
            options = {"protocol": "connect", "max_message_bytes": len(HI)}
            with Channel(server.url, **options) as channel:
                assert [reply.text for reply in getattr(channel.stub(ECHO), method).start(EchoRequest())] == ["hi"]
        assert error_of(response, method, max_message_bytes=len(HI) - 1).code is StatusCode.RESOURCE_EXHAUSTED


# Retries


BUSY = {"code": "unavailable", "message": "busy"}
WAIT = detail(RetryInfo(retry_delay=Duration(nanos=1)))


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (failed(BUSY), 3),
        (unary(b"<h1>", status="503 Busy", content_type=HTML), 3),
        (failed({"code": "internal"}), 1),
        (failed({**BUSY, "details": [WAIT]}), 3),
        (failed(BUSY, "retry-after: 0"), 3),
        (failed(BUSY, "retry-after: 60"), 1),
        (unary(b"<h1>", "retry-after: 60", status="503 Busy", content_type=HTML), 1),
        # The more exact one counts.
        (failed({**BUSY, "details": [WAIT]}, "retry-after: 60"), 3),
        *[(failed(BUSY, f"retry-after: {value}"), 3) for value in ("-1", "", "²", "Fri, 31 Dec 1999 23:59:59 GMT")],
    ],
)  # fmt: skip
def test_how_often_a_call_is_made(response: bytes, expected: int) -> None:
    retry = RetryPolicy(max_attempts=3, initial_backoff=0.001)
    options = {"protocol": "connect", "retry": retry, "timeout": 5}
    with serve(respond(response)) as server, Channel(server.url, **options) as channel, pytest.raises(CallError):
        ScmStub(channel).get_repository(GET_REPOSITORY)
    assert len(server.requests) == expected


def test_a_retried_call_succeeds_by_get_too() -> None:
    responses = [failed(BUSY), unary()]

    def script(peer: Peer) -> None:
        peer.send(responses[min(len(peer.server.requests), 2) - 1])

    options = {"protocol": "connect", "use_get": True, "retry": RetryPolicy(initial_backoff=0.001)}
    with serve(script) as server, Channel(server.url, **options) as channel:
        ScmStub(channel).get_repository(GET_REPOSITORY)
    assert len(server.requests) == 2


def test_connections_are_kept() -> None:
    def kept(server: ScriptedServer) -> int:
        with Channel(server.url, protocol="connect") as channel:
            for _ in range(3):
                channel.stub(ECHO).unary(EchoRequest())
        return server.connections

    with serve(respond(unary())) as server:
        assert kept(server) == 1
