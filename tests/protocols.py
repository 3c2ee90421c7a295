"""Calls in every protocol: a fixture that has tests run in each, and a client that speaks it.

Responses of Connect are read with json and struct only, and told in the words of gRPC-Web: one :class:`Answer` for all.
For gRPC the environment has the function of a server that sends trailers.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from tests import grpcweb
from tests.grpcweb import Answer, frame

__all__ = [
    *("PROTOCOLS", "call", "compressed", "content_type_of", "every_protocol", "every_protocol_in_protobuf", "framed"),
    *("in_time", "malformed", "protocol", "read_connect", "received", "send"),
]

PROTOCOLS = ["grpc-web", "connect", "grpc", "connect json", "grpc json"]
# The names and HTTP statuses of "Error Codes" in connectrpc.com/docs/protocol.
CODES: dict[str, tuple[int, int]] = {
    "canceled": (1, 499), "unknown": (2, 500), "invalid_argument": (3, 400), "deadline_exceeded": (4, 504),
    "not_found": (5, 404), "already_exists": (6, 409), "permission_denied": (7, 403), "resource_exhausted": (8, 429),
    "failed_precondition": (9, 400), "aborted": (10, 409), "out_of_range": (11, 400), "unimplemented": (12, 501),
    "internal": (13, 500), "unavailable": (14, 503), "data_loss": (15, 500), "unauthenticated": (16, 401),
}  # fmt: skip

TRAILERS = "wsgi.ext.http.send_trailers"
"""The key of the function of pyvoy."""
ENCODING_HEADERS = {"grpc-encoding", "grpc-accept-encoding"}

_protocol = PROTOCOLS[0]


every_protocol = pytest.mark.usefixtures("protocol")
"""Of a test that runs once for each protocol. Its module imports the fixture."""


def every_protocol_in_protobuf(function: Callable[..., None]) -> Any:
    """Have a test run once for each protocol, but with no message in JSON."""
    return every_protocol(pytest.mark.parametrize("protocol", PROTOCOLS[:3], indirect=True)(function))


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> Iterator[str]:
    """What :func:`call` speaks: gRPC-Web in tests that do not use this."""
    global _protocol
    _protocol = request.param
    yield _protocol
    _protocol = PROTOCOLS[0]


def is_stream(path: str) -> bool:
    return bool(re.search(r"Stream|Bidi", path))


def content_type_of(path: str) -> str:
    """The content type of a request to a method, in the protocol of the test."""
    if _protocol == "grpc-web":
        return grpcweb.PROTO
    if "grpc" in _protocol:
        return f"application/grpc+{'json' if 'json' in _protocol else 'proto'}"
    return f"application/{'connect+' * is_stream(path)}{'json' if 'json' in _protocol else 'proto'}"


def in_time(milliseconds: int) -> dict[str, str]:
    """The header of a deadline."""
    if "grpc" in _protocol:
        return {"grpc-timeout": f"{milliseconds}m"}
    return {"connect-timeout-ms": str(milliseconds)}


def compressed(path: str, encoding: str) -> dict[str, str]:
    """The header that names the compression of messages."""
    if "grpc" in _protocol:
        return {"grpc-encoding": encoding}
    return {"connect-content-encoding" if is_stream(path) else "content-encoding": encoding}


def call(client: Any, path: str, *messages: Message, **options: Any) -> Answer:
    """Call a method with a Flask test client; see :func:`send`."""
    return received(path, send(client, path, *messages, **options))


def send(client: Any, path: str, *messages: Message, headers: Mapping[str, str] | None = None, **options: Any) -> Any:
    """The response to a call, of which nothing has been read.

    :param options: those of ``client.post``, and `get` for a GET where the protocol has it.
    """
    content_type = content_type_of(path)
    payloads = [_payload(message, content_type) for message in messages]
    headers = {"content-type": content_type, **(headers or {})}
    is_get, body = options.pop("get", False), options.pop("data", None)
    if "grpc" not in _protocol:
        headers["connect-protocol-version"] = "1"
        if is_get:
            del headers["content-type"]
            codec, message = content_type.rpartition("/")[2], base64.urlsafe_b64encode(payloads[0]).decode()
            return client.get(
                f"{path}?connect=v1&encoding={codec}&base64=1&message={message}", headers=headers, **options
            )
    if body is None:
        is_framed = "grpc" in _protocol or is_stream(path)
        body = b"".join(map(frame, payloads) if is_framed else payloads)
    if _protocol.startswith("grpc") and _protocol != "grpc-web":
        # The rest of the environment is what a server over HTTP/2 gives, too.
        server = {TRAILERS: SentTrailers().send, "SERVER_PROTOCOL": "HTTP/2", "HTTP_TE": "trailers"}
        options["environ_overrides"] = {**server, **options.get("environ_overrides", {})}
    return client.post(path, data=body, headers=headers, **options)


class SentTrailers(list[tuple[str, str]]):
    """The trailers of a response."""

    def send(self, pairs: list[tuple[str, str]]) -> None:
        """Send them, as the function of a server does, which can be called once."""
        assert not self
        self += pairs


def received(path: str, response: Any) -> Answer:
    """What a response to a call says, once it has been read."""
    if _protocol == "grpc-web":
        return grpcweb.read(response.status_code, response.headers, response.data)
    if "grpc" in _protocol:
        return read_grpc(response.status_code, response.headers, response.data, response.request.environ)
    return read_connect(response.status_code, response.headers, response.data, content_type_of(path))


def framed(payload: bytes) -> bytes:
    """The body of a unary call."""
    return frame(payload) if "grpc" in _protocol else payload


def malformed() -> int:
    """The code of a request whose messages cannot be read."""
    return 13 if "grpc" in _protocol else 3


def _payload(message: Message, content_type: str) -> bytes:
    as_json = content_type.endswith("json")
    return json_format.MessageToJson(message).encode() if as_json else message.SerializeToString()


def read_grpc(http_status: int, headers: Any, body: bytes, environ: Mapping[str, Any]) -> Answer:
    """Take a response apart, sure that it keeps the protocol."""
    answer = Answer(http_status, {name.lower(): value for name, value in headers}, body=body)
    assert (http_status, answer.headers["content-type"]) == (200, content_type_of(""))
    assert not [name for name in answer.headers if name.startswith("grpc-") and name not in ENCODING_HEADERS]
    assert answer.headers.keys().isdisjoint({"connection", "content-length", "x-accel-buffering"})
    trailers = environ[TRAILERS].__self__
    assert [name for name, _ in trailers if name == "grpc-status"] == ["grpc-status"]
    answer.trailers = dict(trailers)
    assert len(answer.trailers) == len(trailers)
    for flags, payload in grpcweb.frames(body):
        assert flags == 0
        answer.payloads.append(payload)
    return answer


def read_connect(http_status: int, headers: Any, body: bytes, content_type: str) -> Answer:
    """Take a response apart, sure that it keeps the protocol.

    The HTTP status of an error, once it has been compared with its code, is 200, as gRPC-Web has it.

    :param content_type: of the request.
    """
    answer = Answer(http_status, {}, body=body)
    for name, value in ((name.lower(), value) for name, value in headers):
        if name.startswith("trailer-"):
            answer.trailers[name.removeprefix("trailer-")] = value
        else:
            answer.headers[name] = value
    if "connect+" in content_type:
        _read_stream(answer, content_type)
    elif http_status == 200:
        assert answer.headers["content-type"] == content_type
        answer.payloads.append(body)
        answer.trailers["grpc-status"] = "0"
    else:
        assert answer.headers["content-type"] == "application/json"
        code = _add_error(answer, json.loads(body))
        # "404 Not Found" is also of a path that is none: "unimplemented".
        assert http_status in ({404, 501} if code == "unimplemented" else {CODES[code][1]})
        answer.http_status = 200
    return answer


def _read_stream(answer: Answer, content_type: str) -> None:
    assert answer.http_status == 200
    assert answer.headers["content-type"] == content_type
    frames = list(grpcweb.frames(answer.body))
    assert [flags for flags, _ in frames] == [0] * (len(frames) - 1) + [2]
    answer.payloads += [payload for _, payload in frames[:-1]]
    end = json.loads(frames[-1][1])
    assert end.keys() <= {"error", "metadata"}
    answer.trailers["grpc-status"] = "0"
    for name, values in end.get("metadata", {}).items():
        answer.trailers[name] = ", ".join(values)
    if "error" in end:
        _add_error(answer, end["error"])


def _add_error(answer: Answer, error: Any) -> str:
    """Tell an error in the words of gRPC-Web, and return its name."""
    assert error.keys() <= {"code", "message", "details"}
    name: str = error["code"]
    code = CODES[name][0]
    answer.trailers["grpc-status"] = str(code)
    answer.trailers["grpc-message"] = quote(error.get("message", ""))
    details = [
        AnyMessage(type_url=f"type.googleapis.com/{detail['type']}", value=_unpadded(detail["value"]))
        for detail in error.get("details", ())
    ]
    if details:
        status = Status(code=code, message=error.get("message", ""), details=details)
        answer.trailers["grpc-status-details-bin"] = base64.b64encode(status.SerializeToString()).decode()
    return name


def _unpadded(value: str) -> bytes:
    assert "=" not in value
    return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
