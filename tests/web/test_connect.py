"""Connect through a Flask app: unary calls, streams, GET, and what the app's hooks make of them."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import urllib.parse
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response, abort, g, jsonify, redirect, request, session

from flask_grpcweb_scm import CallContext, GrpcWebScm, RpcError, StatusCode
from flask_grpcweb_scm.rpc import retry_info
from flask_grpcweb_scm.signals import rpc_finished
from flask_grpcweb_scm.wire import sign
from tests import grpcweb
from tests.apps import ECHO, echo_app, lookup_service
from tests.connect import JSON, PROTO, STREAM_JSON, STREAM_PROTO, call, frame, get, payload_of, query_of
from tests.documents import PAGES, block
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.lanes import lane  # noqa: F401  # a fixture

HI = EchoRequest(text="hi", count=2)
FIND = "/tests.echo.v1.Lookup/Find"
UNARY, STREAMS = [PROTO, JSON], [STREAM_PROTO, STREAM_JSON]


def find(request: EchoRequest, context: CallContext) -> EchoReply:
    return EchoReply(text=request.text.upper())


def lookup_app(function: Callable[..., Any] = find, **options: Any) -> Flask:
    return echo_app(extension=GrpcWebScm(services=[lookup_service(function)]), **options)


# Success


@pytest.mark.parametrize("content_type", UNARY)
def test_a_unary_call(content_type: str) -> None:
    response = call(echo_app().test_client(), ECHO + "Unary", HI, content_type=content_type)
    assert response.only(EchoReply).text == "HI"
    assert response.headers == {"content-type": content_type, "content-length": str(len(response.body))}


@pytest.mark.parametrize("content_type", STREAMS)
@pytest.mark.parametrize(
    ("method", "texts"), [("ServerStream", ["hi", "hi"]), ("ClientStream", ["hi,hi"]), ("Bidi", ["hi", "hi"])]
)
def test_streams(method: str, texts: list[str], content_type: str) -> None:
    requests = [HI] if method == "ServerStream" else [HI, HI]
    response = call(echo_app().test_client(), ECHO + method, *requests, content_type=content_type)
    assert [message.text for message in response.messages(EchoReply)] == texts
    assert response.headers["content-type"] == content_type


def test_curl_needs_no_more_than_json() -> None:
    client = echo_app().test_client()
    response = client.post(ECHO + "Unary", data='{"text": "hi"}', headers={"content-type": "application/json"})
    assert (response.status_code, response.json) == (200, {"text": "HI"})
    response = client.post(ECHO + "Unary", data="{}", headers={"content-type": "application/json; charset=utf-8"})
    assert (response.status_code, response.data) == (200, b"{}")


def test_an_empty_message_is_an_empty_body() -> None:
    response = call(echo_app().test_client(), ECHO + "Unary", EchoRequest())
    assert (response.http_status, response.body, response.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize("content_type", [*UNARY, *STREAMS])
@pytest.mark.parametrize("fails", [False, True])
def test_metadata_is_sent_beside_messages_and_errors(content_type: str, fails: bool) -> None:
    def function(request: EchoRequest, context: CallContext) -> EchoReply:
        context.initial_metadata.add("x-first", "1")
        context.initial_metadata.add("trailer-x", "forged")
        context.trailing_metadata.add("x-last", "2")
        context.trailing_metadata.add("x-bin", b"\xff")
        if fails:
            raise RpcError(StatusCode.NOT_FOUND, "nothing")
        return EchoReply()

    def stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        yield function(request, context)

    app = echo_app(Unary=function, ServerStream=stream)
    method = "ServerStream" if content_type in STREAMS else "Unary"
    response = call(app.test_client(), ECHO + method, HI, content_type=content_type)
    assert response.code == ("not_found" if fails else None)
    assert response.headers["x-first"] == "1"
    assert response.trailers == {"x-last": ["2"], "x-bin": ["/w"]}


def test_metadata_is_received_without_that_of_the_protocol() -> None:
    seen = []

    def function(request: EchoRequest, context: CallContext) -> EchoReply:
        seen.extend(context.metadata)
        return EchoReply()

    headers = {"connect-protocol-version": "1", "connect-timeout-ms": "5000", "x-mine": "1", "x-mine-bin": "/w"}
    call(echo_app(Unary=function).test_client(), ECHO + "Unary", HI, headers=headers)
    assert {name for name, _ in seen if "connect" in name or "content" in name} == set()
    assert ("x-mine", "1") in seen
    assert ("x-mine-bin", b"\xff") in seen


# Compression

LONG = EchoRequest(text="a" * 5000)


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_messages_are_compressed_both_ways(name: str) -> None:
    compress = gzip.compress if name == "gzip" else zlib.compress
    decompress = gzip.decompress if name == "gzip" else zlib.decompress
    client = echo_app().test_client()
    payload = compress(LONG.SerializeToString())
    response = call(client, ECHO + "Unary", data=payload, headers={"content-encoding": name})
    assert response.headers["content-encoding"] == name
    assert EchoReply.FromString(decompress(response.body)).text == "A" * 5000
    headers = {"connect-content-encoding": name, "connect-accept-encoding": name}
    for method in ("ServerStream", "ClientStream"):
        body = frame(compress(EchoRequest(text="a" * 5000, count=1).SerializeToString()), 1)
        response = call(client, ECHO + method, data=body, headers=headers, content_type=STREAM_PROTO)
        assert response.headers["connect-content-encoding"] == name
        assert EchoReply.FromString(decompress(response.payloads[0])).text == "a" * 5000


@pytest.mark.parametrize(
    ("accept", "name"),
    [("br;q=0, gzip", "gzip"), ("gzip;q=0", None), ("identity", None), ("nothing-we-know", None), ("*", None)],
)
def test_a_response_is_compressed_as_accept_encoding_says(accept: str, name: str | None) -> None:
    headers = {"accept-encoding": accept, "content-encoding": "identity"}
    response = call(echo_app().test_client(), ECHO + "Unary", LONG, headers=headers)
    assert response.headers.get("content-encoding") == name


def test_short_responses_and_those_of_an_app_without_compression_are_not_compressed() -> None:
    headers = {"accept-encoding": "gzip"}
    assert "content-encoding" not in call(echo_app().test_client(), ECHO + "Unary", HI, headers=headers).headers
    client = echo_app(GRPC_COMPRESSION_MIN_BYTES=None).test_client()
    assert "content-encoding" not in call(client, ECHO + "Unary", LONG, headers=headers).headers
    client = echo_app(GRPC_COMPRESSION_MIN_BYTES=0).test_client()
    assert call(client, ECHO + "Unary", EchoRequest(), headers=headers).body == b""


def test_nothing_is_decompressed_of_an_empty_body() -> None:
    assert call(echo_app().test_client(), ECHO + "Unary", data=b"", headers={"content-encoding": "gzip"}).code is None


# Errors


@pytest.mark.parametrize("code", [code for code in StatusCode if code])
@pytest.mark.parametrize("content_type", [*UNARY, *STREAMS])
def test_errors_have_the_http_status_of_their_code_but_for_streams(code: StatusCode, content_type: str) -> None:
    def fail(request: EchoRequest, context: CallContext) -> EchoReply:
        raise RpcError(code, "caf\u00e9 \ud800", [retry_info(1.5)])

    def fail_later(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        yield fail(request, context)

    method = "ServerStream" if content_type in STREAMS else "Unary"
    app = echo_app(Unary=fail, ServerStream=fail_later)
    response = call(app.test_client(), ECHO + method, HI, content_type=content_type)
    name = code.name.lower().replace("cancelled", "canceled")
    assert response.error == {
        "code": name,
        "message": "caf\u00e9 ?",
        "details": [{"type": "google.rpc.RetryInfo", "value": "CggIARCAyrXuAQ", "debug": {"retryDelay": "1.500s"}}],
    }
    assert response.headers["content-type"] == (content_type if content_type in STREAMS else JSON)
    assert (response.http_status == 200) == (content_type in STREAMS)


def test_an_error_after_messages_ends_the_stream() -> None:
    def stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        yield EchoReply(text="one")
        raise RpcError(StatusCode.ABORTED, "enough")

    response = call(echo_app(ServerStream=stream).test_client(), ECHO + "ServerStream", HI, content_type=STREAM_PROTO)
    assert [EchoReply.FromString(payload).text for payload in response.payloads] == ["one"]
    assert (response.code, response.message) == ("aborted", "enough")


def test_a_crash_tells_strangers_nothing() -> None:
    def crash(request: EchoRequest, context: CallContext) -> EchoReply:
        raise ValueError("secret")

    app = echo_app(Unary=crash, PROPAGATE_EXCEPTIONS=False)
    response = call(app.test_client(), ECHO + "Unary", HI, content_type=JSON)
    assert (response.http_status, response.code) == (500, "internal")
    assert response.message.startswith("internal error (call ")


@pytest.mark.parametrize(
    ("body", "headers", "http_status", "code", "text"),
    [
        (b"", {"content-type": JSON}, 400, "invalid_argument", "is not a tests.echo.v1.EchoRequest in JSON"),
        (b"{", {"content-type": JSON}, 400, "invalid_argument", "is not a tests.echo.v1.EchoRequest in JSON"),
        (b'{"count": "x"}', {"content-type": JSON}, 400, "invalid_argument", "in JSON"),
        (b"[]", {"content-type": JSON}, 400, "invalid_argument", "in JSON"),
        (b"\xff", {"content-type": JSON}, 400, "invalid_argument", "in JSON"),
        (b"\xff", {}, 400, "invalid_argument", "in protobuf"),
        (b"", {"connect-protocol-version": "2"}, 400, "invalid_argument", "Connect-Protocol-Version '2'"),
        (b"", {"connect-protocol-version": ""}, 400, "invalid_argument", "Connect-Protocol-Version ''"),
        (b"", {"connect-timeout-ms": "5S"}, 400, "invalid_argument", "Connect-Timeout-Ms '5S'"),
        (b"", {"connect-timeout-ms": "99999999999"}, 400, "invalid_argument", "10 digits"),
        (b"", {"connect-timeout-ms": "0"}, 504, "deadline_exceeded", "deadline"),
        (b"x", {"content-encoding": "foo"}, 501, "unimplemented", "use one of identity, gzip, deflate"),
        (b"x", {"content-encoding": "gzip"}, 400, "invalid_argument", "corrupt compressed message"),
        (b"x" * 101, {}, 429, "resource_exhausted", "message of 101 bytes is over the limit of 100 bytes"),
        (gzip.compress(b"x" * 101), {"content-encoding": "gzip"}, 429, "resource_exhausted", "limit of 100 bytes"),
        (b"", {"x-long": "x" * 20_000}, 429, "resource_exhausted", "metadata"),
    ],
)
def test_bad_requests(body: bytes, headers: dict[str, str], http_status: int, code: str, text: str) -> None:
    client = echo_app(GRPC_MAX_MESSAGE_BYTES=100).test_client()
    response = call(client, ECHO + "Unary", data=body, headers=headers)
    assert (response.http_status, response.code) == (http_status, code)
    assert text in response.message
    assert response.headers["content-type"] == JSON


@pytest.mark.parametrize(
    ("body", "headers", "code", "text"),
    [
        (b"", {}, "unimplemented", "exactly one message, the body has none"),
        (frame(b"") * 2, {}, "unimplemented", "more than one"),
        (b"\0\0", {}, "invalid_argument", "ends inside a frame"),
        (frame(b"", 2), {}, "invalid_argument", "flags 0x02"),
        (frame(b"", 0x80), {}, "invalid_argument", "flags 0x80"),
        (frame(b"\xff"), {}, "invalid_argument", "in protobuf"),
        (frame(b"x", 1), {}, "internal", "flagged as compressed"),
        (frame(b"x", 1), {"connect-content-encoding": "identity"}, "internal", "flagged as compressed"),
        (frame(b"x", 1), {"connect-content-encoding": "gzip"}, "invalid_argument", "corrupt compressed message"),
        (frame(b""), {"connect-content-encoding": "foo"}, "unimplemented", "Connect-Content-Encoding 'foo'"),
        (frame(b"x" * 101), {}, "resource_exhausted", "over the limit of 100 bytes"),
        (frame(b""), {"connect-protocol-version": "3"}, "invalid_argument", "Connect-Protocol-Version '3'"),
        (frame(b""), {"connect-timeout-ms": "0"}, "deadline_exceeded", "deadline"),
    ],
)
def test_bad_streams(body: bytes, headers: dict[str, str], code: str, text: str) -> None:
    client = echo_app(GRPC_MAX_MESSAGE_BYTES=100).test_client()
    response = call(client, ECHO + "ServerStream", data=body, headers=headers, content_type=STREAM_PROTO)
    assert (response.http_status, response.code) == (200, code)
    assert text in response.message


def test_a_response_over_the_limit() -> None:
    client = echo_app(GRPC_MAX_RESPONSE_BYTES=10).test_client()
    response = call(client, ECHO + "Unary", EchoRequest(text="x" * 20), content_type=JSON)
    assert (response.http_status, response.code) == (429, "resource_exhausted")


def test_a_timeout_is_the_deadline_of_the_call() -> None:
    remaining = []

    def function(request: EchoRequest, context: CallContext) -> EchoReply:
        remaining.append(context.remaining())
        return EchoReply()

    client = echo_app(Unary=function, GRPC_MAX_TIMEOUT=100).test_client()
    for milliseconds in ("5000", "9999999999"):
        call(client, ECHO + "Unary", HI, headers={"connect-timeout-ms": milliseconds})
    assert 4 < remaining[0] < 5
    assert 99 < remaining[1] < 100


# Requests that are of no protocol, and paths without a method


@pytest.mark.parametrize(
    ("method", "content_type", "text"),
    [
        (
            "Unary",
            "text/plain",
            "is not gRPC-Web or gRPC or Connect for a unary call; use one of application/grpc-web,",
        ),
        ("Unary", STREAM_PROTO, "application/json"),
        ("Unary", "application/json; charset=utf-16", "application/json"),
        ("ServerStream", JSON, "Connect for a stream; use one of"),
        ("ClientStream", PROTO, "application/connect+proto"),
    ],
)
def test_another_content_type_is_415(method: str, content_type: str, text: str) -> None:
    response = echo_app().test_client().post(ECHO + method, data=b"{}", content_type=content_type)
    assert response.status_code == 415
    assert text in response.text
    assert response.headers["grpc-status"] == "12"


UNKNOWN = "/tests.echo.v1.Echo/Unari"


@pytest.mark.parametrize(
    ("verb", "path", "headers", "http_status"),
    [
        ("POST", UNKNOWN, {"content-type": PROTO, "connect-protocol-version": "1"}, 404),
        ("POST", UNKNOWN, {"content-type": JSON, "connect-protocol-version": "1"}, 404),
        ("POST", UNKNOWN, {"content-type": JSON, "connect-protocol-version": "9"}, 404),
        ("POST", UNKNOWN, {"content-type": STREAM_JSON}, 200),
        ("GET", f"{UNKNOWN}?encoding=json&connect=v1&message=", {}, 404),
    ],
)
def test_an_unknown_method_is_unimplemented(verb: str, path: str, headers: dict[str, str], http_status: int) -> None:
    response = echo_app().test_client().open(path, method=verb, data=b"", headers=headers)
    assert response.status_code == http_status
    assert b'"code":"unimplemented"' in response.data
    assert b"did you mean '/tests.echo.v1.Echo/Unary'?" in response.data


@pytest.mark.parametrize(
    ("verb", "path", "headers"),
    [
        ("POST", UNKNOWN, {"content-type": JSON}),
        ("POST", UNKNOWN, {"content-type": PROTO}),
        ("POST", "/shop.Cart/Add", {"content-type": JSON}),
        ("GET", UNKNOWN, {"content-type": JSON}),
        ("GET", f"{UNKNOWN}?encoding=json&message=", {}),
        ("GET", f"{UNKNOWN}?connect=v2", {}),
        ("PUT", UNKNOWN, {"content-type": JSON, "connect-protocol-version": "1"}),
    ],
)
def test_other_requests_to_unknown_paths_are_the_apps(verb: str, path: str, headers: dict[str, str]) -> None:
    app = echo_app()
    app.register_error_handler(404, lambda error: ("the app's own", 404))
    response = app.test_client().open(path, method=verb, data=b"{}", headers=headers)
    assert (response.status_code, response.text) == (404, "the app's own")


@pytest.mark.parametrize(
    ("protocols", "grpc_web", "connect"),
    [("grpc-web", 200, 415), (["connect"], 415, 200), (" Connect, gRPC-Web", 200, 200)],
)
def test_the_configuration_chooses_protocols(protocols: Any, grpc_web: int, connect: int) -> None:
    client = echo_app(GRPC_PROTOCOLS=protocols).test_client()
    for content_type, expected in [(grpcweb.PROTO, grpc_web), (JSON, connect), (PROTO, connect)]:
        response = client.post(ECHO + "Unary", data=b"{}", content_type=content_type)
        assert (response.status_code == 415) == (expected == 415)
        assert ("Connect" in response.text) == (expected == 415 and protocols == ["connect"])
    response = client.get("/a.B/C?connect=v1&encoding=json")
    assert (response.headers["content-type"] == JSON) == (connect == 200)


# GET


@pytest.mark.parametrize("encoding", ["json", "proto"])
def test_methods_without_side_effects_are_called_by_get(encoding: str) -> None:
    client = lookup_app().test_client()
    response = get(client, FIND + query_of(EchoRequest(text="caf\u00e9 +/&="), encoding))
    assert response.only(EchoReply).text == "CAF\u00c9 +/&="
    assert response.headers == {
        "content-type": f"application/{encoding}",
        "content-length": str(len(response.body)),
        "cache-control": "no-store",
        "vary": "Accept-Encoding",
        "x-content-type-options": "nosniff",
    }
    head = client.head(FIND + query_of(EchoRequest(text="caf\u00e9 +/&="), encoding))
    assert (head.status_code, head.data) == (200, b"")
    assert {name.lower(): value for name, value in head.headers} == response.headers


def test_the_function_says_how_long_caches_may_keep_the_response() -> None:
    def function(request: EchoRequest, context: CallContext) -> EchoReply:
        context.initial_metadata.add("cache-control", "public, max-age=60")
        context.initial_metadata.add("etag", '"1"')
        if request.text == "fail":
            raise RpcError(StatusCode.NOT_FOUND)
        return EchoReply()

    client = lookup_app(function).test_client()
    response = get(client, FIND + query_of(HI))
    assert response.headers["cache-control"] == "public, max-age=60"
    assert response.headers["etag"] == '"1"'
    assert get(client, FIND + query_of(EchoRequest(text="fail"))).headers["cache-control"] == "no-store"


def test_what_callers_see_is_not_for_others() -> None:
    client = lookup_app(GRPC_AUTH_TOKENS=["t" * 20]).test_client()
    response = get(client, FIND + query_of(HI), headers={"x-grpc-auth-token": "t" * 20})
    assert response.headers["vary"] == "Accept-Encoding, Authorization, X-Grpc-Auth-Token, X-Signature"
    assert get(client, FIND + query_of(HI)).http_status == 401


def test_vary_is_one_header_that_hooks_add_to() -> None:
    def function(request: EchoRequest, context: CallContext) -> EchoReply:
        context.initial_metadata.add("vary", "X-Tenant")
        session.get("user")
        return EchoReply()

    client = lookup_app(function, GRPC_AUTH_TOKENS=["t" * 20], SECRET_KEY="k" * 32).test_client()
    response = client.get(FIND + query_of(HI), headers={"x-grpc-auth-token": "t" * 20})
    expected = "X-Tenant, Accept-Encoding, Authorization, X-Grpc-Auth-Token, X-Signature, Cookie"
    assert response.headers.getlist("vary") == [expected]


def test_hooks_make_responses_conditional() -> None:
    app = lookup_app()
    exec(block(PAGES["connect"], "python", "@app.after_request"), {"app": app, "request": request})
    client = app.test_client()
    response, head = client.get(FIND + query_of(HI)), client.head(FIND + query_of(HI))
    etag = response.headers["etag"]
    assert (head.status_code, head.data, head.headers["etag"], head.headers["content-length"]) == (200, b"", etag, "4")
    for verb in ("GET", "HEAD"):
        response = client.open(FIND + query_of(HI), method=verb, headers={"if-none-match": etag})
        assert (response.status_code, response.data, response.headers["etag"]) == (304, b"", etag)


@pytest.mark.parametrize("hook", ["before_request", "after_request"])
@pytest.mark.parametrize("verb", ["GET", "HEAD", "POST"])
def test_a_hook_may_say_that_a_cache_has_the_response(hook: str, verb: str) -> None:
    app = lookup_app()
    getattr(app, hook)(lambda *_: Response(status=304, headers={"etag": '"1"'}))
    options: dict[str, Any] = {"content_type": JSON, "data": b"{}"} if verb == "POST" else {}
    for headers, is_kept in [({"if-none-match": '"1"'}, verb != "POST"), ({}, False)]:
        response = app.test_client().open(FIND + query_of(HI), method=verb, headers=headers, **options)
        assert response.status_code == (304 if is_kept else 500)
        assert (response.data == b"") == (verb != "POST" and (is_kept or verb == "HEAD"))
        assert response.headers.get("etag") == ('"1"' if is_kept else None)


@pytest.mark.parametrize(
    ("query", "http_status", "code", "text"),
    [
        ("", 400, "invalid_argument", "no encoding=json or encoding=proto"),
        ("connect=v1&message=%7B%7D", 400, "invalid_argument", "no encoding=json or encoding=proto"),
        ("encoding=json", 400, "invalid_argument", "has no message="),
        ("encoding=json&message=", 400, "invalid_argument", "in JSON"),
        ("encoding=json&message=%7B", 400, "invalid_argument", "in JSON"),
        ("encoding=json&message=%ff", 400, "invalid_argument", "in JSON"),
        ("encoding=proto&message=%ff", 400, "invalid_argument", "in protobuf"),
        ("encoding=proto&base64=1&message=!", 400, "invalid_argument", "URL-safe base64"),
        ("encoding=json&encoding=json&message=%7B%7D", 400, "invalid_argument", "encoding= more than once"),
        ("%65ncoding=proto&message=", 400, "invalid_argument", "no encoding=json or encoding=proto"),
        ("encoding=json&message=%7B%7D&message=%7B%7D", 400, "invalid_argument", "message= more than once"),
        ("connect=v2&encoding=json&message=%7B%7D", 400, "invalid_argument", "connect=v2 of the query"),
        ("compression=identity&encoding=proto&message=%ff", 400, "invalid_argument", "in protobuf"),
        ("compression=foo&encoding=proto&message=a", 501, "unimplemented", "use one of identity, gzip"),
        ("compression=gzip&encoding=proto&message=a", 400, "invalid_argument", "corrupt compressed message"),
        ("encoding=proto&message=" + "x" * 101, 429, "resource_exhausted", "message of 101 bytes"),
    ],
)
def test_bad_queries(query: str, http_status: int, code: str, text: str) -> None:
    client = lookup_app(GRPC_MAX_MESSAGE_BYTES=100).test_client()
    response = get(client, f"{FIND}?{query}")
    assert (response.http_status, response.code) == (http_status, code)
    assert text in response.message
    assert response.headers["cache-control"] == "no-store"
    assert client.head(f"{FIND}?{query}").status_code == http_status


def test_a_get_takes_compression_unknown_parameters_and_any_order() -> None:
    message = gzip.compress(LONG.SerializeToString())
    text = urllib.parse.quote(base64.urlsafe_b64encode(message))
    response = get(
        lookup_app().test_client(), f"{FIND}?utm=1&message={text}&base64=1&compression=gzip&encoding=proto&a"
    )
    assert response.headers["content-encoding"] == "gzip"
    assert EchoReply.FromString(gzip.decompress(response.body)).text == "A" * 5000


def test_an_encoding_that_there_is_not_is_415() -> None:
    response = lookup_app().test_client().get(f"{FIND}?connect=v1&encoding=xml&message=")
    assert (response.status_code, response.text) == (415, "encoding= of the query is not json or proto\n")


@pytest.mark.parametrize("verb", ["GET", "HEAD"])
@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
def test_other_methods_are_not_called_by_get(method: str, verb: str) -> None:
    response = echo_app().test_client().open(ECHO + method + query_of(HI), method=verb)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.headers["cache-control"] == "no-store"
    hint = "; GET is for unary methods with idempotency_level = NO_SIDE_EFFECTS in the proto"
    text = f"{ECHO}{method} is called with POST, not {verb}{hint}\n"
    assert response.text == (text if verb == "GET" else "")
    assert hint not in echo_app(GRPC_PROTOCOLS="grpc-web").test_client().get(ECHO + method).text


def test_the_verbs_of_a_method_without_side_effects() -> None:
    client = lookup_app().test_client()
    assert client.options(FIND).headers["allow"].split(", ") == ["GET", "HEAD", "POST", "OPTIONS"]
    response = client.put(FIND)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, POST")
    assert call(client, FIND, HI).only(EchoReply).text == "HI"
    assert grpcweb.call(client, FIND, HI).only(EchoReply).text == "HI"


def test_a_signature_is_of_the_decoded_message() -> None:
    client = lookup_app(GRPC_HMAC_SECRETS=["s" * 20]).test_client()
    headers = {"x-method": FIND, "x-signature": sign("s" * 20, FIND, HI.SerializeToString())}
    assert get(client, FIND + query_of(HI), headers=headers).only(EchoReply).text == "HI"
    assert get(client, FIND + query_of(EchoRequest(text="ho")), headers=headers).http_status == 401
    assert call(client, FIND, HI, headers=headers).only(EchoReply).text == "HI"
    as_json = payload_of(HI, JSON)
    headers["x-signature"] = sign("s" * 20, FIND, as_json)
    assert call(client, FIND, data=as_json, content_type=JSON, headers=headers).only(EchoReply).text == "HI"


# Hooks and handlers of the app

REFUSALS: list[tuple[Callable[[], Any], str, int, str]] = [
    (lambda: ("no", 403), "permission_denied", 403, "no"),
    (lambda: (jsonify(message="log in"), 401), "unauthenticated", 401, "log in"),
    (lambda: jsonify(error="closed"), "unknown", 500, "closed"),
    (lambda: {"a": 1}, "unknown", 500, "a response of the app, HTTP 200 OK, in place of that of the RPC"),
    (lambda: ("", 204), "unknown", 500, "a response of the app, HTTP 204 No Content, in place of that of the RPC"),
    (lambda: ("", 304), "unknown", 500, "Not Modified"),
    (lambda: (jsonify(code="not_found", message="x"), 503), "unavailable", 503, "Service Unavailable"),
    (lambda: abort(429, "slowly"), "resource_exhausted", 429, "slowly"),
    (lambda: abort(418), "unknown", 500, ""),
    (lambda: redirect("/login"), "unauthenticated", 401, "redirects this call to /login; log in first"),
    (lambda: Response("<h1>down</h1>", 503), "unavailable", 503, "Service Unavailable"),
]


@pytest.mark.parametrize(("refuse", "code", "http_status", "text"), REFUSALS)
@pytest.mark.parametrize("content_type", [*UNARY, *STREAMS, "GET"])
def test_refusals_of_hooks_become_errors(
    refuse: Callable[[], Any], code: str, http_status: int, text: str, content_type: str
) -> None:
    app = lookup_app() if content_type == "GET" else echo_app()
    app.before_request(refuse)
    client = app.test_client()
    if content_type == "GET":
        response = get(client, FIND + query_of(HI))
    else:
        method = "ServerStream" if content_type in STREAMS else "Unary"
        response = call(client, ECHO + method, HI, content_type=content_type)
    assert response.http_status == (200 if content_type in STREAMS else http_status)
    assert response.code == code
    assert text in response.message
    assert "location" not in response.headers


@pytest.mark.parametrize("content_type", [PROTO, STREAM_PROTO])
def test_exceptions_of_functions_are_for_the_apps_handlers(content_type: str) -> None:
    def fail(request: EchoRequest, context: CallContext) -> EchoReply:
        abort(409, "taken already")

    def stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        yield EchoReply()
        raise KeyError

    app = echo_app(Unary=fail, ServerStream=stream)
    app.register_error_handler(KeyError, lambda error: ({"message": "no such key"}, 404))
    method = "ServerStream" if content_type == STREAM_PROTO else "Unary"
    response = call(app.test_client(), ECHO + method, HI, content_type=content_type)
    expected = ("not_found", "no such key") if content_type == STREAM_PROTO else ("aborted", "taken already")
    assert (response.code, response.message) == expected


@pytest.mark.parametrize("content_type", [*UNARY, STREAM_JSON])
@pytest.mark.parametrize("fails", [False, True])
def test_hooks_may_add_to_responses_and_wrap_them(content_type: str, fails: bool) -> None:
    def function(request: EchoRequest, context: CallContext) -> EchoReply:
        if fails:
            raise RpcError(StatusCode.FAILED_PRECONDITION, "not yet", [retry_info(1)])
        session["user"] = "ann"
        g.seen = True
        return EchoReply(text="HI")

    def stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        yield function(request, context)

    app = echo_app(Unary=function, ServerStream=stream, SECRET_KEY="k" * 32)

    @app.after_request
    def wrap(response: Response) -> Response:
        return Response(response.get_data(), response.status, {**response.headers, "x-wrapped": "1"})

    method = "ServerStream" if content_type in STREAMS else "Unary"
    response = call(app.test_client(), ECHO + method, HI, content_type=content_type)
    assert response.headers["x-wrapped"] == "1"
    if fails:
        assert (response.code, response.message) == ("failed_precondition", "not yet")
        assert response.error is not None
        assert response.error["details"][0]["type"] == "google.rpc.RetryInfo"
    else:
        assert response.only(EchoReply).text == "HI"


@pytest.mark.parametrize(
    ("content_type", "http_status", "code"),
    [(JSON, 403, "permission_denied"), (PROTO, 200, "unknown"), (STREAM_JSON, 200, "unknown")],
)
def test_a_page_in_place_of_a_response_is_an_error(content_type: str, http_status: int, code: str) -> None:
    app = echo_app()
    app.after_request(lambda response: Response('{"error": "replaced"}', http_status, mimetype=JSON))
    method = "ServerStream" if content_type in STREAMS else "Unary"
    response = call(app.test_client(), ECHO + method, HI, content_type=content_type)
    assert response.error == {"code": code, "message": "replaced"}


def test_a_hook_sees_the_request_as_any_other() -> None:
    app = echo_app()
    seen = []
    app.before_request(lambda: seen.append((request.path, request.get_json(silent=True))))
    response = call(app.test_client(), ECHO + "Unary", HI, content_type=JSON)
    assert response.only(EchoReply).text == "HI"
    assert seen == [(ECHO + "Unary", {"text": "hi", "count": 2})]


def test_teardown_functions_that_fail() -> None:
    app = echo_app(PROPAGATE_EXCEPTIONS=False)

    @app.teardown_request
    def fail(error: BaseException | None) -> None:
        raise ValueError("secret")

    response = call(app.test_client(), ECHO + "Unary", HI, content_type=JSON)
    assert (response.http_status, response.error) == (500, {"code": "internal", "message": "internal error"})


def test_signals_and_the_log_tell_of_calls(caplog: pytest.LogCaptureFixture) -> None:
    app = lookup_app()
    codes = []
    with (
        caplog.at_level(logging.INFO, "flask_grpcweb_scm"),
        rpc_finished.connected_to(lambda app, context, code, seconds: codes.append(code)),
    ):
        get(app.test_client(), FIND + query_of(HI))
        call(app.test_client(), FIND, HI, content_type=JSON)
        call(app.test_client(), FIND, data=b"{", content_type=JSON)
        app.test_client().get(f"{FIND}?encoding=xml")
        call(app.test_client(), UNKNOWN, HI, headers={"connect-protocol-version": "1"})
    assert codes == [StatusCode.OK, StatusCode.OK, StatusCode.INVALID_ARGUMENT, *[StatusCode.UNIMPLEMENTED] * 2]
    starts = [record.getMessage().partition(" ")[2].partition(" ")[0] for record in caplog.records]
    assert starts == [code.name for code in codes]


# Pages of other sites


@pytest.mark.parametrize(
    ("headers", "is_let_in"),
    [
        ({}, True),
        ({"cookie": "user=ann"}, True),
        ({"cookie": "user=ann", "sec-fetch-site": "same-origin"}, True),
        ({"cookie": "user=ann", "sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, True),
        ({"cookie": "user=ann", "sec-fetch-site": "same-site"}, False),
        ({"cookie": "user=ann", "sec-fetch-site": "cross-site"}, False),
        ({"cookie": "user=ann", "sec-fetch-site": "Cross-Site"}, False),
        ({"cookie": "user=ann", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, False),
        ({"cookie": "user=ann", "sec-fetch-site": "cross-site", "referer": "https://app.example/"}, False),
        ({"cookie": "user=ann", "sec-fetch-site": "same-origin", "origin": "https://evil.example"}, False),
        ({"cookie": "user=ann", "origin": "https://evil.example"}, False),
        ({"cookie": "user=ann", "origin": "null"}, False),
        ({"cookie": "user=ann", "origin": ""}, False),
        ({"cookie": "user=ann", "origin": "http://localhost"}, True),
        ({"cookie": "user=ann", "origin": "https://app.example"}, True),
        ({"cookie": "user=ann", "origin": "https://app.example", "sec-fetch-site": "cross-site"}, True),
        ({"cookie": "user=ann", "referer": "https://evil.example/page"}, False),
        ({"cookie": "user=ann", "referer": "https://evil.example"}, False),
        ({"cookie": "user=ann", "referer": "https://localhost@evil.example/http://localhost"}, False),
        ({"cookie": "user=ann", "referer": "http://[evil"}, False),
        ({"cookie": "user=ann", "referer": "HTTP://LOCALHOST/"}, True),
        ({"cookie": "user=ann", "referer": "about:blank"}, True),
        ({"cookie": "user=ann", "referer": "http://localhost/page"}, True),
        ({"cookie": "user=ann", "referer": "https://app.example/page?q"}, True),
        ({"authorization": "Basic YTpi", "sec-fetch-site": "cross-site"}, False),
        ({"authorization": "Negotiate x", "sec-fetch-site": "same-site"}, False),
        ({"authorization": "Bearer t", "sec-fetch-site": "cross-site", "origin": "https://evil.example"}, True),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, True),
        ({"origin": "https://evil.example"}, True),
    ],
)
@pytest.mark.parametrize("verb", ["GET", "HEAD"])
def test_a_get_with_cookies_is_not_for_pages_of_other_sites(
    headers: dict[str, str], is_let_in: bool, verb: str
) -> None:
    ran = []

    def function(request: EchoRequest, context: CallContext) -> EchoReply:
        ran.append(1)
        return EchoReply()

    app = lookup_app(function, GRPC_CORS_ORIGINS=["https://app.example"])
    client = app.test_client(use_cookies=False)
    response = client.open(FIND + query_of(HI), method=verb, headers=headers)
    assert response.status_code == (200 if is_let_in else 403)
    assert ran == ([1] if is_let_in else [])
    if verb == "GET" and not is_let_in:
        assert json.loads(response.data)["message"].startswith("pages of this origin may not call")


def test_a_page_may_call_by_get_after_a_preflight() -> None:
    client = lookup_app(GRPC_CORS_ORIGINS=["https://app.example"]).test_client()
    headers = {"origin": "https://app.example"}
    asked = {"access-control-request-method": "GET", "access-control-request-headers": "x-mine,connect-timeout-ms"}
    preflight = client.options(FIND, headers={**headers, **asked})
    assert preflight.headers["access-control-allow-methods"] == "GET, HEAD, POST"
    assert preflight.headers["access-control-allow-headers"] == "connect-timeout-ms, x-mine"
    response = client.get(FIND + query_of(HI), headers=headers)
    assert response.headers["access-control-allow-origin"] == "https://app.example"
    assert response.headers.getlist("vary") == ["Accept-Encoding", "Origin"] or "Origin" in str(response.vary)


def test_an_unknown_method_has_a_preflight() -> None:
    client = echo_app(GRPC_CORS_ORIGINS=["https://app.example"]).test_client()
    asked = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "connect-protocol-version,content-type",
    }
    assert client.options(UNKNOWN, headers=asked).headers["access-control-allow-origin"] == "https://app.example"


# A middleware inside of the extension's WSGI application


@pytest.mark.parametrize("content_type", [*UNARY, *STREAMS])
@pytest.mark.parametrize("is_refused", [False, True])
def test_a_middleware_inside_may_change_the_path(content_type: str, is_refused: bool) -> None:
    def moves(wsgi: Any) -> Any:
        def application(environ: dict[str, Any], start_response: Any) -> Any:
            path = environ["PATH_INFO"].removeprefix("/api")
            return wsgi({**environ, "PATH_INFO": path}, start_response)

        return application

    def prepare(app: Flask) -> None:
        app.wsgi_app = moves(app.wsgi_app)  # type: ignore[method-assign]
        app.before_request(lambda: abort(403, "no") if is_refused else None)
        app.add_url_rule("/page", "page", lambda: {"page": 1}, methods=["GET", "POST"])

    app = echo_app(prepare=prepare)
    client = app.test_client()
    method = "ServerStream" if content_type in STREAMS else "Unary"
    response = call(client, f"/api{ECHO}{method}", HI, content_type=content_type)
    assert (response.code, response.message) == (("permission_denied", "no") if is_refused else (None, ""))
    for page in (client.post("/api/page", json={}), client.get("/api/page?connect=v1"), client.get("/api/page")):
        assert page.status_code == (403 if is_refused else 200)
        assert page.headers["content-type"] == ("text/html; charset=utf-8" if is_refused else "application/json")
