"""Wrong credentials, counted by peer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import abort
from google.rpc.error_details_pb2 import RetryInfo
from werkzeug.exceptions import Unauthorized

from flask_grpcweb_scm import CallContext, GrpcWebScm, Identity, RpcError, StatusCode
from flask_grpcweb_scm.auth import FailureLimiter, failures
from flask_grpcweb_scm.auth.limits import peer_key
from flask_grpcweb_scm.wire import Metadata
from tests.apps import ECHO, echo_app, echo_service
from tests.echo_pb2 import EchoRequest
from tests.grpcweb import Answer, call

RIGHT = Identity("right")


def authenticate(context: CallContext) -> Identity:
    token = context.metadata.get_text("x-grpc-auth-token")
    if token == "abort":
        raise Unauthorized()
    if token == "crash":
        raise KeyError(token)
    if token == "busy":
        raise RpcError(StatusCode.UNAVAILABLE, "busy")
    if token != "right":
        raise RpcError(StatusCode.UNAUTHENTICATED, "wrong")
    return RIGHT


def guarded(allowed: int, delay: float = 0) -> Any:
    """What an authenticator responds to a token from a peer: the name of the caller, or the code."""
    authorize = FailureLimiter(allowed, delay=delay).guard(authenticate)

    def respond(token: str | None, peer: str = "192.0.2.1", **headers: str) -> object:
        pairs = [] if token is None else [("x-grpc-auth-token", token)]
        context = CallContext(metadata=Metadata([*pairs, *headers.items()]), peer=peer)
        try:
            return authorize(context).name
        except (RpcError, Unauthorized, KeyError) as error:
            return getattr(error, "code", type(error))

    return respond


def test_failures_of_a_peer_end_with_16_and_then_with_8() -> None:
    respond = guarded(8)
    assert [respond("wrong") for _ in range(12)] == [16] * 8 + [8] * 4
    assert respond("wrong", peer="192.0.2.2") == 16


def test_a_right_credential_always_passes() -> None:
    respond = guarded(2)
    assert [respond(token) for token in ["wrong", "right"] * 5] == [16, "right"] * 2 + [8, "right"] * 3


@pytest.mark.parametrize(
    ("token", "headers", "code"),
    [
        (None, {}, 16),  # nothing was guessed
        ("", {}, 16),
        ("busy", {}, 14),
        ("crash", {}, KeyError),
    ],
)
def test_what_is_no_wrong_credential_is_not_counted(token: str | None, headers: dict[str, str], code: object) -> None:
    respond = guarded(2)
    assert [respond(token, **headers) for _ in range(5)] == [code] * 5
    assert [respond("wrong") for _ in range(3)] == [16, 16, 8]


@pytest.mark.parametrize(
    ("token", "headers", "code"),
    [
        ("abort", {}, 401),
        (None, {"authorization": "Bearer wrong"}, 16),
        (None, {"authorization": "Basic YTpi"}, 16),
        (None, {"x-signature": "0" * 64}, 16),
    ],
)
def test_wrong_credentials_of_every_kind_are_counted(token: str | None, headers: dict[str, str], code: object) -> None:
    respond = guarded(2)
    assert [respond(token, **headers) for _ in range(4)] == [code, code, 8, 8]


@pytest.mark.parametrize(
    ("peer", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:5678", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:DB8:0:0:ffff::2", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("[2001:db8::7]:443", "2001:db8::/64"),
        ("?2001:db8::7?:443", "2001:db8::/64"),  # as it is in the log
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:C000:0201", "192.0.2.1"),
        ("64:ff9b::192.0.2.1", "192.0.2.1"),
        ("2002:c000:0201::5", "192.0.2.1"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdfe", "192.0.2.1"),
        ("::1", "::/64"),
        ("", ""),
        ("unix", "unix"),
        ("1.2.3", "1.2.3"),
        ("1.2.3.4.5:6", "1.2.3.4.5:6"),
        ("%eth0", "%eth0"),
    ],
)
def test_a_peer_is_the_network_that_an_address_stands_for(peer: str, key: str) -> None:
    assert peer_key(peer) == key


def test_a_network_of_ipv6_is_one_peer() -> None:
    respond = guarded(2)
    assert [respond("wrong", peer=f"2001:db8::{number:x}") for number in range(4)] == [16, 16, 8, 8]
    assert respond("wrong", peer="2001:db8:0:1::") == 16


def test_the_memory_of_peers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "MAX_PEERS", 10)
    limiter = FailureLimiter(1, delay=0)
    authorize = limiter.guard(authenticate)
    for number in range(100):
        context = CallContext(metadata=Metadata([("x-signature", "0")]), peer=f"192.0.2.{number}")
        with pytest.raises(RpcError):
            authorize(context)
    assert len(limiter._peers) == 10


def test_after_a_minute_they_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    respond = guarded(1)
    assert [respond("wrong") for _ in range(3)] == [16, 8, 8]
    monkeypatch.setattr(failures, "WINDOW_SECONDS", 0)
    assert respond("wrong") == 16


def test_delays_hold_no_more_than_two_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third guesser in the meantime is refused at once, and with 8."""
    sleeping, wake = threading.Semaphore(0), threading.Event()

    def sleep(seconds: float) -> None:
        sleeping.release()
        assert wake.wait(30)

    monkeypatch.setattr(failures.time, "sleep", sleep)
    respond = guarded(1, delay=0.001)
    peers = [f"192.0.2.{number}" for number in range(4)]
    with ThreadPoolExecutor(2) as pool:
        delayed = [pool.submit(respond, "wrong", peer) for peer in peers[:2]]
        assert all(sleeping.acquire(timeout=30) for _ in range(2))
        assert [respond("wrong", peer=peer) for peer in peers[2:]] == [8, 8]
        assert respond("right") == "right"
        wake.set()
        assert [future.result() for future in delayed] == [16, 16]


def test_delays_together_take_a_tenth_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(failures.time, "sleep", slept.append)
    respond = guarded(2, delay=1.0)
    codes = [respond("wrong", peer=f"192.0.2.{number}") for number in range(20) for _ in range(2)]
    assert len(slept) == failures.MAX_DELAY_SECONDS
    assert codes.count(8) == 20 - len(slept)


def test_a_delay_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(failures.time, "sleep", slept.append)
    authorize = FailureLimiter(1, delay=0.5).guard(authenticate)
    with pytest.raises(RpcError):
        authorize(CallContext(metadata=Metadata([("x-signature", "0")]), timeout=0.01))
    assert 0 <= max(slept) <= 0.01


def guess(client: Any, token: str, peer: str = "127.0.0.1") -> Answer:
    headers = {"x-grpc-auth-token": token}
    return call(client, ECHO + "Unary", EchoRequest(), headers=headers, environ_overrides={"REMOTE_ADDR": peer})


def test_a_refusal_says_when_to_come_back() -> None:
    client = echo_app(GRPC_AUTH_TOKENS="right", GRPC_MAX_AUTH_FAILURES=1).test_client()
    assert [guess(client, token).code for token in ("wrong", "wrong", "right")] == [16, 8, 0]
    answer = guess(client, "wrong")
    assert answer.message.startswith("too many wrong credentials have come from this address; try again in ")
    (info,) = answer.details(RetryInfo)
    assert 0 < info.retry_delay.seconds <= failures.WINDOW_SECONDS
    assert 1 <= int(answer.headers["retry-after"]) <= failures.WINDOW_SECONDS


def test_the_limit_can_be_switched_off() -> None:
    client = echo_app(GRPC_AUTH_TOKENS="right", GRPC_MAX_AUTH_FAILURES=None).test_client()
    assert [guess(client, "wrong").code for _ in range(30)] == [16] * 30


@pytest.mark.parametrize(
    "refuse", [lambda context: abort(401), lambda context: failing(context)], ids=["abort", "RpcError"]
)
def test_an_authenticator_of_the_apps_own_is_guarded_too(refuse: Any) -> None:
    extension = GrpcWebScm(services=[echo_service()], authenticate=refuse)
    client = echo_app(extension=extension, GRPC_MAX_AUTH_FAILURES=1).test_client()
    assert [guess(client, "wrong").code for _ in range(3)] == [16, 8, 8]


def failing(context: CallContext) -> Identity:
    raise RpcError(StatusCode.UNAUTHENTICATED, "wrong")
