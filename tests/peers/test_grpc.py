"""Clients of gRPC that nobody here wrote, against pyvoy: grpcio and grpcurl; and buf curl in each protocol.

None has a schema file: grpcurl and buf curl get it by reflection.
"""

from __future__ import annotations

import base64
import json
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from tests.echo_pb2 import EchoReply, EchoRequest
from tests.peers.programs import ECHO, LOOKUP, Done, grpcurl, messages, run_buf

SERVICES = {
    *("tests.echo.v1.Echo", "tests.echo.v1.Lookup"),
    *("grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"),
}
SLOW = EchoRequest(data=b"slow")

# grpcio


@pytest.fixture
def channel(pyvoy: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(pyvoy) as channel:
        yield channel


def method(channel: grpc.Channel, kind: str, name: str) -> Any:
    return getattr(channel, kind)(ECHO + name, EchoRequest.SerializeToString, EchoReply.FromString)


def test_grpcio_calls_methods_of_all_four_kinds(channel: grpc.Channel) -> None:
    requests = [EchoRequest(text="a"), EchoRequest(text="b")]
    assert method(channel, "unary_unary", "Unary")(EchoRequest(text="größe")).text == "GRÖSSE"
    replies = method(channel, "unary_stream", "ServerStream")(EchoRequest(count=3))
    assert [reply.number for reply in replies] == [0, 1, 2]
    assert method(channel, "stream_unary", "ClientStream")(iter(requests)).text == "a,b"
    replies = method(channel, "stream_stream", "Bidi")(iter(requests))
    assert [reply.text for reply in replies] == ["a", "b"]


def test_grpcio_calls_without_messages(channel: grpc.Channel) -> None:
    assert list(method(channel, "unary_stream", "ServerStream")(EchoRequest())) == []
    assert method(channel, "stream_unary", "ClientStream")(iter([])) == EchoReply()
    assert list(method(channel, "stream_stream", "Bidi")(iter([]))) == []


def test_grpcio_waits_for_each_response_before_its_next_request(channel: grpc.Channel) -> None:
    requests: queue.SimpleQueue[EchoRequest | None] = queue.SimpleQueue()
    replies = method(channel, "stream_stream", "Bidi")(iter(requests.get, None), timeout=30)
    for number in range(5):
        requests.put(EchoRequest(text=str(number)))
        assert next(replies) == EchoReply(text=str(number), number=number)
    requests.put(None)
    assert list(replies) == []


def test_grpcio_calls_many_methods_at_once(channel: grpc.Channel) -> None:
    unary = method(channel, "unary_unary", "Unary")
    calls = [unary.future(EchoRequest(text=f"n{number}"), timeout=30) for number in range(100)]
    assert [call.result().text for call in calls] == [f"N{number}" for number in range(100)]


def test_grpcio_gets_metadata(channel: grpc.Channel) -> None:
    metadata = [("x-mine", "a"), ("x-mine", "b"), ("x-mine-bin", b"\0\xff")]
    _, call = method(channel, "unary_unary", "Unary").with_call(EchoRequest(), metadata=metadata, timeout=30)
    assert values(call.initial_metadata(), "x-mine") == {"x-mine": "a,b", "x-mine-bin": b"\0\xff"}
    assert values(call.trailing_metadata(), "x-trailing") == {"x-trailing": "a,b", "x-trailing-bin": b"\0\xff"}


def values(metadata: Any, prefix: str) -> dict[str, str | bytes]:
    """Join values of a name, as proxies may."""
    found: dict[str, Any] = {}
    for name, value in metadata:
        if name.startswith(prefix):
            found[name] = f"{found[name]},{value}" if name in found else value
    return {name: value.replace(", ", ",") if isinstance(value, str) else value for name, value in found.items()}


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate], ids=["gzip", "deflate"])
def test_grpcio_compresses(pyvoy: str, compression: grpc.Compression) -> None:
    with grpc.insecure_channel(pyvoy, compression=compression) as channel:
        assert method(channel, "unary_unary", "Unary")(EchoRequest(text="hi" * 50_000)).text == "HI" * 50_000
        requests = [EchoRequest(text="a" * 1000)] * 3
        assert len(list(method(channel, "stream_stream", "Bidi")(iter(requests)))) == 3


def test_grpcio_sends_and_keeps_deadlines(channel: grpc.Channel) -> None:
    assert 20 < method(channel, "unary_unary", "Unary")(EchoRequest(), timeout=30).number <= 30
    replies = method(channel, "unary_stream", "ServerStream")(SLOW, timeout=1)
    with pytest.raises(grpc.RpcError) as caught:
        list(replies)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_grpcio_cancels(channel: grpc.Channel) -> None:
    # Its deadline is for pyvoy, which does not say that a client has gone.
    replies = method(channel, "unary_stream", "ServerStream")(SLOW, timeout=5)
    next(replies)
    replies.cancel()
    with pytest.raises(grpc.RpcError):
        list(replies)
    assert replies.code() is grpc.StatusCode.CANCELLED
    assert method(channel, "unary_unary", "Unary")(EchoRequest(text="next")).text == "NEXT"


def test_grpcio_gets_errors_with_details(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        method(channel, "unary_unary", "Unary")(EchoRequest(text="fail"))
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "nichts da: ü%")
    status = rpc_status.from_call(caught.value)
    assert isinstance(status, Status)
    detail = EchoReply()
    assert status.details[0].Unpack(detail)
    assert detail.text == "detail"


@pytest.mark.parametrize(
    ("name", "request_message", "code", "message"),
    [
        ("ServerStream", EchoRequest(count=1, text="torn"), grpc.StatusCode.DATA_LOSS, "torn"),
        ("ServerStream", EchoRequest(text="at once"), grpc.StatusCode.DATA_LOSS, "at once"),
        ("Missing", EchoRequest(), grpc.StatusCode.UNIMPLEMENTED, "Missing"),
        ("Unari", EchoRequest(), grpc.StatusCode.UNIMPLEMENTED, "did you mean"),
    ],
)
def test_grpcio_gets_errors(
    channel: grpc.Channel, name: str, request_message: EchoRequest, code: grpc.StatusCode, message: str
) -> None:
    replies = method(channel, "unary_stream", name)(request_message)
    received = []
    with pytest.raises(grpc.RpcError) as caught:
        received.extend(replies)
    assert (caught.value.code(), message in caught.value.details()) == (code, True)


# grpcurl


def test_grpcurl_lists_and_describes(pyvoy: str) -> None:
    assert set(grpcurl(pyvoy, "list").stdout.split()) == SERVICES
    assert "tests.echo.v1.Echo.Bidi" in grpcurl(pyvoy, "list", "tests.echo.v1.Echo").stdout
    described = grpcurl(pyvoy, "describe", "tests.echo.v1.Echo").stdout
    assert "// One method of each kind, for the tests." in described
    assert "rpc Bidi ( stream .tests.echo.v1.EchoRequest ) returns ( stream .tests.echo.v1.EchoReply );" in described
    assert "bytes data = 3;" in grpcurl(pyvoy, "describe", ".tests.echo.v1.EchoRequest").stdout


@pytest.mark.parametrize(
    ("path", "data", "expected"),
    [
        (ECHO + "Unary", '{"text": "größe"}', [{"text": "GRÖSSE"}]),
        (ECHO + "ServerStream", '{"count": 2}', [{}, {"number": 1}]),
        (ECHO + "ClientStream", '{"text": "a"} {"text": "b"}', [{"text": "a,b"}]),
        (ECHO + "Bidi", '{"text": "a"} {"text": "b"}', [{"text": "a"}, {"text": "b", "number": 1}]),
        ("/grpc.health.v1.Health/Check", "{}", [{"status": "SERVING"}]),
        ("/grpc.health.v1.Health/Check", '{"service": "tests.echo.v1.Echo"}', [{"status": "SERVING"}]),
    ],
    ids=str,
)
def test_grpcurl_calls(pyvoy: str, path: str, data: str, expected: list[Any]) -> None:
    result = grpcurl("-d", data, pyvoy, path.removeprefix("/"))
    assert (result.returncode, result.stderr, messages(result.stdout)) == (0, "", expected)


def test_grpcurl_gets_metadata_and_errors(pyvoy: str) -> None:
    echo = ECHO.removeprefix("/")
    verbose = grpcurl("-v", "-H", "x-mine: a", "-d", "{}", pyvoy, echo + "Unary").stdout
    assert "x-mine: a" in verbose
    assert "x-trailing: a" in verbose.partition("Response trailers received")[2]
    result = grpcurl("-format-error", "-d", '{"text": "fail"}', pyvoy, echo + "Unary")
    (error,) = messages(result.stderr)
    assert (result.returncode, error["code"], error["message"]) == (64 + 5, 5, "nichts da: ü%")
    assert error["details"] == [{"@type": "type.googleapis.com/tests.echo.v1.EchoReply", "text": "detail"}]
    result = grpcurl("-d", '{"service": "absent"}', pyvoy, "grpc.health.v1.Health/Check")
    assert result.returncode == 64 + 5


# buf


@pytest.fixture(params=["grpc", "grpcweb", "connect"])
def buf(pyvoy: str, tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    def curl(path: str, *arguments: str) -> Done:
        options = ["--http2-prior-knowledge", "--protocol", request.param]
        return run_buf(tmp_path, "curl", *options, *arguments, f"http://{pyvoy}{path}")

    return curl


def test_buf_curl_gets_the_schema_from_the_server(buf: Any) -> None:
    assert set(buf("", "--list-services").stdout.split()) == SERVICES
    assert "tests.echo.v1.Echo/Bidi" in buf("", "--list-methods").stdout
    for path, data, expected in [
        (ECHO + "Unary", '{"text": "größe"}', [{"text": "GRÖSSE"}]),
        # By GET, in Connect.
        (LOOKUP + "Find", '{"text": "hi"}', [{"text": "HI"}]),
        (ECHO + "ServerStream", '{"count": 2}', [{}, {"number": 1}]),
        (ECHO + "ClientStream", '{"text": "a"} {"text": "b"}', [{"text": "a,b"}]),
        (ECHO + "Bidi", '{"text": "a"} {"text": "b"}', [{"text": "a"}, {"text": "b", "number": 1}]),
        ("/grpc.health.v1.Health/Check", "{}", [{"status": "SERVING"}]),
    ]:
        result = buf(path, "--data", data)
        assert (result.returncode, result.stderr, messages(result.stdout)) == (0, "", expected)


def test_buf_curl_gets_errors_with_details(buf: Any) -> None:
    result = buf(ECHO + "Unary", "--data", '{"text": "fail"}')
    error = json.loads(result.stderr)
    assert (error["code"], error["message"]) == ("not_found", "nichts da: ü%")
    (detail,) = error["details"]
    assert detail["type"] == "tests.echo.v1.EchoReply"
    assert EchoReply.FromString(base64.b64decode(detail["value"] + "==")).text == "detail"
    assert result.returncode != 0
    result = buf(ECHO + "ServerStream", "--data", '{"count": 1, "text": "torn"}')
    assert (messages(result.stdout), json.loads(result.stderr)["message"]) == ([{}], "torn")
