"""One call on the wire, without an HTTP server: each rule by name."""

from __future__ import annotations

import base64
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_grpcweb_scm.rpc import (
    CallContext,
    Dispatcher,
    Identity,
    RpcError,
    Server,
    Service,
    StatusCode,
    StreamReply,
)
from flask_grpcweb_scm.rpc import stream as stream_module
from flask_grpcweb_scm.settings import Settings
from flask_grpcweb_scm.wire import CONTENT_TYPES, ENCODINGS
from tests.apps import ECHO, echo_service
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest
from tests.grpcweb import BOMB, FOUR_CONTENT_TYPES, JSON, PROTO, TEXT, Answer, body_of, frame, read
from tests.rpc.support import GivenBody, incoming_call, parts, serve


class Call:
    """One call and what came of it."""

    def __init__(
        self,
        method: str,
        body: bytes | Iterable[bytes],
        *,
        content_type: str = PROTO,
        headers: dict[str, str] | None = None,
        settings: Settings | None = None,
        authenticate: Any = lambda context: Identity(),
        service: Service | None = None,
        **functions: Any,
    ) -> None:
        settings = settings or Settings()
        dispatcher = Dispatcher([service or echo_service(**functions)])
        self.unhandled: list[Exception] = []
        server = Server(settings, dispatcher, authenticate, self._translate, GivenBody(body))
        self.incoming = incoming_call(dispatcher.methods[ECHO + method], content_type, server, headers, "127.0.0.1")
        self.reply = serve(self.incoming)

    def _translate(self, error: Exception, context: CallContext) -> RpcError:
        self.unhandled.append(error)
        return RpcError(StatusCode.INTERNAL, "internal error")

    def answer(self) -> Answer:
        headers, pieces = parts(self.reply)
        if isinstance(self.reply, StreamReply):
            assert self.incoming.bytes_sent == sum(map(len, pieces))
        return read(200, headers, b"".join(pieces))


def unary(body: bytes | list[bytes] | None = None, **options: Any) -> Answer:
    body = body_of(EchoRequest(text="hi")) if body is None else body
    return Call("Unary", body, **options).answer()


HI = EchoRequest(text="hi").SerializeToString()
GZIPPED = ENCODINGS["gzip"].compress(HI)
BAD_REQUESTS = [
    ("none", b"", {}, 12, "takes exactly one message, the body has none"),
    ("two", frame(HI) * 2, {}, 12, "the body has more than one"),
    ("truncated prefix", b"\0\0", {}, 13, "ends inside a frame"),
    ("truncated payload", frame(HI)[:-1], {}, 13, "ends inside a frame"),
    ("one and a bit", frame(HI) + b"\0", {}, 13, "ends inside a frame"),
    ("reserved flags", frame(HI, 0x04), {}, 13, "reserved bits"),
    ("trailers", frame(b"a: b\r\n", 0x80), {}, 13, "reserved bits"),
    ("not protobuf", frame(b"\xff\xff"), {}, 13, "is not a tests.echo.v1.EchoRequest in protobuf"),
    ("invalid utf-8", frame(b"\n\x01\xff"), {}, 13, "is not a tests.echo.v1.EchoRequest"),
    ("over the limit", b"\0\0\x40\0\1", {}, 8, "message of 4194305 bytes is over the limit of 4194304"),
    ("flag without encoding", frame(GZIPPED, 1), {}, 13, "the headers name no compression"),
    ("flag with identity", frame(GZIPPED, 1), {"grpc-encoding": "identity"}, 13, "name no compression"),
    ("unknown encoding", frame(HI), {"grpc-encoding": "lzw"}, 12, "'lzw' is not supported"),
    ("corrupt gzip", frame(b"garbage", 1), {"grpc-encoding": "gzip"}, 13, "corrupt compressed message"),
    ("gzip bomb", frame(BOMB, 1), {"grpc-encoding": "gzip"}, 8, "decompressed message is over the limit"),
    ("malformed timeout", frame(HI), {"grpc-timeout": "5"}, 3, "grpc-timeout '5' is not"),
    ("no time", frame(HI), {"grpc-timeout": "0n"}, 4, "deadline"),
    ("metadata over the limit", frame(HI), {"x-a": "a" * 20_000}, 8, "metadata of 20003 bytes is over the limit"),
]


@pytest.mark.parametrize(
    ("body", "headers", "code", "message"), [row[1:] for row in BAD_REQUESTS], ids=[row[0] for row in BAD_REQUESTS]
)
@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
def test_a_bad_request_is_refused_trailers_only(
    body: bytes, headers: dict[str, str], code: int, message: str, text: bool
) -> None:
    calls = []
    content_type = TEXT if text else PROTO
    answer = unary(
        base64.b64encode(body) if text else body,
        headers=headers,
        content_type=content_type,
        Unary=lambda request, context: calls.append(request) or EchoReply(),
    )
    assert (answer.code, answer.body) == (code, b"")
    assert message in answer.message
    assert answer.headers["content-type"] == content_type
    assert ("grpc-accept-encoding" in answer.headers) == (code == 12)
    assert calls == []


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "in JSON"),
        (b"{", "in JSON"),
        (b"[]", "it is not an object"),
        (b'"text"', "it is not an object"),
        (b"\xff{}", "in JSON"),
        (b'{"text": 5}', "in JSON"),
        (b'{"count": 99999999999}', "in JSON"),
        (b'{"count": ' + b"9" * 5000 + b"}", "in JSON"),
        (b'{"x": ' + b"[" * 100_000, "in JSON"),
        (b'{"text": "a", "text": "b"}', "in JSON"),
    ],
)
def test_bad_json_is_refused(payload: bytes, message: str) -> None:
    answer = unary(frame(payload), content_type=JSON)
    assert answer.code == 13
    assert message in answer.message


def test_unknown_fields_in_json_are_ignored() -> None:
    assert unary(frame(b'{"text": "hi", "later": 1}'), content_type=JSON).only(EchoReply).text == "HI"


@pytest.mark.parametrize("text", ["Y", "YQ", "!!!!", "YQ\n==", "-_=="])
def test_bad_base64_is_refused(text: str) -> None:
    answer = unary(text.encode(), content_type=TEXT)
    assert answer.code == 13
    assert "base64" in answer.message


def test_length_zero_is_an_empty_message() -> None:
    assert unary(frame(b"")).only(EchoReply).text == ""
    assert unary(frame(b"", 1), headers={"grpc-encoding": "gzip"}).only(EchoReply).text == ""


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_compressed_message_is_read(name: str) -> None:
    body = frame(ENCODINGS[name].compress(HI), 1)
    assert unary(body, headers={"grpc-encoding": name.upper()}).only(EchoReply).text == "HI"


@pytest.mark.parametrize("body", [b"\0\xff\xff\xff\xff", frame(BOMB, 1)], ids=["4 GiB prefix", "16 MiB bomb"])
def test_a_lie_about_size_takes_little_memory(body: bytes) -> None:
    settings = Settings(max_message_bytes=2**20)
    tracemalloc.start()
    try:
        assert unary(body, headers={"grpc-encoding": "gzip"}, settings=settings).code == 8
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("content_type", FOUR_CONTENT_TYPES)
@given(size=st.integers(1, 9))
def test_a_body_cut_anywhere_is_read(content_type: str, size: int) -> None:
    body = body_of(EchoRequest(text="hi"), EchoRequest(text="ho"), content_type=content_type)
    chunks = [body[i : i + size] for i in range(0, len(body), size)]
    assert Call("ClientStream", chunks, content_type=content_type).answer().only(EchoReply).text == "hi,ho"


@pytest.mark.parametrize(
    ("accept", "minimum", "compressed"),
    [("gzip", 0, True), ("gzip", 10_000, False), ("gzip", None, False), (None, 0, False), ("lzw", 0, False)],
)
def test_a_response_is_compressed_as_the_caller_accepts(
    accept: str | None, minimum: int | None, compressed: bool
) -> None:
    call = Call(
        "Unary",
        body_of(EchoRequest(text="a" * 1000)),
        headers={"grpc-accept-encoding": accept} if accept else {},
        settings=Settings(compression_min_bytes=minimum),
    )
    headers, pieces = parts(call.reply)
    assert pieces[0][0] == (1 if compressed else 0)
    # The header names what flagged frames use, also when none is.
    expected = "gzip" if accept == "gzip" and minimum is not None else None
    assert dict(headers).get("grpc-encoding") == expected
    # The trailers frame is never compressed, and last.
    assert pieces[-1].endswith(frame(b"grpc-status: 0\r\n", 0x80))


def failing(*, initial: bool = False, trailing: bool = False, details: int = 0) -> Any:
    def function(request: EchoRequest, context: CallContext) -> EchoReply:
        if initial:
            context.initial_metadata.add("x-initial", "1")
        if trailing:
            context.trailing_metadata.add("x-trailing", "2")
        raise RpcError(StatusCode.NOT_FOUND, "ü", [EchoReply(text="d" * details)] if details else [])

    return function


@pytest.mark.parametrize(
    ("options", "trailers_only"),
    [
        ({}, True),
        ({"details": 100}, True),
        ({"details": 900}, True),
        ({"details": 1200}, False),
        ({"details": 10_000}, False),
        ({"initial": True}, False),
        ({"trailing": True}, False),
    ],
)
def test_an_error_is_trailers_only_unless_that_could_not_tell_metadata_apart(
    options: dict[str, Any], trailers_only: bool
) -> None:
    answer = unary(Unary=failing(**options))
    assert (answer.code, answer.message) == (5, "ü")
    assert ("grpc-status" in answer.headers) is trailers_only
    assert ("grpc-status" in answer.trailers) is not trailers_only
    assert ("x-initial" in answer.headers) is options.get("initial", False)
    assert ("x-trailing" in answer.trailers) is options.get("trailing", False)
    assert ("grpc-status-details-bin" in {**answer.headers, **answer.trailers}) is ("details" in options)


def test_a_success_has_no_message() -> None:
    assert unary().trailers == {"grpc-status": "0"}


@pytest.mark.parametrize("bad", [ValueError("secret"), "not a reply", None])
def test_an_undeclared_failure_is_translated(bad: object) -> None:
    def function(request: EchoRequest, context: CallContext) -> Any:
        if isinstance(bad, Exception):
            raise bad
        return bad

    call = Call("Unary", frame(HI), Unary=function)
    assert (call.answer().code, call.answer().message, len(call.unhandled)) == (13, "internal error", 1)


def test_authentication_comes_before_the_message_is_read_or_decoded() -> None:
    def refuse(context: CallContext) -> Identity:
        raise RpcError(StatusCode.UNAUTHENTICATED, "no")

    def broken() -> Iterator[bytes]:
        raise AssertionError("the body was read")
        yield

    assert Call("Unary", broken(), authenticate=refuse).answer().code == 16


def test_an_authenticator_may_read_the_message_as_it_was_sent() -> None:
    seen = []

    def verify(context: CallContext) -> Identity:
        seen.append(context.message_bytes)
        return Identity()

    body = frame(GZIPPED, 1)
    answer = unary(body, headers={"grpc-encoding": "gzip"}, authenticate=verify)
    assert (answer.only(EchoReply).text, seen) == ("HI", [HI])


@pytest.mark.parametrize(
    ("header", "default", "maximum", "expected"),
    [
        (None, None, None, None),
        ("5S", None, None, 5),
        (None, 7, None, 7),
        ("5S", 7, None, 5),
        ("5S", None, 3, 3),
        (None, None, 3, 3),
        ("99999999H", None, None, 315360000),
    ],
)
def test_the_deadline_is_the_nearest_of_all(
    header: str | None, default: float | None, maximum: float | None, expected: float | None
) -> None:
    seen = []
    unary(
        headers={"grpc-timeout": header} if header else {},
        settings=Settings(default_timeout=default, max_timeout=maximum),
        Unary=lambda request, context: seen.append(context.remaining()) or EchoReply(),
    )
    assert seen == [expected if expected is None else pytest.approx(expected, abs=1)]


@pytest.mark.parametrize(
    ("settings", "of_unary", "of_streams"),
    [(Settings(), 60, None), (Settings(default_timeout=60.0), 60, 60), (Settings(max_timeout=5), 5, 5)],
)
def test_a_timeout_that_nobody_has_set_is_for_unary_calls(
    settings: Settings, of_unary: float, of_streams: float | None
) -> None:
    for method, expected in (("Unary", of_unary), ("ServerStream", of_streams), ("ClientStream", of_streams)):
        remaining = Call(method, body_of(EchoRequest()), settings=settings).incoming.remaining()
        assert remaining == (expected if expected is None else pytest.approx(expected, abs=1))


def test_a_unary_call_that_overruns_is_answered_4() -> None:
    def slow(request: EchoRequest, context: CallContext) -> EchoReply:
        time.sleep(0.03)
        return EchoReply()

    assert unary(headers={"grpc-timeout": "20m"}, Unary=slow).code == 4


# Streams


def counting(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    for number in range(request.count):
        yield EchoReply(number=number)
    if request.text:
        raise RpcError(StatusCode.DATA_LOSS, request.text)


def stream(count: int, text: str = "", **options: Any) -> Call:
    body = body_of(EchoRequest(count=count, text=text), content_type=options.get("content_type", PROTO))
    return Call("ServerStream", body, ServerStream=options.pop("function", counting), **options)


@pytest.mark.parametrize("content_type", FOUR_CONTENT_TYPES)
def test_every_flushed_piece_of_a_stream_is_whole(content_type: str) -> None:
    pieces = list(stream(3, content_type=content_type).reply)  # type: ignore[arg-type]
    assert len(pieces) == 4
    for piece in pieces:
        data = base64.b64decode(piece, validate=True) if "-text" in content_type else piece
        assert len(data) == 5 + int.from_bytes(data[1:5], "big")


def test_a_stream_ends_with_trailers_also_when_it_is_empty_or_fails_later() -> None:
    assert stream(0).answer().trailers == {"grpc-status": "0"}
    failed = stream(2, "torn").answer()
    assert (len(failed.payloads), failed.code, failed.message) == (2, 15, "torn")
    assert "grpc-status" not in failed.headers


def test_a_stream_that_fails_at_once_is_trailers_only() -> None:
    answer = stream(0, "at once").answer()
    assert (answer.headers["grpc-status"], answer.body) == ("15", b"")


def test_a_closed_stream_is_cancelled_once_and_gives_no_more() -> None:
    call = stream(5)
    assert isinstance(call.reply, StreamReply)
    next(iter(call.reply))
    ends: list[StatusCode] = []
    call.reply.on_end = lambda: ends.append(call.incoming.code)
    call.reply.close()
    call.reply.close()
    assert list(call.reply) == []
    assert ends == [StatusCode.CANCELLED]


def test_a_generator_that_fails_to_close_is_translated() -> None:
    def stubborn(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        try:
            yield EchoReply()
            yield EchoReply()
        finally:
            raise ValueError("while closing")

    call = stream(0, function=stubborn)
    assert isinstance(call.reply, StreamReply)
    next(iter(call.reply))
    call.reply.close()
    assert [str(error) for error in call.unhandled] == ["while closing"]


def batched(function: Any, *, content_type: str = PROTO, **settings: Any) -> tuple[list[bytes], Answer]:
    """The pieces of a stream of a method that may be batched, and the answer they make."""
    service = Service(DESCRIPTOR.services_by_name["Echo"])
    service.add_rpc("ServerStream", function, batch=True)
    service.unimplemented("Unary", "ClientStream", "Bidi", "Missing")
    body = body_of(EchoRequest(count=3), content_type=content_type)
    call = Call("ServerStream", body, content_type=content_type, service=service, settings=Settings(**settings))
    headers, pieces = parts(call.reply)
    return pieces, read(200, headers, b"".join(pieces))


def replies_at_once(request: EchoRequest, context: CallContext) -> list[EchoReply]:
    return [EchoReply(number=number) for number in range(request.count)]


@pytest.mark.parametrize("content_type", FOUR_CONTENT_TYPES)
@pytest.mark.parametrize("function", [replies_at_once, counting])
def test_a_batch_has_all_that_is_there(function: Any, content_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "BATCH_SECONDS", 60.0)
    pieces, answer = batched(function, content_type=content_type)
    assert len(pieces) == 2  # the messages, and the trailers
    assert [reply.number for reply in answer.messages(EchoReply)] == [0, 1, 2]
    assert answer.code == 0


def test_a_batch_is_sent_when_it_is_large_or_old(monkeypatch: pytest.MonkeyPatch) -> None:
    def large(request: EchoRequest, context: CallContext) -> list[EchoReply]:
        return [EchoReply(text="x" * 10_000)] * 5

    def slow(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        for number in range(4):
            time.sleep(0.01)
            yield EchoReply(number=number)

    for function, seconds, expected in ((large, 60.0, [2, 2, 1]), (slow, stream_module.BATCH_SECONDS, [1, 1, 1, 1])):
        monkeypatch.setattr(stream_module, "BATCH_SECONDS", seconds)
        pieces, answer = batched(function)
        assert [len(read(200, answer.headers.items(), piece).payloads) for piece in pieces[:-1]] == expected


def test_what_came_before_an_error_is_sent_before_it() -> None:
    def failing(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        yield from replies_at_once(request, context)
        raise RpcError(StatusCode.DATA_LOSS, "torn")

    _, answer = batched(failing)
    assert (len(answer.payloads), answer.code, answer.message) == (3, 15, "torn")


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (lambda request, context: [], 0),
        (lambda request, context: iter([EchoReply()]), 0),
        (lambda request, context: None, 13),
        (lambda request, context: ["no message"], 13),
        (lambda request, context: [EchoReply(), "no message"], 13),
    ],
)
def test_a_batched_function_may_return_any_iterable_of_messages(function: Any, code: int) -> None:
    assert batched(function)[1].code == code


def test_metadata_of_a_stream_goes_to_headers_and_trailers() -> None:
    def function(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        context.initial_metadata.add("x-initial", "1")
        yield EchoReply()
        context.trailing_metadata.add("x-trailing", "2")

    answer = stream(0, function=function).answer()
    assert (answer.headers["x-initial"], answer.trailers["x-trailing"]) == ("1", "2")


def test_a_bad_message_amid_a_stream_of_requests_ends_the_call() -> None:
    seen = []

    def function(requests: Iterator[EchoRequest], context: CallContext) -> Iterator[EchoReply]:
        for request in requests:
            seen.append(request.text)
            yield EchoReply(text=request.text)

    answer = Call("Bidi", [frame(HI), frame(b"\xff")], Bidi=function).answer()
    assert (seen, len(answer.payloads), answer.code) == (["hi"], 1, 13)


def test_an_interceptor_may_wrap_a_stream_in_a_plain_iterator() -> None:
    def function(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        yield EchoReply(number=1)

    service = echo_service(ServerStream=function)
    service.intercept(lambda request, context, call_next: map(EchoReply.FromString, [b"\x10\x02", b"\x10\x03"]))
    reply = Call("ServerStream", body_of(EchoRequest()), service=service).reply
    assert isinstance(reply, StreamReply)
    assert next(iter(reply)) == frame(b"\x10\x02")
    reply.close()
    assert list(reply) == []


@pytest.mark.parametrize("response", [None, "text", EchoRequest(), {}])
def test_a_response_of_another_type_is_the_functions_mistake(response: object) -> None:
    def function(request: EchoRequest, context: CallContext) -> Iterator[object]:
        yield EchoReply()
        yield response

    call = stream(0, function=function)
    answer = call.answer()
    assert (answer.code, len(answer.payloads)) == (13, 1)
    expected = f"must return tests.echo.v1.EchoReply, its function returned {type(response).__name__}"
    assert [str(error) for error in call.unhandled] == [f"{ECHO}ServerStream {expected}"]


@given(
    body=st.binary(max_size=40),
    content_type=st.sampled_from(sorted(CONTENT_TYPES)),
    method=st.sampled_from(["Unary", "Bidi"]),
)
def test_arbitrary_bodies_are_always_answered(body: bytes, content_type: str, method: str) -> None:
    call = Call(method, body, content_type=content_type)
    assert call.answer().code in {0, 8, 12, 13}
    assert call.unhandled == []
