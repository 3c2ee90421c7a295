"""The HTTP responses of calls."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flask import Flask, Response

from flask_grpcweb_scm.rpc import IncomingCall, Reply, StreamReply
from flask_grpcweb_scm.web.body import drain

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Pairs = list[tuple[str, str]]

__all__ = ["GrpcWebResponse", "answer", "must_close", "response_class", "send"]

# nginx would hold messages back until its buffer is full.
_UNBUFFERED = ("x-accel-buffering", "no")


class GrpcWebResponse(Response):
    """A response of ours, to be told from those that hooks and error handlers of the app make.

    Most have nobody who looks at them on their way out. It becomes a complete response, with a status to change and
    headers to add to, when somebody does; until then it is the answer itself.
    """

    def __init__(self, pieces: Iterable[bytes] | str = (), headers: Pairs | None = None, status: int = 200) -> None:
        vars(self)["_answer"] = pieces, headers or [], status

    def __getattr__(self, name: str) -> Any:
        # Called for what is missing: at first, all that the base class sets.
        if not self._complete():
            raise AttributeError(name)
        return getattr(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._complete()
        super().__setattr__(name, value)

    def _complete(self) -> bool:
        answer = vars(self).pop("_answer", None)
        if answer is None:
            return False
        pieces, headers, status = answer
        super().__init__(pieces, status, headers)
        return True

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Send it."""
        answer = vars(self).get("_answer")
        if answer is None or answer[2] != 200:
            return super().__call__(environ, start_response)
        return send(answer[1], answer[0], start_response)

    def get_app_iter(self, environ: WSGIEnvironment) -> Iterable[bytes]:
        """Send a stream as it is: the base class asks of every piece whether it is text."""
        if isinstance(self.response, StreamReply):
            return Closing(self.response, self.close)
        return super().get_app_iter(environ)


def response_class(app: Flask) -> type[GrpcWebResponse]:
    """The class of our responses in an app, which may have a class of its own for all responses."""
    return GrpcWebResponse if app.response_class is Response else _combined(app.response_class)  # type: ignore[arg-type]


@functools.lru_cache
def _combined(own: type[Response]) -> type[GrpcWebResponse]:
    return type(GrpcWebResponse.__name__, (GrpcWebResponse, own), {})


def answer(
    reply: Reply | StreamReply, call: IncomingCall, hold: Callable[[], Callable[[], object]]
) -> tuple[Pairs, Iterable[bytes]]:
    """The headers and the body that answer a call.

    :param hold: has the contexts of Flask stay for a stream; returns what ends them.
    """
    if isinstance(reply, StreamReply):
        # Flask's stream_with_context will not do: it ends the application context, and with it the database session,
        # when the view returns, and pushes it anew for each further step. The function's first step is before that.
        reply.on_close = functools.partial(_end_stream, call.chunks, hold())
        return [*reply.headers, _UNBUFFERED], reply
    headers, pieces = reply
    if not call.is_read and must_close(call.chunks, call.environ):
        return [*headers, ("connection", "close")], pieces
    return headers, pieces


def must_close(chunks: Iterator[bytes], environ: Mapping[str, Any]) -> bool:
    """Read the rest of a request's body; when that is too much, the connection cannot go on."""
    # PEP 3333 forbids to close it. waitress insists on that, and has read the whole body before it calls the app.
    return not drain(chunks) and "waitress.client_disconnected" not in environ


def send(headers: Pairs, pieces: Iterable[bytes], start_response: StartResponse) -> Iterable[bytes]:
    """Send the answer of a call."""
    if isinstance(pieces, list):
        size = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
        headers = [*headers, ("Content-Length", str(size))]
    start_response("200 OK", headers)
    return pieces


class Closing:
    """An iterable with a function for the server to call at its end."""

    def __init__(self, pieces: Iterable[bytes], close: Callable[[], object]) -> None:
        self._pieces = pieces
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)


def _end_stream(chunks: Iterator[bytes], leave: Callable[[], object]) -> None:
    try:
        drain(chunks)
    finally:
        leave()
