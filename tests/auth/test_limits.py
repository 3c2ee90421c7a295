"""Rate limits and stream limits, through an app."""

from __future__ import annotations

import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.rpc.error_details_pb2 import RetryInfo

from flask_grpcweb_scm import ConfigError, GrpcWebScm
from flask_grpcweb_scm.settings import Settings
from tests.apps import ECHO, echo_app, echo_service
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import Answer
from tests.protocols import call, every_protocol, malformed, protocol, received, send  # noqa: F401  # a fixture


def codes(client: Any, method: str, times: int, **headers: str) -> list[int]:
    return [call(client, ECHO + method, EchoRequest(), headers=headers).code for _ in range(times)]


@every_protocol
def test_a_rate_is_per_caller_and_method() -> None:
    client = echo_app(GRPC_RATE_LIMITS="2/hour", GRPC_AUTH_TOKENS="a,b").test_client()
    assert codes(client, "Unary", 3, authorization="Bearer a") == [0, 0, 8]
    assert codes(client, "Unary", 3, authorization="Bearer b") == [0, 0, 8]
    assert codes(client, "ServerStream", 3, authorization="Bearer a") == [0, 0, 8]


@every_protocol
def test_strangers_are_told_apart_by_their_address() -> None:
    client = echo_app(GRPC_RATE_LIMITS="1/hour").test_client()
    answers = [
        call(client, ECHO + "Unary", EchoRequest(), environ_overrides={"REMOTE_ADDR": f"10.0.0.{host}"})
        for host in (1, 1, 2)
    ]
    assert [answer.code for answer in answers] == [0, 8, 0]


@every_protocol
def test_wrong_credentials_count_for_the_address_before_they_are_compared_again() -> None:
    client = echo_app(GRPC_RATE_LIMITS="2/hour", GRPC_AUTH_TOKENS="a").test_client()
    assert codes(client, "Unary", 4, authorization="Bearer wrong") == [16, 16, 8, 8]
    assert codes(client, "Unary", 1, authorization="Bearer a") == [0]


@pytest.mark.parametrize(
    ("rates", "allowed"),
    [
        ({"*": "1/hour"}, 1),
        ({"*": "1/hour", ECHO[1:] + "*": "2/hour"}, 2),
        ({"*": "1/hour", ECHO[1:] + "*": "2/hour", ECHO[1:] + "Unary": "3/hour"}, 3),
        ({ECHO[1:] + "ServerStream": "1/hour"}, 5),
        ("3 per 2 hours; 4/day", 3),
    ],
)
def test_the_most_specific_name_decides(rates: Any, allowed: int) -> None:
    client = echo_app(GRPC_RATE_LIMITS=rates).test_client()
    assert codes(client, "Unary", 5) == [0] * allowed + [8] * (5 - allowed)


def refused() -> Answer:
    client = echo_app(GRPC_RATE_LIMITS="1/minute").test_client()
    call(client, ECHO + "Unary", EchoRequest())
    return call(client, ECHO + "Unary", EchoRequest())


@every_protocol
def test_a_refusal_says_when_to_come_back() -> None:
    answer = refused()
    assert "limit of 1 per 1 minute for tests.echo.v1.Echo/Unary is used up; try again in " in answer.message
    (info,) = answer.details(RetryInfo)
    assert 0 <= info.retry_delay.seconds <= 120
    assert 1 <= int(answer.headers["retry-after"]) <= 120
    assert 1 <= int(answer.headers["retry-after-ms"]) <= 120_000


def test_preflights_do_not_count() -> None:
    client = echo_app(GRPC_RATE_LIMITS="1/hour", GRPC_CORS_ORIGINS="https://a.example").test_client()
    for _ in range(3):
        client.options(ECHO + "Unary", headers={"origin": "https://a.example", "access-control-request-method": "POST"})
    assert codes(client, "Unary", 2) == [0, 8]


@every_protocol
def test_the_body_of_a_refused_call_is_not_decoded() -> None:
    client = echo_app(GRPC_RATE_LIMITS="1/hour").test_client()
    assert [call(client, ECHO + "Unary", data=b"torn").code for _ in range(2)] == [malformed(), 8]


def test_limits_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "limits", None)
    with pytest.raises(ConfigError, match=r"pip install 'flask_grpcweb_scm\[ratelimit\]'"):
        echo_app(GRPC_RATE_LIMITS="1/hour")


@pytest.mark.parametrize("rates", ["often", "1/fortnight", {"*": 5}, {"no.Such/Method": "1/hour"}, ["1/hour"], 5])
def test_a_rate_that_cannot_work_is_refused_at_start(rates: Any) -> None:
    with pytest.raises(ConfigError, match="GRPC_RATE_LIMITS"):
        echo_app(GRPC_RATE_LIMITS=rates)


# The password of the second one looks like a port.
@pytest.mark.parametrize("storage", ["nowhere://user:hush@host", "redis://user:hush/@host", "redis://user:5@host:hush"])
def test_a_storage_that_cannot_work_is_refused_at_start_without_its_password(storage: str) -> None:
    with pytest.raises(ConfigError, match="GRPC_RATE_LIMIT_STORAGE") as caught:
        echo_app(GRPC_RATE_LIMITS="1/hour", GRPC_RATE_LIMIT_STORAGE=storage)
    assert "hush" not in str(caught.value)


@every_protocol
def test_a_caller_may_hold_so_many_streams_and_unary_calls_besides() -> None:
    client = echo_app(GRPC_MAX_STREAMS=2).test_client()
    first, second, third = (send(client, ECHO + "ServerStream", EchoRequest(count=100)) for _ in range(3))
    refused = received(ECHO + "ServerStream", third)
    assert refused.code == 8
    assert "2 streams of this caller are open already" in refused.message
    assert codes(client, "Unary", 1) == [0]
    second.close()
    assert codes(client, "ServerStream", 2) == [0, 0]
    first.close()


@every_protocol
def test_all_callers_together_may_hold_so_many_streams() -> None:
    client = echo_app(GRPC_MAX_STREAMS=None, GRPC_MAX_STREAMS_TOTAL=2).test_client()
    streams = [
        send(client, ECHO + "ServerStream", EchoRequest(count=100), environ_overrides={"REMOTE_ADDR": address})
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3")
    ]
    refused = received(ECHO + "ServerStream", streams[2])
    assert (refused.code, refused.message) == (8, "2 streams are open already, and the others are for other calls")
    assert [info.retry_delay.seconds for info in refused.details(RetryInfo)] == [1]
    assert codes(client, "Unary", 1) == [0]
    streams[0].close()
    assert codes(client, "ServerStream", 2) == [0, 0]
    streams[1].close()


def test_by_default_a_caller_has_half_of_the_streams() -> None:
    assert (Settings().max_streams, Settings().max_streams_total) == (4, 8)


@every_protocol
def test_a_stream_that_fails_gives_its_place_back() -> None:
    def stream(request: EchoRequest, context: object) -> Any:
        raise ZeroDivisionError
        yield

    client = echo_app(GRPC_MAX_STREAMS=1, ServerStream=stream).test_client()
    assert codes(client, "ServerStream", 3) == [13, 13, 13]


@pytest.mark.parametrize("is_generator", [True, False])
def test_a_stream_that_stops_its_thread_gives_its_place_back(is_generator: bool) -> None:
    def generator(request: EchoRequest, context: object) -> Any:
        if request.text == "exit":
            sys.exit("not of the call's making")
        yield from ()

    service = echo_service(ServerStream=generator)
    if not is_generator:
        service.intercept(lambda request, context, call_next: [*call_next(request, context)])
    client = echo_app(extension=GrpcWebScm(services=[service]), GRPC_MAX_STREAMS=1).test_client()
    with pytest.raises(SystemExit):
        call(client, ECHO + "ServerStream", EchoRequest(text="exit"))
    assert codes(client, "ServerStream", 1) == [0]


@every_protocol
def test_a_stream_that_stops_its_thread_when_it_is_closed_gives_its_place_back() -> None:
    def stream(request: EchoRequest, context: object) -> Any:
        try:
            yield EchoReply()
        finally:
            if request.text == "exit":
                sys.exit("not of the call's making")

    client = echo_app(GRPC_MAX_STREAMS=1, ServerStream=stream).test_client()
    response = send(client, ECHO + "ServerStream", EchoRequest(text="exit"))
    next(response.iter_encoded())
    with pytest.raises(SystemExit):
        response.close()
    assert codes(client, "ServerStream", 1) == [0]


@every_protocol
def test_a_response_over_its_limit_is_refused(protocol: str) -> None:  # noqa: F811
    client = echo_app(GRPC_MAX_RESPONSE_BYTES=10).test_client()
    # In JSON 11 bytes are around the text, in protobuf 2.
    length = 0 if "json" in protocol else 8
    assert call(client, ECHO + "Unary", EchoRequest(text="a" * length)).code == 0
    answer = call(client, ECHO + "Unary", EchoRequest(text="a" * (length + 1)))
    assert answer.code == 8
    assert re.fullmatch("response of [0-9]+ bytes is over the limit of 10 bytes", answer.message)


def test_signed_calls_with_a_torn_body_count_too() -> None:
    client = echo_app(GRPC_RATE_LIMITS="2/hour", GRPC_HMAC_SECRETS="s").test_client()
    headers = {"x-method": ECHO + "Unary", "x-signature": "0" * 64}
    assert [call(client, ECHO + "Unary", data=b"torn", headers=headers).code for _ in range(3)] == [13, 13, 8]


def test_a_stream_that_an_interceptor_made_a_plain_iterator_of_is_counted_as_any() -> None:
    service = echo_service()
    service.intercept(lambda request, context, call_next: iter([*call_next(request, context)]))
    client = echo_app(extension=GrpcWebScm(services=[service]), GRPC_MAX_STREAMS=1).test_client()
    answers = [call(client, ECHO + "ServerStream", EchoRequest(count=2)) for _ in range(2)]
    assert [(answer.code, len(answer.payloads)) for answer in answers] == [(0, 2), (0, 2)]


TENANTS = {
    "a1": {"organizations": [1]},
    "a2": {"organizations": [1]},
    "b": {"organizations": [2]},
    "all": {"name": "operator"},
}


def opened(client: Any, token: str) -> Any:
    """A stream that is open, or its refusal."""
    return send(client, ECHO + "ServerStream", EchoRequest(count=2), headers={"authorization": f"Bearer {token}"})


@every_protocol
def test_a_tenant_with_many_tokens_leaves_streams_to_others() -> None:
    config = {"GRPC_MAX_STREAMS": 2, "GRPC_MAX_STREAMS_TOTAL": 6, "GRPC_AUTH_TOKENS": TENANTS}
    client = echo_app(**config).test_client()
    streams = [opened(client, token) for token in ["a1", "a1", "a1", "a2", "a2", "b", "b", "all", "all"]]
    refused = {number: received(ECHO + "ServerStream", streams[number]) for number in (2, 4, 8)}
    assert [answer.code for answer in refused.values()] == [8, 8, 8]
    assert "3 streams of these organizations are open already" in refused[4].message
    answers = [received(ECHO + "ServerStream", stream) for stream in streams]
    assert [answer.code for answer in answers] == [0, 0, 8, 0, 8, 0, 0, 0, 8]
    for stream in streams:
        stream.close()
    assert received(ECHO + "ServerStream", opened(client, "a2")).code == 0


@every_protocol
def test_a_tenant_leaves_threads_to_others() -> None:
    inside, leave = threading.Semaphore(0), threading.Event()

    def wait(request: EchoRequest, context: Any) -> EchoReply:
        if request.text == "wait":
            inside.release()
            assert leave.wait(30)
        return EchoReply()

    app = echo_app(GRPC_MAX_CALLS=2, GRPC_AUTH_TOKENS=TENANTS, Unary=wait)

    def code(token: str, text: str = "") -> int:
        headers = {"authorization": f"Bearer {token}"}
        return call(app.test_client(), ECHO + "Unary", EchoRequest(text=text), headers=headers).code

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(code, token, "wait") for token in ("a1", "a2", "all", "all")]
        assert all(inside.acquire(timeout=30) for _ in waiting)
        assert [code(token) for token in ("a1", "a2", "b", "all")] == [8, 8, 0, 0]
        leave.set()
        assert [future.result() for future in waiting] == [0, 0, 0, 0]
    assert [code("a1") for _ in range(3)] == [0, 0, 0]
