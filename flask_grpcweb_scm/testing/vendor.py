"""A stand-in for the host of a tracker: a WSGI app on 127.0.0.1, with faults, that keeps what it is sent."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["Fault", "SentRequest", "Vendor", "texts_of"]

Fault = Callable[[Callable[[], Response]], "Response | None"]
"""Takes what has the app respond, and returns what is sent instead; None for a connection that breaks."""


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request as it arrived."""

    method: str
    target: str
    """Path and query, percent-encoded."""
    body: bytes

    def texts(self) -> Iterator[str]:
        """Yield all texts of a body in JSON, or of a form's."""
        try:
            yield from texts_of(json.loads(self.body))
        except ValueError:
            yield from (text for pair in parse_qsl(self.body.decode("utf-8", "replace")) for text in pair)


def texts_of(value: Any) -> Iterator[str]:
    """Yield all texts of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts_of(item)


class Vendor:
    """The host of a tracker."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self._fault: Fault | None = None
        self._first = 0
        self.url = ""
        """Of the server."""
        self.requests: list[SentRequest] = []
        """In the order of their arrival."""
        self.responses: list[Response] = []
        """Those that were sent without a fault."""

    def forget(self) -> None:
        """Forget requests and responses, and end faults."""
        self.requests, self.responses, self._fault = [], [], None

    def texts(self) -> list[str]:
        """Return the texts of all requests."""
        return [text for request in self.requests for text in request.texts()]

    def fail(self, fault: Fault, *, first: int = 0) -> None:
        """Inject a fault into all requests to come, without the first ones."""
        self.forget()
        self._fault, self._first = fault, first

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Respond; see :pep:`3333`."""
        request = Request(environ)
        target = environ.get("REQUEST_URI") or request.full_path.rstrip("?")
        body = request.get_data()
        environ["wsgi.input"] = io.BytesIO(body)
        self.requests.append(SentRequest(request.method, target, body))

        def run() -> Response:
            return Response.from_app(self._app, environ, buffered=True)

        is_fault = self._fault is not None and len(self.requests) > self._first
        response = self._fault(run) if self._fault is not None and is_fault else run()
        if response is None:
            with contextlib.suppress(OSError):
                environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            response = Response()
        elif not is_fault:
            self.responses.append(response)
        return response(environ, start_response)

    @contextlib.contextmanager
    def serving(self) -> Iterator[Vendor]:
        """Serve on a free port of 127.0.0.1 during the block."""
        server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=_Quiet)
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  # its name there
        """Log nothing."""
