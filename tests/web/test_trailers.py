"""gRPC in the app: what of a response is sent after its body, and servers that cannot do that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask, Response, request, stream_with_context
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import EnvironBuilder

from flask_grpcweb_scm.web.flask_internals import is_plain_flask
from flask_grpcweb_scm.web.trailers import SENDER_KEYS
from tests.apps import ECHO, LANES, echo_app
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import frame, frames
from tests.lanes import lane  # noqa: F401  # a fixture
from tests.tables import check_rows

GRPC = "application/grpc"
HI = frame(EchoRequest(text="hi", count=2).SerializeToString())


class Wire(list[Any]):
    """A server's side of one exchange: the head, the pieces and the trailers, in the order in which they come."""

    def __init__(self, body: bytes = HI, *, keeps_pairs: bool = False, **environ: Any) -> None:
        super().__init__()
        self._read: Any = list if keeps_pairs else dict
        self._body = body
        self._environ = environ

    def post(self, app: Any, path: str, sender: str | None = SENDER_KEYS[0], **headers: str) -> Wire:
        """Send a request over HTTP/2, whose body has no Content-Length."""
        environ = EnvironBuilder(path, method="POST", content_type=headers.pop("content_type", GRPC)).get_environ()
        environ.pop("CONTENT_LENGTH", None)
        environ.update({f"HTTP_{name.upper()}": value for name, value in headers.items()})
        environ.update({"SERVER_PROTOCOL": "HTTP/2", "wsgi.input": OpenBody(self._body), **self._environ})
        if sender:
            environ[sender] = lambda pairs: self.append(self._read(pairs))
        pieces = app.wsgi_app(environ, self._start)
        for piece in pieces:
            self.append(piece)
        if hasattr(pieces, "close"):
            pieces.close()
        return self

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        self.append((status, dict(headers)))
        return self.append

    @property
    def body(self) -> bytes:
        return b"".join(piece for piece in self if isinstance(piece, bytes))


class OpenBody:
    """A body that has no more for now: whoever reads on waits for ever."""

    def __init__(self, data: bytes, *, is_open: bool = False) -> None:
        self._data, self._is_open = data, is_open

    def read(self, size: int = -1) -> bytes:
        size = len(self._data) if size < 0 else size
        data, self._data = self._data[:size], self._data[size:]
        assert data or not self._is_open, "waits for ever"
        return data


@pytest.mark.parametrize("sender", SENDER_KEYS)
@pytest.mark.parametrize(("path", "count"), [("Unary", 1), ("ServerStream", 2), ("ClientStream", 1), ("Bidi", 1)])
def test_the_status_comes_after_the_last_piece(sender: str, path: str, count: int) -> None:
    head, *pieces, trailers = Wire().post(echo_app(), ECHO + path, sender)
    assert head == ("200 OK", {"content-type": GRPC})
    assert len([piece for piece in pieces if piece]) == count
    assert trailers == {"grpc-status": "0"}


def test_a_body_may_have_a_length_and_a_server_of_http_1_may_send_trailers() -> None:
    wire = Wire(CONTENT_LENGTH=str(len(HI)), SERVER_PROTOCOL="HTTP/1.1").post(echo_app(), ECHO + "Unary")
    assert wire[-1] == {"grpc-status": "0"}


def test_views_and_hooks_read_chunked_bodies_of_http_1_on_pyvoy() -> None:
    """It gives neither their Transfer-Encoding nor `wsgi.input_terminated`."""
    app = echo_app()
    seen: list[bytes] = []
    app.before_request(lambda: seen.append(request.get_data()))
    app.add_url_rule("/upload", "upload", lambda: request.get_data(), methods=["POST"])
    old = {"SERVER_PROTOCOL": "HTTP/1.1"}
    assert Wire(b"all of it", **old).post(app, "/upload", content_type="text/plain").body == b"all of it"
    wire = Wire(**old).post(app, ECHO + "Unary", content_type="application/grpc-web+proto")
    assert next(frames(wire.body)) == (0, EchoReply(text="HI").SerializeToString())
    assert seen == [b"all of it", HI]


@pytest.mark.parametrize("path", ["Unary", "ServerStream", "ClientStream", "Bidi"])
def test_a_body_that_has_not_ended_is_not_waited_for(path: str) -> None:
    app = echo_app(GRPC_MAX_MESSAGE_BYTES=3)
    for sent in (frame(b"\n\x02HI"), b"\xff\0\0\0\0"):
        wire = Wire(**{"wsgi.input": OpenBody(sent, is_open=True)}).post(app, ECHO + path)
        assert wire[-1]["grpc-status"] in {"8", "13"}


def test_hooks_see_the_status_and_may_read_add_and_replace() -> None:
    seen = []
    app = echo_app()

    @app.after_request
    def look(response: Response) -> Response:
        seen.append((response.headers.get("grpc-status"), response.get_data() if "read" in request.headers else b""))
        response.headers["x-hook"] = "1"
        response.headers.update({"connection": "close", "Proxy-Connection": "close"})
        return Response("not today", 429) if "replace" in request.headers else response

    for path in ("Unary", "ServerStream"):
        for headers in ({}, {"read": "1"}):
            head, *_, trailers = wire = Wire().post(app, ECHO + path, **headers)
            assert head == ("200 OK", {"content-type": GRPC, "x-hook": "1"})
            message = b"\n\x02HI" if path == "Unary" else b"\n\x02hi"
            assert (wire.body[:9], trailers) == (frame(message), {"grpc-status": "0"})
        head, trailers = Wire().post(app, ECHO + path, replace="1", read="1")
        assert trailers["grpc-status"] == "8"
    message = frame(b"\n\x02HI")
    stream = frame(b"\n\x02hi") + frame(b"\n\x02hi\x10\x01")
    expected = [("0", b""), ("0", message), ("0", message), (None, b""), (None, stream), (None, stream)]
    assert seen == expected


@pytest.mark.parametrize("path", ["Unary", "ServerStream"])
def test_headers_of_hooks_are_no_second_status(path: str) -> None:
    """Clients take two for none, and some then take no other response of the connection."""
    given: list[tuple[str, str]] = []
    app = echo_app()

    @app.after_request
    def add(response: Response) -> Response:
        for name, value in given:
            response.headers.add(name, value)
        return response

    def check(_: str, name: str, value: str, expected: list[tuple[str, str]]) -> None:
        given[:] = [(name, value)]
        head, *_, trailers = Wire(keeps_pairs=True).post(app, ECHO + path)
        assert (trailers, [key for key in head[1] if key.startswith("grpc-")]) == (expected, [])

    ok = ("grpc-status", "0")
    check_rows(
        check,
        [
            ("trailing metadata", "grpc-trailer-x-hook", "1", [ok, ("x-hook", "1")]),
            ("in upper case", "Grpc-Trailer-X-Hook", "1", [ok, ("x-hook", "1")]),
            ("binary metadata", "grpc-trailer-x-bin", "/w", [ok, ("x-bin", "/w")]),
            ("not ASCII", "grpc-trailer-x-hook", "ä", [ok, ("x-hook", "?")]),
            ("a status", "grpc-status", "7", [("grpc-status", "7")]),
            ("a status as metadata", "grpc-trailer-grpc-status", "7", [ok]),
            ("a header of a connection", "grpc-trailer-connection", "close", [ok]),
            ("a header of HTTP/2", "grpc-trailer-:status", "500", [ok]),
            ("no name", "grpc-trailer-", "1", [ok]),
        ],
    )


def test_an_app_within_an_app_sends_trailers_once() -> None:
    apps = {"/inner": echo_app().wsgi_app}
    outer = echo_app(prepare=lambda app: setattr(app, "wsgi_app", DispatcherMiddleware(app.wsgi_app, apps)))
    for path in (ECHO + "Unary", "/inner" + ECHO + "Unary", "/inner" + ECHO + "ServerStream", "/inner" + ECHO + "Nope"):
        trailers = [part for part in Wire().post(outer, path) if isinstance(part, dict)]
        assert [sent["grpc-status"] for sent in trailers] == ["12" if path.endswith("Nope") else "0"]


def test_a_middleware_that_reads_all_before_it_starts_belongs_inside() -> None:
    """Around the extension it would have the trailers sent before its head."""

    def buffered(wsgi_app: Any) -> Any:
        def call(environ: Any, start_response: Any) -> list[bytes]:
            heads: list[Any] = []
            pieces = wsgi_app(environ, lambda *head: heads.append(head))
            body = b"".join(pieces)
            if hasattr(pieces, "close"):
                pieces.close()
            start_response(*heads[-1])
            return [body]

        return call

    app = echo_app(prepare=lambda app: setattr(app, "wsgi_app", buffered(app.wsgi_app)))
    for path, count in (("Unary", 1), ("ServerStream", 2)):
        head, body, trailers = Wire().post(app, ECHO + path)
        assert (head, trailers) == (("200 OK", {"content-type": GRPC}), {"grpc-status": "0"})
        assert len(list(frames(body))) == count


def test_a_stream_that_fails_in_the_server_has_no_status() -> None:
    def broken() -> Iterator[bytes]:
        yield b""
        raise ValueError("broken")

    app = echo_app()
    app.after_request(lambda response: Response(stream_with_context(broken()), content_type=GRPC))
    wire = Wire()
    with pytest.raises(ValueError, match="broken"):
        wire.post(app, ECHO + "Unary")
    assert not [part for part in wire if isinstance(part, dict)]


def test_other_requests_are_left_alone() -> None:
    app = echo_app()
    app.add_url_rule("/page", "page", lambda: Response("page", headers={"grpc-status": "7"}), methods=["POST"])
    (head, piece) = Wire().post(app, "/page", content_type="text/plain")
    assert (head[1]["grpc-status"], piece) == ("7", b"page")
    (head, piece) = Wire().post(app, ECHO + "Unary", content_type="application/grpc-web")
    assert head[1]["content-length"] == str(len(piece))


def test_an_error_handler_may_start_a_response_anew() -> None:
    app = echo_app()

    @app.teardown_request
    def fail(error: BaseException | None) -> None:
        raise ValueError("broken")

    app.testing = False
    for path in ("Unary", "ServerStream"):
        wire = Wire().post(app, ECHO + path)
        assert [part["grpc-status"] for part in wire if isinstance(part, dict)] in (["13"], ["0"])


class TestWithoutTrailers:
    """Servers that cannot send the status."""

    def test_over_http_2_the_status_is_in_headers_and_nothing_follows(self) -> None:
        app = echo_app()
        for path in ("Unary", "ServerStream", "ClientStream", "Bidi"):
            ((status, headers),) = Wire().post(app, ECHO + path, sender=None)
            assert (status, headers["content-type"], headers["grpc-status"]) == ("200 OK", GRPC, "12")
            assert "pyvoy" in headers["grpc-message"]

    def test_a_hook_changes_nothing_about_that(self) -> None:
        app = echo_app(GRPC_CORS_ORIGINS="https://page.example")
        for path in ("Unary", "ServerStream"):
            environ = {"HTTP_ORIGIN": "https://page.example"}
            assert len(Wire(**environ).post(app, ECHO + path, sender=None)) == 1

    def test_over_http_1_it_is_an_http_status_and_a_text(self) -> None:
        response = echo_app().test_client().post(ECHO + "Unary", data=HI, content_type=GRPC)
        assert response.status_code == 505
        assert response.text.startswith("gRPC needs a server that sends trailers")
        assert response.headers["grpc-status"] == "12"

    def test_pages_of_the_app_are_its_own(self) -> None:
        app = echo_app()
        app.add_url_rule("/other.Service/Call", "other", lambda: "page", methods=["POST"])
        assert Wire().post(app, "/other.Service/Call", sender=None).body == b"page"
        assert Wire().post(app, "/no.Service/Call", sender=None)[0][0] == "404 NOT FOUND"

    @pytest.mark.parametrize("key", SENDER_KEYS)
    def test_a_server_that_gives_no_function_has_none(self, key: str) -> None:
        """As a middleware sets it that turns trailers off."""
        environ = EnvironBuilder(ECHO + "Unary", method="POST", data=HI, content_type=GRPC).get_environ()
        started: list[str] = []
        list(echo_app().wsgi_app({**environ, key: None}, lambda status, *_: started.append(status)))
        assert started == ["505 HTTP VERSION NOT SUPPORTED"]

    def test_another_server_of_the_same_app_has_no_part_in_it(self) -> None:
        app = echo_app()
        for _ in range(3):
            assert Wire().post(app, ECHO + "Unary")[-1] == {"grpc-status": "0"}
            assert len(Wire().post(app, ECHO + "Unary", sender=None)) == 1

    @pytest.mark.parametrize("path", ["Unary", "ServerStream", "ClientStream", "Bidi"])
    def test_where_it_is_off_clients_are_told(self, path: str) -> None:
        """After the body where that can be: gunicorn ends no response with its headers."""
        app = echo_app(GRPC_PROTOCOLS="grpc-web, connect")
        message = "content type 'application/grpc' is not gRPC-Web or Connect"
        ((status, headers), trailers) = Wire().post(app, ECHO + path)
        assert (status, headers["content-type"], trailers["grpc-status"]) == ("200 OK", GRPC, "12")
        assert trailers["grpc-message"].startswith(message)
        ((_, headers),) = Wire().post(app, ECHO + path, sender=None)
        assert headers["grpc-message"].startswith(message)


@pytest.mark.skipif(not is_plain_flask(Flask("a")), reason="the lane needs Flask 3.1.3 or newer")
def test_calls_take_the_fast_lane(lane: str) -> None:  # noqa: F811
    app = echo_app()
    contexts = []
    entered = app.request_context
    app.request_context = lambda environ: contexts.append(1) or entered(environ)  # type: ignore[method-assign]
    for _ in range(3):
        assert Wire().post(app, ECHO + "Unary")[-1] == {"grpc-status": "0"}
    assert len(contexts) == {LANES[0]: 1, LANES[1]: 3, LANES[2]: 0}[lane]


def test_a_response_is_read_as_protobuf() -> None:
    wire = Wire().post(echo_app(), ECHO + "Unary")
    assert EchoReply.FromString(wire.body[5:]).text == "HI"
