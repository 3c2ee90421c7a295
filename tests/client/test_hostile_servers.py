"""Servers that are hostile or broken, over real sockets: a CallError with a code, soon, with no credential in it."""

from __future__ import annotations

import base64
import gc
import itertools
import traceback
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from flask_grpcweb_scm.client import CallError, Channel, RetryPolicy, ScmGrpcClient, StatusCode
from flask_grpcweb_scm.client.cli import scm_grpc
from flask_grpcweb_scm.client.http import Request
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.rpc.protocols import HTTP1_PROTOCOLS
from tests.client.scripted import CHUNKED, OK, REPLY, UNTIL_CLOSED, Peer, Script, chunk, http, respond, serve, trailers
from tests.client.support import ECHO, call_error
from tests.echo_pb2 import EchoRequest
from tests.grpcweb import frame

SECRET = "s3cret-t0ken"


def details(*messages: Message) -> str:
    status = status_pb2.Status(code=14)
    for message in messages:
        status.details.add().Pack(message)
    return base64.b64encode(status.SerializeToString()).decode()


def failed(*lines: str, code: object = 14) -> bytes:
    return http(trailers("".join(f"{line}\r\n" for line in (f"grpc-status: {code}", *lines))))


# Pauses


@pytest.mark.parametrize(
    ("seconds", "nanos", "expected"),
    [
        (9 * 10**18, 0, 315360000.0),
        (-(9 * 10**18), 0, 0.0),
        (2**63 - 1, 2**31 - 1, 315360000.0),
        (-(2**63), -(2**31), 0.0),
        (0, -1, 0.0),
        (-5, 0, 0.0),
        (1, 2**31 - 1, 1 + 2.147483647),
        (2, 500_000_000, 2.5),
        (315_576_000_001, 0, 315360000.0),
    ],
)
def test_a_pause_out_of_range_is_clamped(seconds: int, nanos: int, expected: float) -> None:
    info = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=seconds, nanos=nanos))
    response = failed(f"grpc-status-details-bin: {details(info)}")
    for retry in (None, RetryPolicy(max_attempts=2)):
        error = call_error(respond(response), retry=retry, timeout=None if expected > 4000 else 0.2)
        assert (error.code, error.retry_after) == (StatusCode.UNAVAILABLE, pytest.approx(expected))
        assert error.details == (info,)


@pytest.mark.parametrize(
    "pushback", ["-1", "", "1e9", "9" * 30, "+5", "5.0", "²", "\x00", "\u0663", "nan", "inf", "0x5", "1_0", " "]
)
def test_a_pushback_that_is_none_forbids_a_retry(pushback: str) -> None:
    response = failed(f"grpc-retry-pushback-ms: {pushback}")
    with serve(respond(response)) as server:
        with Channel(server.url, retry=RetryPolicy(), timeout=5) as channel, pytest.raises(CallError) as caught:
            channel.stub(ECHO).unary(EchoRequest(), metadata={"idempotency-key": "k"})
        assert (caught.value.code, len(server.requests)) == (StatusCode.UNAVAILABLE, 1)


@pytest.mark.parametrize(
    "value",
    ["!", "////", "AAA", "CA4", details()[:-3], "," * 1000,
     base64.b64encode(b"\x08\x0e\x1a\x05\x0a\xff\xff\xff\xff").decode(),
     base64.b64encode(b"\x1a" * 10**5).decode()],
)  # fmt: skip
def test_details_that_are_none_leave_code_and_message(value: str) -> None:
    error = call_error(respond(failed("grpc-message: busy", f"grpc-status-details-bin: {value}")))
    assert (error.code, error.message, error.retry_after) == (StatusCode.UNAVAILABLE, "busy", None)


# Statuses and texts


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("99", 2),
        ("17", 2),
        ("-1", 2),
        ("abc", 2),
        ("", 2),
        ("5.0", 2),
        ("9" * 5000, 2),
        ("²", 2),
        ("0x5", 2),
        ("05", 5),
    ],
)
def test_a_code_that_is_none_is_unknown(code: str, expected: int) -> None:
    assert call_error(respond(failed(code=code))).code == expected


@pytest.mark.parametrize(
    ("sent", "message", "shown"),
    [
        ("100%", "100%", "100%"),
        ("%zz%4", "%zz%4", "%zz%4"),
        ("%FF%FE", "\ufffd\ufffd", "\ufffd\ufffd"),
        ("%1B]0;x%07", "\x1b]0;x\x07", "\\x1b]0;x\\x07"),
        ("\x1b[2Jgone", "\x1b[2Jgone", "\\x1b[2Jgone"),
        ("a%0A%0Dforged: line", "a\n\rforged: line", "a\\n\\rforged: line"),
        ("%E2%80%AEevil", "\u202eevil", "\\u202eevil"),
        ("%C2%9B2J", "\x9b2J", "\\x9b2J"),
        ("%00", "\0", "\\x00"),
    ],
)
def test_a_text_with_control_characters_is_shown_escaped(sent: str, message: str, shown: str) -> None:
    error = call_error(respond(failed(f"grpc-message: {sent}")))
    assert (error.message, str(error)) == (message, f"UNAVAILABLE (14): {shown}")


# What has no end, or none that fits


def endless(start: bytes, piece: bytes) -> Script:
    def script(peer: Peer) -> None:
        peer.send(start)
        block = piece * (65536 // len(piece) + 1)
        while not peer.server.stopped.is_set():
            peer.send(block)

    return script


@pytest.mark.parametrize(("method", "timeout"), [("unary", None), ("unary", 20), ("server_stream", None)])
@pytest.mark.parametrize(
    ("script", "codes"),
    [
        (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), {14}),
        (endless(b"", b"HTTP/1.1 103 Early Hints\r\nlink: </" + b"a" * 999 + b">\r\n\r\n"), {14}),
        (endless(b"", b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 x\r\na: " + b"b" * 999 + b"\r\n\r\n"), {14}),
        (endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"), {14}),
        (endless(b"HTTP/1.1 200 OK\r\nx: ", b"y"), {14}),
        (endless(b"HTTP/1.1 200 ", b"y"), {14}),
        (endless(b"HTTP/1.1 100 Continue\r\n", b"x: y\r\n"), {14}),
        (endless(b"", b"\r\n"), {14}),
        (endless(b"", b"\0"), {14}),
        (endless(CHUNKED, b"0"), {14}),
        (endless(CHUNKED + b"5;", b"x"), {14}),
        (endless(CHUNKED + b"0\r\n", b"x: y\r\n"), {13, 14}),
        (endless(CHUNKED + chunk(REPLY + OK) + b"0\r\n", b"x: y\r\n"), {14}),
        (endless(UNTIL_CLOSED, b"\x80\x00\x00\x00\x00"), {13}),
        (endless(UNTIL_CLOSED + OK, b"\0"), {13}),
        (endless(UNTIL_CLOSED + b"\x80\x00\x10\x00\x00", b"a:b\r\n"), {8, 13}),
        (endless(UNTIL_CLOSED + b"\x80\xff\xff\xff\xff", b"a:b\r\n"), {8}),
        (endless(UNTIL_CLOSED, b"\x02"), {13}),
    ],
)  # fmt: skip
def test_what_has_no_end_ends(method: str, timeout: float | None, script: Script, codes: set[int]) -> None:
    tracemalloc.start()
    try:
        assert call_error(script, method, timeout=timeout).code in codes
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "lines",
    ["a:\r\n" * (2**22 // 4), "a: " + "x" * (2**22 - 5) + "\r\n", "a-bin: " + "," * (2**22 - 9) + "\r\n",
     "grpc-status: 0\r\n" * 2**18, "a:b\r\n" * 2000],
    ids=["names", "one value", "many values", "statuses", "many lines"],
)  # fmt: skip
def test_trailers_are_bounded(lines: str) -> None:
    tracemalloc.start()
    try:
        assert call_error(respond(http(REPLY + trailers(lines)))).code is StatusCode.RESOURCE_EXHAUSTED
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


def test_values_of_a_trailer_are_bounded() -> None:
    error = call_error(respond(failed("a-bin: " + "," * 2**19)))
    assert (error.code, len(error.trailing_metadata)) == (StatusCode.UNAVAILABLE, 1000)


def test_details_are_bounded() -> None:
    for count, kept in ((10**5, 0), (5000, 100)):
        value = base64.b64encode(b"\x1a\x00" * count).decode()
        error = call_error(respond(failed("grpc-message: busy", f"grpc-status-details-bin: {value}")))
        assert (error.message, len(error.details)) == ("busy", kept)


@pytest.mark.parametrize(
    "length",
    [
        "-5",
        "99999999999999999999",
        "9" * 5000,
        "abc",
        "5, 6",
        "0x5",
        "+5",
        "5\r\ncontent-length: 6",
        "",
        "²",
        "1_0",
        " 5 5 ",
    ],
)
def test_a_length_that_is_none(length: str) -> None:
    """Nor is a socket left open, which pytest would see when it is collected."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\ncontent-length: {length}\r\n\r\n".encode(
        "latin-1"
    )
    error = call_error(respond(head + b"\x00\x00\x00", close=True))
    assert error.code in {StatusCode.INTERNAL, StatusCode.UNAVAILABLE}
    del error
    gc.collect()


# Pages


def page_server(tokens: Callable[[], str], rows: int = 1) -> Script:
    def script(peer: Peer) -> None:
        repositories = [scm_pb2.Repository(id=1, name="a")] * rows
        page = scm_pb2.ListRepositoriesResponse(repositories=repositories, next_page_token=tokens())
        peer.send(http(frame(page.SerializeToString()) + OK))

    return script


CYCLES = [("same", 1), ("ab", 1), ("abcdefg", 1), ("same", 0)]


@pytest.mark.parametrize(("tokens", "rows"), CYCLES)
def test_pages_in_a_circle_end(tokens: str, rows: int) -> None:
    cycle = itertools.cycle([tokens] if tokens == "same" else tokens)
    with serve(page_server(lambda: next(cycle), rows)) as server, ScmGrpcClient(server.url, timeout=5) as client:
        with pytest.raises(CallError, match="pages without an end") as caught:
            list(client.iter_repositories(organization_id=1))
        assert caught.value.code is StatusCode.INTERNAL
        assert len(server.requests) <= 3 * len(tokens)
        arguments = ["--url", server.url, "list-repositories", "--organization-id", "1", "--all"]
        result = CliRunner().invoke(scm_grpc, arguments)
        assert (result.exit_code, "pages without an end" in result.stderr) == (64 + 13, True)


def test_empty_pages_end() -> None:
    count = itertools.count()
    with serve(page_server(lambda: str(next(count)), 0)) as server, ScmGrpcClient(server.url, timeout=5) as client:
        with pytest.raises(CallError, match="pages without an end"):
            list(client.iter_repositories(organization_id=1))
        assert len(server.requests) < 150


# What has no value in Python, or no JSON


HOSTILE_TIMES = [(2**63 - 1, 0), (-(2**63), 0), (0, 2**31 - 1), (0, -1), (253402300800, 0), (-62135596801, 0)]


@pytest.mark.parametrize(("seconds", "nanos"), HOSTILE_TIMES)
def test_a_date_that_is_in_no_calendar(seconds: int, nanos: int) -> None:
    row = scm_pb2.Repository(id=1, name="a", date_added=Timestamp(seconds=seconds, nanos=nanos))
    with serve(respond(http(frame(row.SerializeToString()) + OK))) as server:
        with ScmGrpcClient(server.url, timeout=5) as client:
            if nanos <= 0 and (seconds, nanos) != (0, -1):
                with pytest.raises(CallError, match="in no calendar") as caught:
                    client.get_repository(repository_id=1)
                assert caught.value.code is StatusCode.INTERNAL
        for output in ("table", "json"):
            arguments = ["--url", server.url, "-o", output, "get-repository", "--repository-id", "1"]
            result = CliRunner().invoke(scm_grpc, arguments)
            assert isinstance(result.exception, SystemExit | None), result.exception


DEEP = AnyMessage(type_url="type.googleapis.com/google.protobuf.Any")
for _ in range(60):
    DEEP = AnyMessage(type_url="type.googleapis.com/google.protobuf.Any", value=DEEP.SerializeToString())
ODD_DETAILS = [
    AnyMessage(type_url="type.googleapis.com/nobody.knows.This", value=b"\xff"),
    AnyMessage(type_url="type.googleapis.com/google.rpc.BadRequest", value=b"\xff\xff"),
    AnyMessage(type_url="\x1b]0;x\x07", value=b""),
    AnyMessage(type_url="", value=b"x"),
    AnyMessage(type_url="/", value=b"x"),
    AnyMessage(type_url="x/google.protobuf.Timestamp", value=Timestamp(seconds=2**63 - 1).SerializeToString()),
    AnyMessage(type_url="x/google.protobuf.Duration", value=Duration(seconds=-(2**63)).SerializeToString()),
    AnyMessage(type_url="x/google.protobuf.Struct", value=b"\x0a\x00" * 1000),
    AnyMessage(type_url="x/google.protobuf.FieldMask", value=b"\x0a\x03A_B"),
    DEEP,
]


@pytest.mark.parametrize("detail", ODD_DETAILS, ids=lambda detail: repr(detail.type_url)[-20:])
@pytest.mark.parametrize("output", ["table", "json"])
def test_details_without_json_are_printed(detail: AnyMessage, output: str) -> None:
    status = status_pb2.Status(code=9, details=[detail])
    value = base64.b64encode(status.SerializeToString()).decode()
    response = failed("grpc-message: %1B[2Jno", f"grpc-status-details-bin: {value}", code=9)
    with serve(respond(response)) as server:
        result = CliRunner().invoke(
            scm_grpc, ["--url", server.url, "-o", output, "get-repository", "--repository-id", "1"]
        )
    assert (result.exit_code, result.stderr.splitlines()[0]) == (64 + 9, "FAILED_PRECONDITION (9): \\x1b[2Jno")
    assert "\x1b" not in result.output + result.stderr
    assert len(result.stderr.splitlines()) == 2


# Credentials


def texts(error: BaseException) -> str:
    """All texts of an exception, of its causes and contexts."""
    found, seen = "", [error]
    for each in seen:
        found += "".join((str(each), repr(each), repr(each.args), *traceback.format_exception(each)))
        seen += [other for other in (each.__cause__, each.__context__) if other is not None and other not in seen]
    return found


UNSENDABLE = [
    text.format(SECRET)
    for text in ("{}\n", "{}\r\n", "\n{}", "a{}\0", "{}é", "{}\u2028", "{}\udcff", "{}\r\nx-evil: 1", "{}\x7f", "{}\t")
]


@pytest.mark.parametrize("secret", UNSENDABLE, ids=ascii)
def test_a_credential_that_cannot_be_sent_is_in_no_text(secret: str) -> None:
    url = "http://127.0.0.1:1"
    for call in (
        lambda: Channel(url, token=secret),
        lambda: ScmGrpcClient(url, secret),
        lambda: Channel(url, metadata={"authorization": secret}),
        lambda: Channel(url).stub(ECHO).unary(EchoRequest(), metadata={"x-api-key": secret}),
        lambda: Channel(url, hmac_secret=secret).stub(ECHO).unary(EchoRequest()),
        lambda: Channel(f"http://{secret}:{secret}@127.0.0.1:x"),
        lambda: Channel(f"ftp://u:{secret}@127.0.0.1"),
        lambda: Channel(f"u:{secret}@127.0.0.1:80"),
    ):
        with pytest.raises((ValueError, CallError)) as caught:
            call()
        assert SECRET not in texts(caught.value)


@pytest.mark.parametrize("secret", UNSENDABLE, ids=ascii)
@pytest.mark.parametrize(
    "options",
    [["--token", "{}"], ["-m", "authorization={}"], ["-m", "authorization: Bearer {}"], ["--url", "https://u:{}@x:y"],
     ["--hmac-secret", "{}"]],
)  # fmt: skip
def test_a_credential_is_in_no_message_of_the_command(secret: str, options: list[str]) -> None:
    given = ["--url", "http://127.0.0.1:1", *(option.format(secret) for option in options)]
    result = CliRunner().invoke(scm_grpc, [*given, "get-repository", "--repository-id", "1"])
    assert result.exit_code in {2, 64 + 14}
    assert SECRET not in result.output + result.stderr
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize(
    "script",
    [
        respond(b"", close=True), respond(b"HTTP/1.1 200 OK\r\ncontent-le", close=True), respond(http(status="401 No")),
        respond(failed("grpc-message: %0A", code=16)),
        respond(http(b"", "location: http://x.example/", status="307 T")),
        respond(b"HTTP/1.1 abc\r\n\r\n", close=True), lambda peer: peer.wait(),
    ],
)  # fmt: skip
@pytest.mark.parametrize("protocol", HTTP1_PROTOCOLS)
def test_an_error_of_a_call_has_nothing_that_was_sent(script: Script, protocol: str) -> None:
    options: dict[str, Any] = {"token": SECRET, "metadata": {"authorization": f"Bearer {SECRET}"}}
    for credentials in (options, {"hmac_secret": SECRET}):
        assert SECRET not in texts(call_error(script, protocol=protocol, timeout=0.5, **credentials))


def test_a_request_shows_no_headers() -> None:
    assert SECRET not in repr(Request("/x", [("authorization", SECRET)], SECRET.encode(), None))
