"""Channels: credentials, and what they refuse; methods of a stub under their Python names."""

from __future__ import annotations

from typing import Any

import pytest

from flask_grpcweb_scm.client import Channel, StatusCode
from flask_grpcweb_scm.client.channel import snake_case
from flask_grpcweb_scm.testing import assert_rpc_error, channel_for
from tests.apps import echo_app
from tests.client.support import ECHO, WAYS, echo_stub
from tests.echo_pb2 import EchoReply, EchoRequest


def test_a_token_is_sent() -> None:
    app = echo_app(GRPC_AUTH_TOKENS="right")
    assert channel_for(app, token="right").stub(ECHO).unary(EchoRequest(text="a")).text == "A"
    for channel in (channel_for(app, token="wrong"), channel_for(app)):
        with assert_rpc_error(StatusCode.UNAUTHENTICATED):
            channel.stub(ECHO).unary(EchoRequest())


@pytest.mark.parametrize("options", WAYS, ids=str)
@pytest.mark.parametrize("data", [b"", b"\0" * 5000])
def test_requests_are_signed(options: dict[str, Any], data: bytes) -> None:
    app = echo_app(GRPC_HMAC_SECRETS=["new"], GRPC_HMAC_REQUIRE_TIMESTAMP=True)
    stub = channel_for(app, hmac_secret="new", **options).stub(ECHO)
    assert stub.unary(EchoRequest(text="a", data=data)).text == "A"
    assert len(list(stub.server_stream(EchoRequest(count=2)))) == 2
    with assert_rpc_error(StatusCode.UNAUTHENTICATED):
        channel_for(app, hmac_secret="old", **options).stub(ECHO).unary(EchoRequest())


def test_a_stream_of_requests_cannot_be_signed() -> None:
    with assert_rpc_error(StatusCode.UNAUTHENTICATED, match=r" use a token"):
        echo_stub({"hmac_secret": "s"}).client_stream([])


def test_a_channel_does_not_show_its_token() -> None:
    assert "secret" not in repr(Channel("http://example.test/api/", token="secret"))


@pytest.mark.parametrize(
    ("url", "options", "message"),
    [
        ("example.test", {}, "is not the URL of a server"),
        ("ftp://example.test", {}, "is not the URL of a server"),
        ("http://", {}, "is not the URL of a server"),
        ("http://user:pass@example.test", {}, "no user"),
        ("http://example.test/?a=b", {}, "query"),
        ("http://example.test", {"codec": "jso"}, r"did you mean 'json'\?"),
        ("http://example.test", {"compression": "gz"}, "compression is one of gzip, deflate"),
        ("http://example.test", {"token": "a\nb"}, "x-grpc-auth-token"),
        ("http://example.test", {"metadata": {"grpc-status": "0"}}, "reserved"),
    ],
)
def test_a_mistake_in_the_options_of_a_channel(url: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Channel(url, **options)
    assert "pass" not in str(caught.value)


def test_a_request_of_another_class_is_refused() -> None:
    with pytest.raises(TypeError, match=r"takes tests\.echo\.v1\.EchoRequest, got EchoReply"):
        echo_stub().unary(EchoReply())
    with pytest.raises(TypeError, match="got dict"):
        echo_stub().client_stream([{"text": "a"}])


def test_a_closed_channel_refuses_calls() -> None:
    with channel_for(echo_app()) as channel:
        stub = channel.stub(ECHO)
    with pytest.raises(ValueError, match="is closed"):
        stub.unary(EchoRequest())


# Stubs


def test_a_misspelt_method_gets_a_hint() -> None:
    with pytest.raises(AttributeError, match=r"no method 'unari'; did you mean 'unary'\?"):
        echo_stub().unari(EchoRequest())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GetRepository", "get_repository"),
        ("Bidi", "bidi"),
        ("GetHTTPStatus", "get_http_status"),
        ("V2Read", "v2_read"),
    ],
)
def test_methods_have_python_names(name: str, expected: str) -> None:
    assert snake_case(name) == expected
