"""Signed requests, through an app."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import Any

import pytest

from flask_grpcweb_scm import GrpcWebScm
from flask_grpcweb_scm.auth import sign
from flask_grpcweb_scm.wire import ENCODINGS
from tests import protocols
from tests.apps import ECHO, echo_app, lookup_service
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import FOUR_CONTENT_TYPES, PROTO, TEXT, Answer, body_of, call, frame
from tests.protocols import every_protocol_in_protobuf, protocol  # noqa: F401  # a fixture

PATH = ECHO + "Unary"
HI = EchoRequest(text="hi").SerializeToString()
NOW = int(time.time())


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes may lie between collection, when requests are signed, and the tests."""
    monkeypatch.setattr(time, "time", lambda: float(NOW))


def signed(
    message: bytes = HI, *, secret: str = "new", path: str = PATH, timestamp: int | None = None
) -> dict[str, str]:
    """The headers of a signed request, computed as the specification has it."""
    text = f"{path}:{message.hex()}" + ("" if timestamp is None else f":{timestamp}")
    headers = {"x-method": path, "x-signature": hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()}
    return headers if timestamp is None else {**headers, "x-timestamp": str(timestamp)}


def client_of(config: dict[str, Any]) -> Any:
    return echo_app(**{"GRPC_HMAC_SECRETS": "new,old", **config}).test_client()


def post(headers: dict[str, str], *, body: bytes | None = None, content_type: str = PROTO, **config: Any) -> Answer:
    body = frame(HI) if body is None else body
    return call(client_of(config), PATH, data=body, headers=headers, content_type=content_type)


def sent(headers: dict[str, str], **config: Any) -> Answer:
    """What comes of a request with the message that is signed, in the protocol of the test."""
    return protocols.call(client_of(config), PATH, data=protocols.framed(HI), headers=headers)


def test_sign_is_what_the_specification_says() -> None:
    assert sign("new", PATH, HI) == signed()["x-signature"]
    assert sign("new", PATH, HI, 5) == signed(timestamp=5)["x-signature"]


@pytest.mark.parametrize(
    "headers",
    [
        signed(),
        signed(secret="old"),
        {**signed(), "x-body": HI.hex()},
        {**signed(), "x-body": HI.hex().upper()},
        {**signed(), "x-signature": signed()["x-signature"].upper()},
        signed(timestamp=NOW),
        signed(timestamp=NOW - 100),
        signed(timestamp=NOW + 250),
    ],
)
@every_protocol_in_protobuf
def test_a_signed_request_is_let_in(headers: dict[str, str]) -> None:
    assert sent(headers).only(EchoReply).text == "HI"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "send X-Signature and X-Method"),
        ({"x-grpc-auth-token": "new"}, "send X-Signature and X-Method"),
        ({**signed(), "x-method": ECHO + "ServerStream"}, f"X-Method must be the path of the call, {PATH}"),
        ({**signed(), "x-method": ""}, "X-Method must be the path"),
        (signed(path=ECHO + "ServerStream"), "X-Method must be"),
        ({**signed(), "x-body": "00"}, "X-Body is not the hex of the message"),
        ({**signed(EchoRequest(text="ho").SerializeToString())}, "X-Signature does not match"),
        ({**signed(EchoRequest(text="ho").SerializeToString()), "x-body": HI.hex()}, "X-Signature does not match"),
        (signed(secret="other"), "X-Signature does not match"),
        ({**signed(), "x-signature": ""}, "X-Signature does not match"),
        ({**signed(), "x-signature": signed()["x-signature"][:-1]}, "X-Signature does not match"),
        ({**signed(), "x-signature": signed()["x-signature"] + "," + signed()["x-signature"]}, "does not match"),
        ({**signed(), "x-timestamp": str(NOW)}, "X-Signature does not match"),
        ({k: v for k, v in signed(timestamp=NOW).items() if k != "x-timestamp"}, "X-Signature does not match"),
        ({**signed(timestamp=NOW), "x-timestamp": str(NOW + 1)}, "X-Signature does not match"),
        (signed(timestamp=NOW - 4000), "X-Timestamp is more than 300 seconds off"),
        (signed(timestamp=NOW + 4000), "X-Timestamp is more than 300 seconds off"),
        ({**signed(), "x-timestamp": "now"}, "X-Timestamp must be whole seconds"),
        ({**signed(), "x-timestamp": f"+{NOW}"}, "X-Timestamp must be whole seconds"),
        ({**signed(), "x-timestamp": "9" * 5000}, "X-Timestamp must be whole seconds"),
    ],
)
@every_protocol_in_protobuf
def test_a_request_that_does_not_fit_its_signature_is_refused(headers: dict[str, str], message: str) -> None:
    answer = sent(headers)
    assert answer.code == 16
    assert message in answer.message


@pytest.mark.parametrize("content_type", FOUR_CONTENT_TYPES)
@pytest.mark.parametrize("compressed", [False, True])
def test_the_message_is_signed_as_serialized_whatever_carries_it(content_type: str, compressed: bool) -> None:
    body = body_of(EchoRequest(text="hi"), content_type=content_type)
    message = b'{"text": "hi"}' if content_type.endswith("json") else HI
    if content_type.endswith("json"):
        body = frame(message)
    headers = signed(message)
    if compressed and "-text" not in content_type:
        body, headers["grpc-encoding"] = frame(ENCODINGS["gzip"].compress(message), 1), "gzip"
    assert post(headers, body=body, content_type=content_type).only(EchoReply).text == "HI"


@every_protocol_in_protobuf
def test_a_timestamp_can_be_required() -> None:
    assert sent(signed(), GRPC_HMAC_REQUIRE_TIMESTAMP=True).message == "X-Timestamp is required in signed requests"
    assert sent(signed(timestamp=NOW), GRPC_HMAC_REQUIRE_TIMESTAMP=True).code == 0


@every_protocol_in_protobuf
def test_the_age_can_be_configured() -> None:
    assert sent(signed(timestamp=NOW - 30), GRPC_HMAC_MAX_AGE=10).code == 16


@every_protocol_in_protobuf
def test_a_url_prefix_is_not_part_of_the_signed_path() -> None:
    client = echo_app(GRPC_HMAC_SECRETS="new", GRPC_URL_PREFIX="/rpc").test_client()
    assert protocols.call(client, "/rpc" + PATH, data=protocols.framed(HI), headers=signed()).code == 0


def test_a_torn_body_is_torn_before_it_is_unsigned() -> None:
    assert post(signed(), body=frame(HI)[:-1]).code == 13
    assert post(signed(), body=b"!", content_type=TEXT).code == 13


@every_protocol_in_protobuf
def test_a_stream_of_requests_cannot_be_signed() -> None:
    client = echo_app(GRPC_HMAC_SECRETS="new").test_client()
    headers = signed(path=ECHO + "ClientStream")
    answer = protocols.call(client, ECHO + "ClientStream", data=frame(HI), headers=headers)
    assert (answer.code, answer.message) == (16, "a stream of requests cannot be signed; use a token")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-grpc-auth-token": "t"}, 0),
        ({"authorization": "Bearer t"}, 0),
        ({"authorization": "bearer  t "}, 0),
        ({"authorization": "Basic t"}, 16),
        ({"authorization": "t"}, 16),
        ({"x-grpc-auth-token": "T"}, 16),
        ({"x-grpc-auth-token": "t,u"}, 16),
        ({"x-grpc-auth-token": ""}, 16),
        ({"x-grpc-auth-token": "wrong", "authorization": "Bearer t"}, 16),
        ({"x-grpc-auth-token": "wrong", **signed()}, 16),
        ({"x-grpc-auth-token": "t", "x-signature": "wrong"}, 0),
        (signed(), 0),
        ({}, 16),
    ],
)
@every_protocol_in_protobuf
def test_tokens_and_signatures_side_by_side(headers: dict[str, str], code: int) -> None:
    assert sent(headers, GRPC_AUTH_TOKENS="t,u").code == code


@pytest.mark.parametrize("codec", ["proto", "json"])
@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_of_a_query_the_message_is_signed(codec: str, compression: str | None, method: str) -> None:
    path = "/tests.echo.v1.Lookup/Find"
    service = lookup_service(lambda request, context: EchoReply(text=request.text.upper()))
    client = echo_app(extension=GrpcWebScm(services=[service]), GRPC_HMAC_SECRETS="new").test_client()
    message = HI if codec == "proto" else b'{"text": "hi"}'
    data = message if compression is None else ENCODINGS[compression].compress(message)
    text = base64.urlsafe_b64encode(data).decode()
    target = f"{path}?connect=v1&encoding={codec}&base64=1&message={text}"
    target += f"&compression={compression}" if compression else ""
    for headers, status in (
        (signed(message, path=path), 200),
        (signed(message, path=path, timestamp=NOW), 200),
        (signed(data + b"x", path=path), 401),
        (signed(text.encode(), path=path), 401),
        (signed(target.encode(), path=path), 401),
        (signed(message, path=target), 401),
        (signed(message, path=PATH), 401),
        ({}, 401),
    ):
        assert client.open(target, method=method, headers=headers).status_code == status, headers


def test_credentials_are_ignored_while_authentication_is_off() -> None:
    assert post({"x-grpc-auth-token": "wrong"}, GRPC_REQUIRE_AUTH=False).code == 0
