"""Statuses of gRPC for HTTP responses of the app: from hooks, error handlers, decorators and ``abort()``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, current_app
from werkzeug.exceptions import HTTPException

from flask_grpcweb_scm.rpc import RpcError, StatusCode, retry_info
from flask_grpcweb_scm.wire import Metadata, decode_message

__all__ = ["describe", "internal_error", "metadata_of", "propagates_exceptions", "rpc_error_from_http", "status_in"]

MAX_MESSAGE_CHARACTERS = 1000
NOT_FOR_CALLERS = {
    *("location", "allow", "etag", "last-modified", "content-type", "content-length", "content-encoding"),
    *("content-language", "content-location", "content-range", "content-disposition", "content-md5"),
    *("transfer-encoding", "trailer"),
}
"""Headers that describe a page, and not the response that a caller gets in its place."""

_MESSAGE_KEYS = ("message", "msg", "error", "detail", "description")

_CODES = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    405: StatusCode.UNIMPLEMENTED,
    408: StatusCode.DEADLINE_EXCEEDED,
    409: StatusCode.ABORTED,
    410: StatusCode.NOT_FOUND,
    412: StatusCode.FAILED_PRECONDITION,
    413: StatusCode.RESOURCE_EXHAUSTED,
    415: StatusCode.INVALID_ARGUMENT,
    416: StatusCode.OUT_OF_RANGE,
    422: StatusCode.INVALID_ARGUMENT,
    428: StatusCode.FAILED_PRECONDITION,
    429: StatusCode.RESOURCE_EXHAUSTED,
    500: StatusCode.INTERNAL,
    501: StatusCode.UNIMPLEMENTED,
    502: StatusCode.UNAVAILABLE,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}


def rpc_error_from_http(response: Response, call_id: str = "", *, url: str = "") -> RpcError:
    """Translate an HTTP response of the app into the status that it stands for.

    The message is the response's text when it is plain, the message in it when it is JSON, else the name of its HTTP
    status. Of a server error it is fixed: its text may be a traceback. A ``Retry-After`` becomes a RetryInfo.

    :param url: of the request, to tell a redirect to HTTPS from one to a page for logging in.
    """
    status = response.status_code
    if status == 500:
        return internal_error(call_id)
    if 300 <= status < 400 and response.location:
        return _redirect(response, url)
    code = _CODES.get(status, StatusCode.UNKNOWN)
    text = _message(response) if status < 500 else ""
    wait = _seconds_to_wait(response)
    reason = _phrase(status)
    if status < 300:
        reason = f"a response of the app, HTTP {status} {reason}, in place of that of the RPC"
    return RpcError(code, text or reason, [] if wait is None else [retry_info(wait)])


def status_in(headers: Iterable[tuple[str, str]]) -> RpcError | None:
    """The error in the headers of a gRPC-Web response; None when there is none."""
    given = {name.lower(): value for name, value in headers}
    code = given.get("grpc-status", "0")
    if not code.isdecimal() or int(code) not in range(1, 17):
        return None
    return RpcError(int(code), decode_message(given.get("grpc-message", "")))


def internal_error(call_id: str = "") -> RpcError:
    """The status of a crash: strangers learn nothing from it but the id that the log has too."""
    return RpcError(StatusCode.INTERNAL, f"internal error (call {call_id})" if call_id else "internal error")


def propagates_exceptions(app: Flask) -> bool:
    """Return whether Flask raises what no error handler takes, instead of making a response."""
    propagate: bool | None = app.config["PROPAGATE_EXCEPTIONS"]
    return app.testing or app.debug if propagate is None else propagate


def metadata_of(response: Response) -> Iterator[tuple[str, str | bytes]]:
    """Yield the headers of the app's response that can be metadata, and say nothing of the response's own body."""
    for name, value in Metadata.from_headers(response.headers):
        if name not in NOT_FOR_CALLERS and name != "vary":
            yield name, value


def _seconds_to_wait(response: Response) -> float | None:
    try:
        until = response.retry_after
    except OverflowError:  # after the last year of a datetime
        return None
    return None if until is None else max(0.0, (until - datetime.now(timezone.utc)).total_seconds())


def _redirect(response: Response, url: str) -> RpcError:
    target = urlsplit(response.location or "")
    location = target._replace(query="", fragment="").geturl()
    source = urlsplit(url)
    if target.scheme == "https" and (source.scheme, source.hostname) == ("http", target.hostname):
        text = f"the app takes calls by HTTPS only, and redirects this one to {location}"
        return RpcError(StatusCode.FAILED_PRECONDITION, text)
    # Login extensions redirect strangers to a page.
    return RpcError(StatusCode.UNAUTHENTICATED, f"the app redirects this call to {location}; log in first")


def _message(response: Response) -> str:
    if response.content_encoding:
        return ""
    # As a file has it, which would be sent without being read here.
    response.direct_passthrough = False
    text: object = response.get_data().decode(errors="replace").strip()
    if response.is_json:
        try:
            text = _json_message(response.get_json(silent=True))
        except RecursionError:
            return ""
    if not isinstance(text, str) or len(text) > MAX_MESSAGE_CHARACTERS or text.startswith(("<", "{", "[")):
        return ""
    return text


def _json_message(page: object) -> object:
    """The text of a JSON error page; frameworks name it differently, and some have it in an object of its own."""
    if not isinstance(page, dict):
        return page
    values = [page[key] for key in _MESSAGE_KEYS if page.get(key)]
    texts = [value for value in values if isinstance(value, str)]
    return texts[0] if texts else next((_json_message(value) for value in values if isinstance(value, dict)), None)


def describe(error: HTTPException) -> Any:
    """Turn an HTTP exception into its description in plain text, unless the app has an error handler for it.

    This is the blueprint's error handler. Flask prefers a blueprint's handler for all HTTP exceptions to the app's, so
    the app's is called from here.
    """
    handlers = current_app.error_handler_spec[None][None]
    for error_class in type(error).__mro__:
        if error_class in handlers:
            return current_app.ensure_sync(handlers[error_class])(error)
    if error.response is not None:
        return error.response
    response = error.get_response()
    # Flask-Babel's texts are translated when they are used.
    response.set_data(str(error.description or ""))
    response.content_type = "text/plain; charset=utf-8"
    return response


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP status {status}"
