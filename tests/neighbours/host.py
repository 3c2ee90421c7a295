"""The host: an app with a page and the Echo service, and a client that calls it through WSGI."""

from __future__ import annotations

import gzip
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from werkzeug.test import Client

from flask_grpcweb_scm import CallContext, GrpcWebScm, RpcError, StatusCode
from tests.apps import ECHO, echo_service, know_routes
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import PROTO, body_of, read
from tests.neighbours.neighbour import Neighbour

__all__ = ["PATHS", "WORDS", "Host", "Response"]

WORDS = "hello"
_FAIL, _CRASH = "fail", "crash"

PATHS = {"page": "/page", "unary": ECHO + "Unary", "stream": ECHO + "ServerStream", "error": ECHO + "Unary"}
_PAGE = "<!DOCTYPE html>\n<html>\n  <head><title>Host</title></head>\n  <body>\n    <h1>{}</h1>\n  </body>\n</html>\n"
_REQUESTS = {
    "unary": EchoRequest(text=WORDS),
    "stream": EchoRequest(text=WORDS, count=2),
    "error": EchoRequest(text=_FAIL),
    "crash": EchoRequest(text=_CRASH),
}


@dataclass
class Response:
    """A response of the host, to a page or to an RPC."""

    cell: str
    status: int
    headers: dict[str, str]
    """By their names in lower case."""
    body: str
    code: int | None = None
    """Of gRPC; None when the response has no status."""
    message: str = ""
    texts: tuple[str, ...] = ()
    """The words of the page, of the replies, or of the error."""

    @property
    def is_right(self) -> bool:
        """Whether it is what the host has for everybody whom nothing keeps from it."""
        expected = {"page": (None, 1), "unary": (0, 1), "stream": (0, 2), "error": (5, 1)}[self.cell]
        return self.status == 200 and (self.code, len(self.texts)) == expected

    def is_refused(self, status: int, code: int) -> bool:
        """Whether the page was refused with an HTTP status, or the RPC with a code."""
        return self.status == status if self.cell == "page" else (self.status, self.code) == (200, code)


class Host:
    """An app with a neighbour in it, or without.

    :param order: when the neighbour is installed, seen from this extension: ``before``, ``after`` or ``never``.
    """

    def __init__(self, neighbour: Neighbour, *, order: str, fast_lane: bool) -> None:
        around = neighbour if order != "never" else Neighbour()
        self.app = app = around.make_app()
        app.testing = True
        app.config.update(SECRET_KEY="of the host", GRPC_SCM=False, GRPC_FAST_LANE=fast_lane)
        app.config.update(around.config)
        self.responses: list[Response] = []
        self.log: list[str] = []
        """Lines of all loggers."""
        self.errors: list[str] = []
        """Those that tell of an error."""
        self._logs = _Lines(self.log, self.errors)
        if order == "before":
            around.install(app)
        app.add_url_rule("/page", "page", around.guard(_page(around.speak)), methods=["GET", "POST"])
        functions = {"Unary": around.guard(_unary(around.speak)), "ServerStream": around.guard(_stream(around.speak))}
        GrpcWebScm(services=[echo_service(**functions)]).init_app(app)
        know_routes(app)
        if order == "after":
            around.install(app)
        self.client = Client(around.around(app))

    def __enter__(self) -> Host:
        self._level = logging.root.level
        logging.root.addHandler(self._logs)
        logging.root.setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        logging.root.removeHandler(self._logs)
        logging.root.setLevel(self._level)

    def call(self, cell: str, *, prefix: str = "", headers: dict[str, str] | None = None, **options: Any) -> Response:
        """Open the page or do the RPC. `options` are those of a werkzeug client."""
        path = prefix + PATHS.get(cell, PATHS["unary"])
        if cell == "page":
            return self.get(path, headers=headers, **options)
        headers = {"content-type": PROTO, **(headers or {})}
        response = self.client.post(path, data=body_of(_REQUESTS[cell]), headers=headers, **options)
        taken = read(response.status_code, response.headers, response.data)
        response.close()
        has_status = "grpc-status" in {**taken.headers, **taken.trailers}
        code, message = (taken.code, taken.message) if has_status else (None, "")
        texts = tuple(EchoReply.FromString(payload).text for payload in taken.payloads)
        body = repr(taken.body)
        return self._add(Response(cell, taken.http_status, taken.headers, body, code, message, texts or (message,)))

    def get(self, path: str, **options: Any) -> Response:
        """Open any page."""
        response = self.client.open(path, **options)
        headers = {name.lower(): value for name, value in response.headers}
        body = response.data
        response.close()
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        text = body.decode()
        texts = tuple(re.findall("<h1>(.*?)</h1>", text))
        return self._add(Response("page", response.status_code, headers, text, texts=texts))

    def preflight(self, cell: str, origin: str) -> Response:
        """Do what a browser does before it sends an RPC, or a PUT to the page, across origins."""
        headers = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type,x-grpc-web",
        }
        response = self.client.options(PATHS[cell], headers=headers)
        response.close()
        names = {name.lower(): value for name, value in response.headers}
        return Response(cell, response.status_code, names, response.text)

    def _add(self, response: Response) -> Response:
        self.responses.append(response)
        return response


class _Lines(logging.Handler):
    def __init__(self, lines: list[str], errors: list[str]) -> None:
        super().__init__()
        self._lines, self._errors = lines, errors

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        self._lines.append(line)
        if record.levelno >= logging.ERROR:
            self._errors.append(line)


Speak = Callable[[str], str]


def _page(speak: Speak) -> Callable[[], str]:
    def page() -> str:
        return _PAGE.format(speak(WORDS))

    return page


def _unary(speak: Speak) -> Callable[..., EchoReply]:
    def unary(request: EchoRequest, context: CallContext) -> EchoReply:
        if request.text == _CRASH:
            raise ValueError("crash of a service function")
        if request.text == _FAIL:
            raise RpcError(StatusCode.NOT_FOUND, speak(WORDS))
        return EchoReply(text=speak(request.text))

    return unary


def _stream(speak: Speak) -> Callable[..., Iterator[EchoReply]]:
    def stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        for number in range(request.count):
            yield EchoReply(text=speak(request.text), number=number)

    return stream
