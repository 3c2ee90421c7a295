"""GRPC_STATUS_HEADER: where scripts find the status, and that no client of gRPC-Web is confused by it."""

from __future__ import annotations

import pytest

from flask_grpcweb_scm import CallContext, ConfigError
from flask_grpcweb_scm.client import Channel
from flask_grpcweb_scm.testing import channel_for
from tests.apps import ECHO, echo_app
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest
from tests.grpcweb import JSON, PROTO, TEXT, call, frame

HI = EchoRequest(text="hi")
MESSAGE = frame(EchoReply(text="HI").SerializeToString())
TRAILERS = frame(b"grpc-status: 0\r\n", 0x80)


@pytest.mark.parametrize("accept", ["*/*", "", "text/html, */*;q=0.8"])
@pytest.mark.parametrize("more", [{}, {"user-agent": "python-requests/2.32"}, {"x-grpc-auth-token": "t"}])
def test_a_script_gets_a_message_and_nothing_else(accept: str, more: dict[str, str]) -> None:
    client = echo_app(GRPC_STATUS_HEADER="only").test_client()
    answer = call(client, ECHO + "Unary", HI, headers={"accept": accept, **more})
    assert (answer.headers["grpc-status"], answer.body) == ("0", MESSAGE)


@pytest.mark.parametrize("content_type", [JSON, TEXT])
def test_so_it_is_in_other_content_types(content_type: str) -> None:
    client = echo_app(GRPC_STATUS_HEADER="only").test_client()
    answer = call(client, ECHO + "Unary", HI, content_type=content_type)
    assert (len(answer.payloads), answer.trailers, answer.code) == (1, {}, 0)


def test_trailing_metadata_is_in_the_headers_then() -> None:
    def function(request: EchoRequest, context: CallContext) -> EchoReply:
        context.trailing_metadata.add("x-last", "1")
        return EchoReply(text="HI")

    answer = call(echo_app(Unary=function, GRPC_STATUS_HEADER="only").test_client(), ECHO + "Unary", HI)
    assert (answer.headers["x-last"], answer.body) == ("1", MESSAGE)


@pytest.mark.parametrize(
    "headers",
    [
        {"x-grpc-web": "1"},
        {"x-user-agent": "grpc-web-python/0.1"},
        {"accept": "application/grpc-web+proto"},
        {"accept": "application/grpc-web"},
        {"accept": "*/*, Application/gRPC-Web-Text"},
        {"grpc-timeout": "1S"},
        {"grpc-accept-encoding": "identity"},
        {"Grpc-Encoding": "identity"},
        {"te": "trailers"},
    ],
)
def test_whoever_speaks_grpc_web_gets_trailers(headers: dict[str, str]) -> None:
    client = echo_app(GRPC_STATUS_HEADER="only").test_client()
    answer = call(client, ECHO + "Unary", HI, headers=headers)
    assert answer.trailers == {"grpc-status": "0"}


def test_a_stream_always_has_trailers() -> None:
    client = echo_app(GRPC_STATUS_HEADER="only").test_client()
    answer = call(client, ECHO + "ServerStream", EchoRequest(count=2))
    assert (len(answer.payloads), answer.trailers) == (2, {"grpc-status": "0"})


def test_an_error_is_in_the_headers_in_any_case() -> None:
    answer = call(echo_app(GRPC_STATUS_HEADER="only").test_client(), ECHO + "Missing", HI)
    assert (answer.headers["grpc-status"], answer.body) == ("12", b"")


def test_without_the_key_trailers_are_there_too() -> None:
    answer = call(echo_app().test_client(), ECHO + "Unary", HI, content_type=PROTO)
    assert (answer.headers["grpc-status"], answer.body) == ("0", MESSAGE + TRAILERS)


def test_our_client_does_not_notice() -> None:
    channel: Channel = channel_for(echo_app(GRPC_STATUS_HEADER="only"))
    assert channel.stub(DESCRIPTOR.services_by_name["Echo"]).unary(HI).text == "HI"


def test_another_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="GRPC_STATUS_HEADER: 'never' is not true or false"):
        echo_app(GRPC_STATUS_HEADER="never")
