"""Retries, against a server that fails as often as a test wants."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from flask_grpcweb_scm.client import CallError, Channel, RetryPolicy, ScmStub, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.testing import assert_rpc_error
from flask_grpcweb_scm.wire import encode_binary
from tests.client.scripted import OK, Peer, ScriptedServer, http, serve, trailers
from tests.echo_pb2 import DESCRIPTOR, EchoRequest
from tests.grpcweb import frame

SCM = "/sentry.integrations.scm.v1.ScmService/"
FAST = RetryPolicy(initial_backoff=0.001, max_backoff=0.002)
UNAVAILABLE = http(trailers("grpc-status: 14\r\n"))
SUCCESS = http(frame(scm_pb2.Repository(id=7).SerializeToString()) + OK)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with serve(lambda peer: None) as server:
        yield server


def attempts(server: ScriptedServer, responses: list[bytes], retry: RetryPolicy | None = FAST, **options: Any) -> int:
    """Make a call that gets `responses`, the last one for ever, and return how often it was made."""

    def script(peer: Peer) -> None:
        peer.send(responses[min(len(server.requests), len(responses)) - 1])

    server.script = script
    metadata = options.pop("metadata", ())
    method = options.pop("method", "get_repository")
    requests = {
        "get_repository": scm_pb2.GetRepositoryRequest(),
        "link_external_issue": scm_pb2.LinkExternalIssueRequest(),
    }
    with Channel(server.url, retry=retry, **{"timeout": 5, **options}) as channel:
        try:
            getattr(ScmStub(channel), method)(requests[method], metadata=metadata)
        except CallError as error:
            assert error.code in {StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED, StatusCode.INTERNAL}
    return len(server.requests)


KEY = {"idempotency-key": "1"}


@pytest.mark.parametrize(
    ("responses", "options", "expected"),
    [
        ([SUCCESS], {}, 1),
        ([UNAVAILABLE, SUCCESS], {}, 2),
        ([UNAVAILABLE, UNAVAILABLE, SUCCESS], {}, 3),
        ([UNAVAILABLE], {}, 4),
        ([UNAVAILABLE], {"retry": RetryPolicy(max_attempts=2, initial_backoff=0)}, 2),
        ([UNAVAILABLE], {"retry": RetryPolicy(max_attempts=1)}, 1),
        ([UNAVAILABLE], {"retry": None}, 1),
        ([http(status="503 Service Unavailable"), SUCCESS], {}, 2),
        ([http(trailers("grpc-status: 13\r\n"))], {}, 1),
        ([http(trailers("grpc-status: 8\r\n"))], {}, 1),
        ([http(trailers("grpc-status: 8\r\n"))],
         {"retry": RetryPolicy(retryable_codes={StatusCode.RESOURCE_EXHAUSTED}, initial_backoff=0)}, 4),
        # Nothing that may have an effect, unless it has a key.
        ([UNAVAILABLE], {"method": "link_external_issue"}, 1),
        ([UNAVAILABLE], {"method": "link_external_issue", "metadata": KEY}, 4),
        # Nothing that has answered.
        ([http(frame(b"") + trailers("grpc-status: 14\r\n"))], {}, 1),
        # What the server asks for
        ([http(trailers("grpc-status: 14\r\ngrpc-retry-pushback-ms: -1\r\n"))], {}, 1),
        ([http(trailers("grpc-status: 14\r\ngrpc-retry-pushback-ms: soon\r\n"))], {}, 1),
        ([http(trailers("grpc-status: 14\r\ngrpc-retry-pushback-ms: 0\r\n"))], {}, 4),
        ([http(b"", "grpc-status: 14", "grpc-retry-pushback-ms: 0")], {}, 4),
        # No pause that ends after the deadline
        ([http(trailers("grpc-status: 14\r\ngrpc-retry-pushback-ms: 6000\r\n"))], {}, 1),
        ([UNAVAILABLE], {"retry": RetryPolicy(initial_backoff=9, max_backoff=9)}, 1),
    ],
)  # fmt: skip
def test_how_often_a_call_is_made(
    server: ScriptedServer, responses: list[bytes], options: dict[str, Any], expected: int
) -> None:
    assert attempts(server, responses, **options) == expected


def test_a_lost_connection_is_retried(server: ScriptedServer) -> None:
    def script(peer: Peer) -> None:
        if len(server.requests) == 1:
            peer.shut_down()
        else:
            peer.send(SUCCESS)

    server.script = script
    with Channel(server.url, retry=FAST) as channel:
        assert ScmStub(channel).get_repository(scm_pb2.GetRepositoryRequest()).id == 7


def test_streams_of_requests_are_never_repeated(server: ScriptedServer) -> None:
    server.script = lambda peer: peer.send(UNAVAILABLE)
    with Channel(server.url, retry=FAST) as channel, pytest.raises(CallError):
        channel.stub(DESCRIPTOR.services_by_name["Echo"]).client_stream(iter(()), metadata=KEY)
    assert server.connections == 1


def test_a_stream_is_retried_until_its_first_message(server: ScriptedServer) -> None:
    responses = [UNAVAILABLE, http(frame(b"") + trailers("grpc-status: 14\r\n"))]
    server.script = lambda peer: peer.send(responses.pop(0))
    with Channel(server.url, retry=FAST) as channel:
        replies = channel.stub(DESCRIPTOR.services_by_name["Echo"]).server_stream(EchoRequest(), metadata=KEY)
        next(replies)
        with assert_rpc_error(StatusCode.UNAVAILABLE):
            next(replies)
    assert responses == []


def test_attempts_are_counted_and_share_one_deadline(server: ScriptedServer) -> None:
    assert attempts(server, [UNAVAILABLE], RetryPolicy(initial_backoff=0.05, max_backoff=0.05), timeout=5) == 4
    counts = [request.get("grpc-previous-rpc-attempts") for request in server.requests]
    assert counts == [None, "1", "2", "3"]
    timeouts = [int(request["grpc-timeout"].removesuffix("u")) for request in server.requests]
    assert timeouts == sorted(timeouts, reverse=True)
    assert timeouts[0] - timeouts[3] > 3 * 0.8 * 50_000


RETRY_INFO = Status(code=14)
RETRY_INFO.details.add().Pack(RetryInfo(retry_delay={"nanos": 150_000_000}))


@pytest.mark.parametrize(
    "line",
    ["grpc-retry-pushback-ms: 150", f"grpc-status-details-bin: {encode_binary(RETRY_INFO.SerializeToString())}"],
)
def test_the_server_decides_about_the_pause(server: ScriptedServer, line: str) -> None:
    started = time.monotonic()
    assert attempts(server, [http(trailers(f"grpc-status: 14\r\n{line}\r\n")), SUCCESS]) == 2
    assert 0.15 <= time.monotonic() - started < 5


def test_cancelling_ends_the_pause(server: ScriptedServer) -> None:
    server.script = lambda peer: peer.send(UNAVAILABLE)
    with Channel(server.url, retry=RetryPolicy(initial_backoff=60, max_backoff=60)) as channel:
        call = ScmStub(channel).get_repository.start(scm_pb2.GetRepositoryRequest())
        threading.Timer(0.05, call.cancel).start()
        started = time.monotonic()
        with assert_rpc_error(StatusCode.CANCELLED):
            call.result()
    assert time.monotonic() - started < 30
    assert len(server.requests) == 1


@pytest.mark.parametrize(("retry", "middle"), [(0, 0.1), (1, 0.2), (2, 0.4), (4, 1.6), (5, 2.0), (50, 2.0)])
def test_pauses_grow_with_jitter(retry: int, middle: float) -> None:
    random.seed(1)
    pauses = [RetryPolicy().backoff(retry) for _ in range(1000)]
    assert 0.8 * middle <= min(pauses) < 0.82 * middle
    assert 1.18 * middle < max(pauses) <= 1.2 * middle
    assert statistics.mean(pauses) == pytest.approx(middle, rel=0.02)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"max_attempts": 0}, "max_attempts counts the first one: it is at least 1, got 0"),
        ({"initial_backoff": -1}, "initial_backoff is a number of at least 0, got -1"),
        ({"max_backoff": float("inf")}, "max_backoff is a number of at least 0, got inf"),
        ({"backoff_multiplier": float("nan")}, "backoff_multiplier is a number of at least 0, got nan"),
    ],
)
def test_a_policy_that_is_none(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RetryPolicy(**numbers)
