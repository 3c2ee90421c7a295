"""channel_for: the bytes are those of HTTP, and all of the app's hooks run."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, Response, abort, request

from flask_grpcweb_scm import CallContext
from flask_grpcweb_scm.client import StatusCode
from flask_grpcweb_scm.testing import assert_rpc_error, channel_for
from tests.apps import echo_app
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest

ECHO = DESCRIPTOR.services_by_name["Echo"]


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_the_prefix_of_the_app_is_used(prefix: str) -> None:
    stub = channel_for(echo_app(GRPC_URL_PREFIX=prefix)).stub(ECHO)
    assert stub.unary(EchoRequest(text="a")).text == "A"


@pytest.mark.parametrize(
    ("options", "content_type"),
    [
        ({}, "application/grpc-web+proto"),
        ({"codec": "json"}, "application/grpc-web+json"),
        ({"text": True}, "application/grpc-web-text"),
        ({"text": True, "codec": "json"}, "application/grpc-web-text+json"),
        ({"protocol": "connect"}, "application/proto"),
        ({"protocol": "connect", "codec": "json"}, "application/json"),
    ],
)
def test_the_content_type_is_that_of_http(options: dict[str, Any], content_type: str) -> None:
    seen = []

    def prepare(app: Flask) -> None:
        app.before_request(lambda: seen.append(request.content_type))

    channel_for(echo_app(prepare=prepare), **options).stub(ECHO).unary(EchoRequest())
    assert seen == [content_type]


@pytest.mark.parametrize("names", [["grpc-web"], ["connect"], ["connect", "grpc-web"]])
def test_the_protocol_is_one_that_the_app_serves(names: list[str]) -> None:
    with channel_for(echo_app(GRPC_PROTOCOLS=names)) as channel:
        assert channel.stub(ECHO).unary(EchoRequest(text="a")).text == "A"
        assert [reply.number for reply in channel.stub(ECHO).server_stream(EchoRequest(count=2))] == [0, 1]


def test_hooks_of_the_app_run() -> None:
    seen = []

    def prepare(app: Flask) -> None:
        @app.before_request
        def before() -> None:
            seen.append(request.path)
            if "x-refuse" in request.headers:
                abort(403)

        @app.after_request
        def after(response: Response) -> Response:
            response.headers["x-after"] = "1"
            return response

    stub = channel_for(echo_app(prepare=prepare)).stub(ECHO)
    _, call = stub.unary.with_call(EchoRequest())
    assert seen == ["/tests.echo.v1.Echo/Unary"]
    assert call.initial_metadata.get("x-after") == "1"
    with assert_rpc_error(StatusCode.PERMISSION_DENIED):
        stub.unary(EchoRequest(), metadata={"x-refuse": "1"})


def test_an_exception_arrives_as_a_status_and_is_handled_as_always() -> None:
    def crash(request: EchoRequest, context: CallContext) -> EchoReply:
        raise RuntimeError("secret")

    app = echo_app(Unary=crash, PROPAGATE_EXCEPTIONS=False)
    with assert_rpc_error(StatusCode.INTERNAL, match=r"internal error \(call [0-9a-f]+\)") as caught:
        channel_for(app).stub(ECHO).unary(EchoRequest())
    assert f"(call {caught.value.call_id})" in caught.value.message


def test_no_cookies_are_kept_between_calls() -> None:
    def prepare(app: Flask) -> None:
        @app.after_request
        def after(response: Response) -> Response:
            assert "a" not in request.cookies
            response.set_cookie("a", "b")
            return response

    stub = channel_for(echo_app(prepare=prepare)).stub(ECHO)
    for _ in range(2):
        stub.unary(EchoRequest())
