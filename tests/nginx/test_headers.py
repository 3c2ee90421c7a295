"""Statuses of any size arrive through nginx, whose default buffer is one page of 4 kB for all headers of a response."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import pytest
from google.rpc.error_details_pb2 import BadRequest

from flask_grpcweb_scm.client import CallError, Channel
from flask_grpcweb_scm.wire import MAX_MESSAGE_HEADER_BYTES
from tests.apps import ECHO
from tests.echo_pb2 import DESCRIPTOR, EchoRequest
from tests.grpcweb import FOUR_CONTENT_TYPES, PROTO, Answer, body_of, read
from tests.nginx.app import AFTER_A_MESSAGE, HOST_HEADERS, LONG_NAME, PAGE, violations
from tests.nginx.conftest import Proxy
from tests.sockets.http1 import Connection, Response, request

OUR_HEADERS_BYTES = 2000
OF_OTHERS = {"server", "date", "connection", "transfer-encoding", "set-cookie", *HOST_HEADERS}

TEXTS = {"ASCII": "No repository has this name; ", "not ASCII": "Größer als erlaubt: 漢字 😈 100 % "}
FAILURES = [
    *[(size, 0) for size in (500, 1000, 1500, 2000, 3000, 4000, 6000, 8000, 16_000)],
    *[(100, count) for count in (1, 2, 3, 5, 10, 20, 50, 100, 200)],
    (1000, 5),
    (16_000, 200),
]
"""Bytes of the message, and the number of field violations."""

METHODS = {"unary": ("Unary", b""), "stream": ("ServerStream", b""), "later": ("ServerStream", AFTER_A_MESSAGE)}


def message_of(text: str, size: int) -> str:
    # Not with a space at its end, which HTTP drops.
    return (text.encode() * (size // len(text.encode()) + 1))[: size - 1].decode(errors="ignore") + "."


def fail(port: int, method: str, content_type: str, text: str, count: int) -> tuple[Response, Answer]:
    name, data = METHODS[method]
    body = body_of(EchoRequest(text=text, count=count, data=data), content_type=content_type)
    headers = [("content-type", content_type), ("x-grpc-web", "1"), ("origin", PAGE)]
    return send(port, request(ECHO + name, body, headers))


def send(port: int, data: bytes) -> tuple[Response, Answer]:
    with Connection(port) as connection:
        connection.send(data)
        response = connection.response()
    return response, read(response.status, response.headers, response.body)


def bytes_of(headers: Iterable[tuple[str, str]]) -> int:
    """As they are sent, each on a line of its own."""
    return sum(len(f"{name}: {value}\r\n") for name, value in headers)


def our_headers(response: Response) -> list[tuple[str, str]]:
    return [(name, value) for name, value in response.headers if name.lower() not in OF_OTHERS]


def is_whole(arrived: str, message: str) -> bool:
    """Whether a message has arrived, or as much of it as there is room for in a grpc-message."""
    if len(encoded(message)) <= MAX_MESSAGE_HEADER_BYTES:
        return arrived == message
    # A character may have four bytes, of three characters each; a space at the end is lost.
    return message.startswith(arrived) and len(encoded(arrived)) >= MAX_MESSAGE_HEADER_BYTES - 13


def encoded(message: str) -> str:
    return quote(message, safe=" !\"#$&'()*+,/:;<=>?@[\\]^`{|}")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("content_type", FOUR_CONTENT_TYPES)
@pytest.mark.parametrize("language", TEXTS)
def test_a_status_arrives_whole(proxy: Proxy, method: str, content_type: str, language: str) -> None:
    for size, count in FAILURES:
        text = message_of(TEXTS[language], size)
        _, answer = fail(proxy.port, method, content_type, text, count)
        assert answer.http_status == 200, (size, count)
        assert ("grpc-status" in answer.headers) + ("grpc-status" in answer.trailers) == 1, (size, count)
        assert answer.code == 3
        assert is_whole(answer.message, text), (size, count, answer.message)
        assert answer.details(BadRequest) == [violations(text, count)]
        assert ("access-control-allow-origin" in answer.headers) is proxy.has_host_headers


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("content_type", FOUR_CONTENT_TYPES)
@pytest.mark.parametrize("language", TEXTS)
def test_headers_of_ours_are_small(proxy: Proxy, method: str, content_type: str, language: str) -> None:
    sizes = []
    for size, count in FAILURES:
        response, answer = fail(proxy.upstream, method, content_type, message_of(TEXTS[language], size), count)
        assert answer.code == 3
        sizes.append((bytes_of(our_headers(response)), size, count))
    assert max(sizes)[0] <= OUR_HEADERS_BYTES, sorted(sizes)


@pytest.mark.parametrize("size", [10, 100, 500])
def test_a_short_status_is_in_the_headers(proxy: Proxy, size: int) -> None:
    _, answer = fail(proxy.port, "unary", PROTO, message_of(TEXTS["ASCII"], size), 1)
    assert (answer.headers["grpc-status"], answer.body) == ("3", b"")


LONG_PATH = f"/tests.long.Long/{LONG_NAME}"
LONG_TYPES = {"ASCII": f"text/plain; of={'page-' * 600}", "not ASCII": f"text/plain; of={'é' * 2000}"}
REFUSALS: dict[str, tuple[bytes, int, str]] = {
    "405": (request(LONG_PATH, verb="GET"), 405, f"{LONG_PATH} is called with POST, not GET"),
    "415 of a long path": (request(LONG_PATH, headers=[("content-type", "text/plain")]), 415, "'text/plain'"),
    **{
        f"415, {language}": (request(ECHO + "Unary", headers=[("content-type", text)]), 415, f"content type '{text}'")
        for language, text in LONG_TYPES.items()
    },
}


@pytest.mark.parametrize(("data", "http_status", "text"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_of_http_arrives(proxy: Proxy, data: bytes, http_status: int, text: str) -> None:
    response, answer = send(proxy.port, data)
    assert (answer.http_status, answer.code) == (http_status, 12)
    page = response.body.decode().removesuffix("\n")
    assert text in page
    # The whole text is in the body; the header has as much of it as there is room for.
    assert len(answer.message) > 50
    assert page.startswith(answer.message)
    response, _ = send(proxy.upstream, data)
    assert bytes_of(our_headers(response)) <= OUR_HEADERS_BYTES


@pytest.mark.parametrize("content_type", FOUR_CONTENT_TYPES)
@pytest.mark.parametrize("size", [500, 1000, 2000, 3500])
def test_an_unknown_method_with_a_long_path_is_told_so(proxy: Proxy, content_type: str, size: int) -> None:
    path = "/tests.long.Unknown/" + "M" * size
    data = request(path, b"", [("content-type", content_type), ("origin", PAGE)])
    _, answer = send(proxy.port, data)
    assert (answer.http_status, answer.code) == (200, 12)
    assert f"no method {path} is served here" in answer.message
    response, _ = send(proxy.upstream, data)
    assert bytes_of(our_headers(response)) <= OUR_HEADERS_BYTES


@pytest.mark.parametrize("content_type", FOUR_CONTENT_TYPES)
@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("characters", [100, 500, 990])
def test_a_refusal_of_the_app_arrives(proxy: Proxy, content_type: str, language: str, characters: int) -> None:
    text = (TEXTS[language] * 100)[:characters] + "."
    refuse = ("x-refuse", text.encode().decode("latin-1"))
    body = body_of(EchoRequest(), content_type=content_type)
    data = request(ECHO + "Unary", body, [("content-type", content_type), ("origin", PAGE), refuse])
    _, answer = send(proxy.port, data)
    assert (answer.http_status, answer.code, answer.message) == (200, 16, text)
    assert ("x-content-type-options" in answer.headers) is proxy.has_host_headers
    response, _ = send(proxy.upstream, data)
    assert bytes_of(our_headers(response)) <= OUR_HEADERS_BYTES


@pytest.mark.parametrize("options", [{}, {"text": True}, {"codec": "json"}], ids=str)
@pytest.mark.parametrize("language", TEXTS)
def test_our_client_reads_them(proxy: Proxy, options: dict[str, Any], language: str) -> None:
    with Channel(f"http://127.0.0.1:{proxy.port}", metadata={"origin": PAGE}, **options) as channel:
        stub = channel.stub(DESCRIPTOR.services_by_name["Echo"])
        for size, count in FAILURES:
            text = message_of(TEXTS[language], size)
            for method, data in METHODS.values():
                call = {"Unary": stub.unary, "ServerStream": lambda message: list(stub.server_stream(message))}[method]
                with pytest.raises(CallError) as caught:
                    call(EchoRequest(text=text, count=count, data=data))
                assert caught.value.code == 3, caught.value
                assert is_whole(caught.value.message, text)
                assert list(caught.value.details) == [violations(text, count)]
