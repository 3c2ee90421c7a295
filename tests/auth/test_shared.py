"""Streams and revoked tokens of several apps, and of processes that are killed, in a real Redis."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from flask import Flask

from flask_grpcweb_scm import GrpcWebScm, Identity
from flask_grpcweb_scm.auth import Counts, Revocations, SharedStreams, Uncountable, counts, shared
from flask_grpcweb_scm.rpc import CallContext
from tests.apps import ECHO, echo_app, echo_service
from tests.echo_pb2 import EchoRequest
from tests.faults.redis_server import RedisServer, redis_of_our_own
from tests.grpcweb import call
from tests.protocols import received, send
from tests.servers import free_port

SECRETS = {"GRPC_TOKEN_SECRETS": "secret" * 6, "GRPC_REQUIRE_AUTH": True}
PATIENCE = 20.0

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def uri(server: RedisServer) -> str:
    """Of a database that has nothing yet."""
    import redis

    with redis.Redis.from_url(server.uri) as client:
        client.flushall()
    return server.uri


def streaming_app(uri: str) -> Flask:
    return echo_app(GRPC_MAX_STREAMS=2, GRPC_RATE_LIMIT_STORAGE=uri)


def opened(app: Flask) -> Any:
    """A stream that is open, or its refusal."""
    return send(app.test_client(), ECHO + "ServerStream", EchoRequest(count=2))


def code(stream: Any) -> int:
    return received(ECHO + "ServerStream", stream).code


def eventually(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def streams_in(uri: str) -> int:
    """How many streams Redis has, of whichever callers."""
    import redis

    with redis.Redis.from_url(uri) as client:
        return sum(client.zcard(key) for key in client.keys("flask_grpcweb_scm/streams/*"))


@pytest.mark.needs("Redis")
def test_two_apps_count_the_streams_of_a_caller_together(uri: str) -> None:
    apps = [streaming_app(uri) for _ in range(2)]
    first, second, third = (opened(apps[number % 2]) for number in range(3))
    assert code(third) == 8
    second.close()
    assert streams_in(uri) == 1
    fourth = opened(apps[1])
    assert code(fourth) == 0
    first.close()
    fourth.close()
    assert streams_in(uri) == 0


@pytest.mark.needs("Redis")
def test_a_name_that_redis_does_not_take_is_counted(uri: str) -> None:
    config = {"GRPC_MAX_STREAMS": 2, "GRPC_RATE_LIMITS": "9/hour", "GRPC_RATE_LIMIT_STORAGE": uri}
    extension = GrpcWebScm(services=[echo_service()], authenticate=lambda context: Identity("a\ud800"))
    app = echo_app(extension=extension, **config)
    streams = [opened(app) for _ in range(3)]
    assert [code(stream) for stream in streams[2:]] == [8]
    assert streams_in(uri) == 2
    for stream in streams[:2]:
        stream.close()


@pytest.mark.needs("Redis")
def test_the_streams_of_a_process_that_is_killed_count_for_a_lease(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "LEASE_SECONDS", 1)
    monkeypatch.setattr(shared, "RENEW_SECONDS", 0.1)
    app = streaming_app(uri)
    kept, killed = opened(app), os.fork()
    if not killed:
        # Opened in the child, by a client of Redis that is its own.
        _streams = [opened(app)]
        time.sleep(PATIENCE)
        os._exit(1)
    try:
        eventually(lambda: streams_in(uri) == 2)
        time.sleep(1.5)
        eventually(lambda: streams_in(uri) == 2)  # both processes renew theirs
    finally:
        os.kill(killed, signal.SIGKILL)
        os.waitpid(killed, 0)
    eventually(lambda: code(opened_and_closed(app)) == 0)
    eventually(lambda: streams_in(uri) == 1)
    kept.close()
    assert streams_in(uri) == 0


@pytest.mark.needs("Redis")
def test_a_forked_child_ends_no_stream_of_its_parent(uri: str) -> None:
    counts = Counts(uri)
    leave = SharedStreams(counts).enter(CallContext(), "caller ci", 1)
    assert leave is not None
    child = os.fork()
    if not child:
        leave()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert streams_in(uri) == 1
    leave()
    leave()  # as a generator may be closed twice
    assert streams_in(uri) == 0


@pytest.mark.needs("Redis")
def test_leases_are_renewed_again_after_a_time_without_threads(
    server: RedisServer, uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(counts, "STORAGE_SECONDS", 2.0)
    monkeypatch.setattr(shared, "RENEW_SECONDS", 0.1)
    app = streaming_app(uri)
    stream = opened(app)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", refuse)
        server.end(signal.SIGKILL)
        eventually(lambda: "the leases of streams could not be renewed" in caplog.text)
    server.start()
    eventually(lambda: streams_in(uri) == 1)
    stream.close()
    # And where the thread that renews them could not be started.
    eventually(lambda: "renewing the leases of streams" not in {thread.name for thread in threading.enumerate()})
    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", refuse)
        assert code(opened(app)) == 13
    assert streams_in(uri) == 0
    stream = opened(app)
    assert "renewing the leases of streams" in {thread.name for thread in threading.enumerate()}
    stream.close()


@pytest.mark.needs("Redis")
def test_a_command_that_redis_refuses_is_no_outage(uri: str) -> None:
    counts = Counts(uri)
    counts.redis.set(shared.REVOKED_KEY, "of somebody else")
    with pytest.raises(Uncountable, match="WRONGTYPE"):
        Revocations(counts).add("0" * 16, math.inf)
    assert counts.run(None, counts.redis.ping)


def is_shared(app: Flask, uri: str) -> bool:
    stream = opened(app)
    try:
        return streams_in(uri) == 1
    finally:
        stream.close()


@pytest.mark.needs("Redis")
def test_a_cluster_that_is_gone_and_comes_back() -> None:
    import redis

    options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
    with redis_of_our_own(options=options) as server:
        uri = server.uri.replace("redis", "redis+cluster")
        with redis.Redis.from_url(server.uri) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            eventually(lambda: client.cluster("info")["cluster_state"] == "ok")
            server.end(signal.SIGKILL)
            # An app host starts meanwhile.
            apps = [streaming_app(uri) for _ in range(2)]
            alone = [opened(app) for app in apps]
            assert [code(stream) for stream in alone] == [0, 0]
            for stream in alone:
                stream.close()
            server.start()
            eventually(lambda: client.cluster("info")["cluster_state"] == "ok")
        tokens = echo_app(**SECRETS, GRPC_RATE_LIMIT_STORAGE=uri)
        eventually(lambda: run(tokens, "revoke", "0" * 16).exit_code == 0)
        for app in apps:
            eventually(lambda app=app: is_shared(app, server.uri))
        streams = [opened(app) for app in apps]
        assert code(opened(apps[0])) == 8
        for stream in streams:
            stream.close()


def opened_and_closed(app: Flask) -> Any:
    stream = opened(app)
    stream.get_data()
    stream.close()
    return stream


@pytest.mark.needs("Redis")
def test_what_redis_has_lost_is_counted_again(server: RedisServer, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "RENEW_SECONDS", 0.1)
    app = streaming_app(uri)
    streams = [opened(app), opened(app)]
    server.end(signal.SIGKILL)
    server.start()
    eventually(lambda: streams_in(uri) == 2)
    for stream in streams:
        stream.close()
    assert streams_in(uri) == 0


@pytest.mark.needs("Redis")
def test_without_redis_each_process_counts_its_streams(
    server: RedisServer, uri: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "STORAGE_SECONDS", 2.0)
    app, other = streaming_app(uri), streaming_app(uri)
    with server.stopped():
        first, second, third = opened(app), opened(app), opened(app)
        assert code(third) == 8
        elsewhere = opened(other)
        assert code(elsewhere) == 0
        for stream in (first, second, elsewhere):
            stream.close()
    assert "streams are counted in each process" in caplog.text
    assert "Traceback" not in caplog.text
    # Those that Redis was told of when it went on again have ended.
    eventually(lambda: code(opened_and_closed(app)) == 0)


def run(app: Flask, *arguments: str, **options: Any) -> Result:
    return app.test_cli_runner().invoke(args=["grpc", "token", *arguments], **options)


def issued(app: Flask) -> str:
    return run(app, "issue", "--name", "ci").output.strip()


def code_with(app: Flask, token: str) -> int:
    return call(app.test_client(), ECHO + "Unary", EchoRequest(), headers={"authorization": f"Bearer {token}"}).code


@pytest.mark.needs("Redis")
@pytest.mark.parametrize("way", ["token", "id", "stdin"])
def test_a_token_is_revoked_in_all_processes(way: str, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "REVOKED_SECONDS", 0.05)
    apps = [echo_app(**SECRETS, GRPC_RATE_LIMIT_STORAGE=uri) for _ in range(2)]
    token, other = issued(apps[0]), issued(apps[0])
    assert [code_with(app, token) for app in apps] == [0, 0]
    token_id = run(apps[0], "inspect", token).output.split('"id": "')[1].split('"')[0]
    given = {"token": token, "id": token_id, "stdin": "-"}[way]
    result = run(apps[0], "revoke", given, input=token)
    assert (result.exit_code, result.output) == (0, f"The token {token_id} is revoked.\n")
    for app in apps:
        eventually(lambda app=app: code_with(app, token) == 16)
        assert code_with(app, other) == 0
    assert "the token is revoked" in run(apps[1], "inspect", token).stderr


@pytest.mark.needs("Redis")
def test_what_a_process_has_seen_stays_revoked(
    server: RedisServer, uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared, "REVOKED_SECONDS", 0.05)
    app = echo_app(**SECRETS, GRPC_RATE_LIMIT_STORAGE=uri)
    token, other = issued(app), issued(app)
    run(app, "revoke", token)
    assert (code_with(app, token), code_with(app, other)) == (16, 0)
    server.end(signal.SIGKILL)
    time.sleep(0.1)
    assert (code_with(app, token), code_with(app, other)) == (16, 0)
    assert "revoked tokens cannot be read" in caplog.text
    # Who has read none yet lets nobody in.
    assert code_with(echo_app(**SECRETS, GRPC_RATE_LIMIT_STORAGE=uri), other) == 14
    server.start()
    eventually(lambda: (code_with(app, token), code_with(app, other)) == (16, 0))


@pytest.mark.needs("Redis")
def test_redis_forgets_a_revoked_token_that_has_expired(uri: str) -> None:
    import redis

    app = echo_app(**SECRETS, GRPC_RATE_LIMIT_STORAGE=uri)
    with redis.Redis.from_url(uri) as client:
        day = 86400
        client.zadd(shared.REVOKED_KEY, {"0" * 16: time.time() - day - 1, "1" * 16: time.time() - day + 60})
        assert code_with(app, issued(app)) == 0
        assert client.zrange(shared.REVOKED_KEY, 0, -1) == [b"1" * 16]


@pytest.mark.needs("Redis")
def test_any_number_of_revoked_tokens_is_read_in_pieces_and_once(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "REVOKED_SECONDS", 0)
    monkeypatch.setattr(shared, "PIECE", 500)
    counts, ids = Counts(uri), [f"{number:016x}" for number in range(3000)]
    revoked, other = Revocations(counts), Revocations(Counts(uri))
    counts.redis.zadd(shared.REVOKED_KEY, dict.fromkeys(ids, math.inf))
    assert all(token_id in revoked for token_id in ids)
    assert "f" * 16 not in revoked

    def commands() -> dict[str, int]:
        stats = counts.redis.info("commandstats")
        return {name: stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("zscan", "zscore")}

    assert commands()["zscan"] > 3
    counts.redis.config_resetstat()
    assert all(token_id in revoked for token_id in ids)
    assert commands() == {"zscan": 0, "zscore": 3000}
    other.add("f" * 16, math.inf)
    assert "f" * 16 in revoked
    counts.redis.flushall()
    other.add("e" * 16, math.inf)
    assert {"e" * 16, "f" * 16, *ids} <= {token_id for token_id in ["e" * 16, "f" * 16, *ids] if token_id in revoked}


@pytest.mark.needs("Redis")
def test_a_host_whose_clock_is_ahead_takes_no_revocation_from_others(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = echo_app(**SECRETS, GRPC_RATE_LIMIT_STORAGE=uri)
    token = issued(app)
    run(app, "revoke", token)
    now = time.time
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: now() + 365 * 86400)
        assert code_with(echo_app(**SECRETS, GRPC_RATE_LIMIT_STORAGE=uri), issued(app)) == 0
    assert code_with(echo_app(**SECRETS, GRPC_RATE_LIMIT_STORAGE=uri), token) == 16


@pytest.mark.parametrize(
    ("arguments", "config", "message"),
    [
        (["revoke", "0" * 16], {}, "put this into GRPC_REVOKED_TOKENS, and restart the processes: " + "0" * 16),
        (["revoke", "forged"], {}, "that is neither a signed token nor the id of one"),
        (["revoke", ""], {}, "that is neither a signed token nor the id of one"),
        (["revoke", "hush"], {}, "a token of GRPC_AUTH_TOKENS is revoked by taking it out there"),
        (
            ["revoke", "0" * 16],
            {"GRPC_RATE_LIMIT_STORAGE": f"redis://user:hush@127.0.0.1:{free_port()}"},
            "the token is not revoked, as GRPC_RATE_LIMIT_STORAGE fails: ",
        ),
    ],
)
def test_a_token_that_is_not_revoked_and_why(arguments: list[str], config: dict[str, Any], message: str) -> None:
    result = run(echo_app(**SECRETS, **config), *arguments)
    assert result.exit_code != 0
    assert message in result.stderr
    assert "hush" not in result.stderr
