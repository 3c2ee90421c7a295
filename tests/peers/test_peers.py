"""Clients that nobody here wrote, against gunicorn and pyvoy: sonora, connectrpc, buf; and our client against theirs.

`make peers` runs them in an environment of their own: sonora needs an older urllib3 than this package.
"""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from connectrpc.client import ConnectClientSync, ResponseMetadata
from connectrpc.code import Code
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.compression.gzip import GzipCompression
from connectrpc.errors import ConnectError
from connectrpc.protocol import ProtocolType
from sonora.client import insecure_web_channel

from tests.echo_pb2 import EchoReply, EchoRequest
from tests.peers.foreign import connect_app, connect_method, serving, sonora_app
from tests.peers.programs import ECHO, LOOKUP, SERVER_PYTHON, Done, run_buf
from tests.servers import ROOT, running


@pytest.fixture(scope="module", params=["true", "only", "pyvoy"])
def url(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[str]:
    """Of pyvoy, and of gunicorn with each GRPC_STATUS_HEADER: none of these clients is to be taken for a script."""
    if request.param == "pyvoy":
        yield f"http://{request.getfixturevalue('pyvoy')}"
        return
    log = tmp_path_factory.mktemp("peers") / "log"
    environ = {"STATUS_HEADER": request.param}
    with running("gunicorn", "tests.peers.app:create_app", log, environ, python=SERVER_PYTHON) as port:
        yield f"http://127.0.0.1:{port}"
    assert "Traceback" not in log.read_text()


# sonora


@pytest.fixture
def sonora(url: str) -> Iterator[Any]:
    with insecure_web_channel(url) as channel:
        yield channel


def sonora_method(channel: Any, kind: str, name: str) -> Any:
    return getattr(channel, kind)(ECHO + name, EchoRequest.SerializeToString, EchoReply.FromString)


def test_sonora_calls_a_unary_method(sonora: Any) -> None:
    assert sonora_method(sonora, "unary_unary", "Unary")(EchoRequest(text="hi"), timeout=30).number in (29, 30)


def test_sonora_gets_metadata(sonora: Any) -> None:
    metadata = [("x-mine", "a"), ("x-mine-bin", b"\0\xff")]
    _, call = sonora_method(sonora, "unary_unary", "Unary").with_call(EchoRequest(), metadata=metadata)
    assert dict(call.initial_metadata())["x-mine"] == "a"
    trailing = dict(call.trailing_metadata())
    assert trailing["x-trailing"] == "a"
    assert trailing["x-trailing-bin"] in (b"\0\xff", "AP8")


def test_sonora_streams(sonora: Any) -> None:
    replies = sonora_method(sonora, "unary_stream", "ServerStream")(EchoRequest(count=3))
    assert [reply.number for reply in replies] == [0, 1, 2]


@pytest.mark.parametrize(
    ("kind", "name", "request_message", "code", "message"),
    [
        ("unary_unary", "Unary", EchoRequest(text="fail"), grpc.StatusCode.NOT_FOUND, "nichts da: ü%"),
        ("unary_unary", "Unari", EchoRequest(), grpc.StatusCode.UNIMPLEMENTED, "did you mean"),
        ("unary_stream", "ServerStream", EchoRequest(count=1, text="torn"), grpc.StatusCode.DATA_LOSS, "torn"),
        ("unary_stream", "ServerStream", EchoRequest(text="at once"), grpc.StatusCode.DATA_LOSS, "at once"),
    ],
)
def test_sonora_gets_errors(
    sonora: Any, kind: str, name: str, request_message: EchoRequest, code: grpc.StatusCode, message: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(sonora_method(sonora, kind, name)(request_message))
    assert caught.value.code() is code
    assert message in caught.value.details()


# connectrpc

PROTOCOLS = [
    (protocol, codec) for protocol in (ProtocolType.GRPC_WEB, ProtocolType.CONNECT) for codec in ("proto", "json")
]


@pytest.fixture(params=PROTOCOLS, ids=lambda param: f"{param[0].name}-{param[1]}")
def connect(url: str, request: pytest.FixtureRequest) -> Iterator[ConnectClientSync]:
    protocol, name = request.param
    codec = google_protobuf_binary_codec() if name == "proto" else google_protobuf_json_codec()
    gzip = GzipCompression()
    with ConnectClientSync(
        url, protocol=protocol, codec=codec, accept_compression=[gzip], send_compression=gzip
    ) as client:
        yield client


def test_connectrpc_calls_a_unary_method(connect: ConnectClientSync) -> None:
    reply = connect.execute_unary(request=EchoRequest(text="hi" * 5000), method=connect_method("Unary"))
    assert reply.text == "HI" * 5000


@pytest.mark.parametrize("codec", [google_protobuf_binary_codec(), google_protobuf_json_codec()], ids=["proto", "json"])
@pytest.mark.parametrize("compression", [GzipCompression(), None], ids=["gzip", "identity"])
def test_connectrpc_calls_by_get(url: str, codec: Any, compression: Any) -> None:
    with ConnectClientSync(url, codec=codec, send_compression=compression) as client:
        method = connect_method("Find")
        request = EchoRequest(text="größe &=+%/?")
        assert (
            client.execute_unary(request=request, method=method, use_get=True, timeout_ms=20_000).text
            == "GRÖSSE &=+%/?"
        )
        with pytest.raises(ConnectError, match="nichts da: ü%") as caught:
            client.execute_unary(request=EchoRequest(text="fail"), method=method, use_get=True)
    assert caught.value.code is Code.NOT_FOUND


def test_connectrpc_gets_metadata(connect: ConnectClientSync) -> None:
    with ResponseMetadata() as metadata:
        connect.execute_unary(request=EchoRequest(), method=connect_method("Unary"), headers={"x-mine": "a"})
    assert (metadata.headers["x-mine"], metadata.trailers["x-trailing"]) == ("a", "a")


def test_connectrpc_streams(connect: ConnectClientSync) -> None:
    replies = connect.execute_server_stream(request=EchoRequest(count=3), method=connect_method("ServerStream"))
    assert [reply.number for reply in replies] == [0, 1, 2]


def test_connectrpc_streams_requests(connect: ConnectClientSync) -> None:
    requests = [EchoRequest(text="a"), EchoRequest(text="b")]
    reply = connect.execute_client_stream(request=iter(requests), method=connect_method("ClientStream"))
    assert reply.text == "a,b"
    replies = connect.execute_bidi_stream(request=iter(requests), method=connect_method("Bidi"))
    assert [reply.text for reply in replies] == ["a", "b"]


def test_connectrpc_gets_errors_with_details(connect: ConnectClientSync) -> None:
    with pytest.raises(ConnectError, match="nichts da: ü%") as caught:
        connect.execute_unary(request=EchoRequest(text="fail"), method=connect_method("Unary"))
    assert caught.value.code is Code.NOT_FOUND
    (detail,) = caught.value.details
    assert detail.message_bytes == EchoReply(text="detail").SerializeToString()


def test_connectrpc_gets_errors_of_streams(connect: ConnectClientSync) -> None:
    replies: list[EchoReply] = []
    with pytest.raises(ConnectError, match="torn") as caught:
        replies.extend(
            connect.execute_server_stream(
                request=EchoRequest(count=2, text="torn"), method=connect_method("ServerStream")
            )
        )
    assert caught.value.code is Code.DATA_LOSS


# buf


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("buf") / "services.binpb"
    flask = [SERVER_PYTHON, "-m", "flask", "--app", "tests.peers.app", "grpc"]
    subprocess.run([*flask, "descriptors", "--out", str(file)], cwd=ROOT, check=True, timeout=60)
    return file


@pytest.fixture(params=["grpcweb", "connect"])
def buf(schema: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Any]:
    return functools.partial(buf_curl, schema, tmp_path, request.param)


def buf_curl(schema: Path, tmp_path: Path, protocol: str, url: str, message: dict[str, Any]) -> Done:
    return run_buf(tmp_path, "curl", "--protocol", protocol, "--schema", str(schema), "-d", json.dumps(message), url)


def test_buf_generate_writes_what_protoc_does(tmp_path: Path) -> None:
    main = "from flask_grpcweb_scm.codegen.protoc import main; main()"
    plugin = {"local": [SERVER_PYTHON, "-c", main], "out": str(tmp_path / "out")}
    result = run_buf(tmp_path, "generate", "protos", "--template", json.dumps({"version": "v2", "plugins": [plugin]}))
    assert (result.returncode, result.stderr) == (0, "")
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.py")}
    # What is made of the template of a project is not in the checkout.
    kept = {name for name in written if (ROOT / name).exists()}
    assert {"tests/echo_rpc.py", "flask_grpcweb_scm/pb/scm_rpc.py"} <= kept
    assert [name for name in kept if (tmp_path / "out" / name).read_text() != (ROOT / name).read_text()] == []


def test_buf_curl_calls_with_our_descriptors(buf: Callable[..., Any], url: str) -> None:
    result = buf(url + ECHO + "Unary", {"text": "hi"})
    assert (result.returncode, json.loads(result.stdout)) == (0, {"text": "HI"})
    # By GET, in Connect.
    result = buf(url + LOOKUP + "Find", {"text": "hi"})
    assert (result.returncode, json.loads(result.stdout)) == (0, {"text": "HI"})
    result = buf(url + ECHO + "ServerStream", {"count": 2})
    assert "".join(result.stdout.split()) == '{}{"number":1}'


def test_buf_curl_gets_errors(buf: Callable[..., Any], url: str) -> None:
    result = buf(url + ECHO + "Unary", {"text": "fail"})
    assert result.returncode != 0
    error = json.loads(result.stderr)
    assert (error["code"], error["message"]) == ("not_found", "nichts da: ü%")


# curl


def curl(url: str, *arguments: str) -> tuple[int, Any]:
    """The HTTP status and the body of a response."""
    command = ["curl", "--silent", "--show-error", "--write-out", "\\n%{http_code}", *arguments, url]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    body, _, status = output.rpartition("\n")
    return int(status), json.loads(body)


def test_curl_calls_with_json(url: str) -> None:
    json_type = ["--header", "Content-Type: application/json"]
    assert curl(url + ECHO + "Unary", *json_type, "--data", '{"text": "hi"}') == (200, {"text": "HI"})
    assert curl(url + ECHO + "Unary", *json_type, "--data", "{}") == (200, {})
    assert curl(url + LOOKUP + "Find?connect=v1&encoding=json&message=%7B%22text%22:%22hi%22%7D") == (
        200,
        {"text": "HI"},
    )


@pytest.mark.parametrize(
    ("method", "body", "status", "code", "message"),
    [
        ("Unary", '{"text": "fail"}', 404, "not_found", "nichts da: ü%"),
        ("Unary", '{"text": 5}', 400, "invalid_argument", "text"),
        ("Unary", "", 400, "invalid_argument", "JSON"),
        ("Missing", "{}", 501, "unimplemented", "Missing"),
    ],
)
def test_curl_gets_errors(url: str, method: str, body: str, status: int, code: str, message: str) -> None:
    received, error = curl(url + ECHO + method, "--header", "Content-Type: application/json", "--data", body)
    assert (received, error["code"], message in error["message"]) == (status, code, True)


# Our client


@pytest.mark.parametrize(
    ("application", "options"),
    [
        (sonora_app, {}),
        (sonora_app, {"text": True}),
        (connect_app, {}),
        (connect_app, {"codec": "json"}),
        (connect_app, {"compression": "gzip"}),
        (connect_app, {"protocol": "connect"}),
        (connect_app, {"protocol": "connect", "codec": "json"}),
        (connect_app, {"protocol": "connect", "compression": "gzip"}),
        (connect_app, {"protocol": "connect", "use_get": True}),
        (connect_app, {"protocol": "connect", "use_get": True, "codec": "json", "compression": "gzip"}),
    ],
    ids=str,
)
def test_our_client_calls_foreign_servers(application: Callable[[], Any], options: dict[str, Any]) -> None:
    with serving(application()) as url:
        command = [SERVER_PYTHON, "-m", "tests.peers.call", url, json.dumps(options)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "unary": ["HI" * 1000, "a", "a"],
        "stream": [0, 1, 2],
        "errors": [[5, "nichts da: ü%"], [15, "torn"], [12, "missing"]],
    }
