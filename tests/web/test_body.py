"""Reading bodies from WSGI inputs of every kind."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.test import EnvironBuilder

from flask_grpcweb_scm.web import body
from flask_grpcweb_scm.web.body import BodyReader, drain
from flask_grpcweb_scm.wire import RemoteProtocolError, StatusCode
from tests.apps import ECHO, echo_app
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import PROTO, body_of, call
from tests.lanes import lane  # noqa: F401  # a fixture


class Breaking(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError("invalid chunk size")


def environ_of(stream: Any, *, length: int | None, terminated: bool = False, **names: Any) -> dict[str, Any]:
    environ = EnvironBuilder(method="POST", environ_base=names).get_environ()
    environ.pop("CONTENT_LENGTH", None)
    environ["wsgi.input"] = io.BytesIO(stream) if isinstance(stream, bytes) else stream
    environ["wsgi.input_terminated"] = terminated
    if length is not None:
        environ["CONTENT_LENGTH"] = str(length)
    return environ


def read(stream: Any, *, limit: int | None = None, at_once: int = 0, **options: Any) -> list[bytes]:
    environ, reader = environ_of(stream, **options), BodyReader(at_once)
    with Flask(__name__).request_context(environ):
        whole = reader.read_whole(environ, limit)
        return list(reader.read_chunks(environ, limit)) if whole is None else [whole]


at_once_or_in_chunks = pytest.mark.parametrize("at_once", [1000, 0])


class Halves(io.BytesIO):
    """A stream that gives half of what it is asked for."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(-(-(size or 0) // 2))


@at_once_or_in_chunks
@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        pytest.param(b"abc", {"length": 3}, b"abc", id="length"),
        pytest.param(b"abcdef", {"length": 3}, b"abc", id="not-past-the-length"),
        pytest.param(b"abc", {"length": None, "terminated": True}, b"abc", id="chunked"),
        pytest.param(Halves(b"abcdefg"), {"length": 7}, b"abcdefg", id="bit-by-bit"),
        pytest.param(b"abc", {"length": None}, b"", id="no-length-and-no-end"),
        pytest.param(b"", {"length": 0}, b"", id="empty"),
        pytest.param(b"", {"length": None, "terminated": True}, b"", id="empty-chunked"),
        pytest.param(b"abc", {"length": 3, "limit": 3}, b"abc", id="at-the-limit"),
        pytest.param(b"abc", {"length": None, "terminated": True, "limit": 3}, b"abc", id="chunked-at-the-limit"),
    ],
)
def test_a_body_is_read(data: Any, options: dict[str, Any], expected: bytes, at_once: int) -> None:
    if isinstance(data, io.BytesIO):
        data.seek(0)
    assert b"".join(read(data, at_once=at_once, **options)) == expected


@at_once_or_in_chunks
@pytest.mark.parametrize(
    ("data", "options", "code", "message"),
    [
        pytest.param(b"ab", {"length": 3}, 13, "the body ends after 2 of its 3 bytes", id="cut-short"),
        pytest.param(b"", {"length": 3}, 13, "the body ends after 0 of its 3 bytes", id="missing"),
        pytest.param(Breaking(), {"length": 3}, 13, "could not be read .OSError.", id="broken"),
        pytest.param(Breaking(), {"length": None, "terminated": True}, 13, "could not be read", id="broken-chunked"),
        pytest.param(b"abcd", {"length": 4, "limit": 3}, 8, "body of 4 bytes is over the limit of 3", id="too-long"),
        pytest.param(
            b"abcd", {"length": None, "terminated": True, "limit": 3}, 8, "over the limit", id="chunked-too-long"
        ),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    data: Any, options: dict[str, Any], code: int, message: str, at_once: int
) -> None:
    with pytest.raises(RemoteProtocolError, match=message) as caught:
        read(data, at_once=at_once, **options)
    assert caught.value.code is StatusCode(code)


def test_a_long_body_comes_in_bounded_chunks() -> None:
    data = bytes(3 * body.CHUNK_BYTES + 1)
    sizes = [len(chunk) for chunk in read(data, length=len(data))]
    assert sizes == [body.CHUNK_BYTES] * 3 + [1]
    assert read(data, length=len(data), at_once=len(data)) == [data]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_a_hook_has_read_is_there_still(chunked: bool) -> None:
    app = echo_app()
    app.before_request(lambda: (request.get_data(), None)[1])
    options: dict[str, Any] = {"data": body_of(EchoRequest(text="hi"))}
    if chunked:
        options = {
            "input_stream": io.BytesIO(options["data"]),
            "environ_overrides": {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"},
        }
    client = app.test_client()
    response = client.post(ECHO + "Unary", content_type=PROTO, **options)
    assert response.headers["grpc-status"] == "0"


def test_the_apps_own_limit_holds_for_rpcs() -> None:
    app = echo_app(MAX_CONTENT_LENGTH=100)
    assert call(app.test_client(), ECHO + "Unary", EchoRequest(text="a" * 90)).only(EchoReply)
    answer = call(app.test_client(), ECHO + "Unary", EchoRequest(text="a" * 95))
    assert (answer.code, answer.message) == (8, "body of 102 bytes is over the limit of 100 bytes")


def endless() -> Iterator[bytes]:
    while True:
        yield bytes(2**20)


def test_draining_stops_at_its_limit_in_bytes() -> None:
    assert drain(iter([b"a", b"b"]), {})
    assert not drain(endless(), {})


def test_draining_stops_at_its_limit_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "MAX_DRAIN_SECONDS", 0.0)
    assert not drain(endless(), {})


class Endless:
    def read(self, size: int) -> bytes:
        return b"\xff" * size


@pytest.mark.parametrize(
    ("path", "content_type", "http_status"),
    [("Unary", PROTO, 200), ("Misspelt", PROTO, 200), ("Unary", "text/plain", 415)],
)
def test_a_body_that_cannot_be_drained_closes_the_connection(path: str, content_type: str, http_status: int) -> None:
    overrides = {"wsgi.input": Endless(), "wsgi.input_terminated": True}
    client = echo_app().test_client()
    response = client.post(ECHO + path, content_type=content_type, environ_overrides=overrides)
    assert response.status_code == http_status
    assert response.headers["grpc-status"] != "0"
    assert response.headers["connection"] == "close"


def test_a_body_cut_short_does_not_run_the_call() -> None:
    calls = []
    app: Flask = echo_app(Unary=lambda request, context: calls.append(request) or EchoReply())
    response = app.test_client().post(
        ECHO + "Unary", data=body_of(EchoRequest()), content_type=PROTO, environ_overrides={"CONTENT_LENGTH": "9"}
    )
    assert response.headers["grpc-status"] == "13"
    assert calls == []
