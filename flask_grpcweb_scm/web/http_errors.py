"""What HTTP answers of the app (from hooks, error handlers and ``abort()``) mean as statuses."""

from __future__ import annotations

from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any

from flask import Response, current_app
from werkzeug.exceptions import HTTPException

from flask_grpcweb_scm.rpc import RpcError, StatusCode, retry_info

__all__ = ["describe", "rpc_error_from_http"]

MAX_MESSAGE_CHARACTERS = 1000

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


def rpc_error_from_http(response: Response, call_id: str = "") -> RpcError:
    """The status that an HTTP answer stands for.

    The message is the answer's text when it is plain, else the name of its HTTP status. Of a server error it is fixed:
    its text may be a traceback. A ``Retry-After`` becomes a RetryInfo.
    """
    status = response.status_code
    if status == 500:
        return RpcError(StatusCode.INTERNAL, f"internal error (call {call_id})" if call_id else "internal error")
    if 300 <= status < 400:
        # Login extensions redirect strangers to a page.
        return RpcError(StatusCode.UNAUTHENTICATED, "the app redirects this call; log in first")
    code = _CODES.get(status, StatusCode.UNKNOWN)
    text = response.get_data(as_text=True).strip() if status < 500 else ""
    if not text or len(text) > MAX_MESSAGE_CHARACTERS or text.startswith(("<", "{", "[")):
        text = _phrase(status)
    wait = response.retry_after
    if wait is None:
        return RpcError(code, text)
    return RpcError(code, text, [retry_info(max(0.0, (wait - datetime.now(timezone.utc)).total_seconds()))])


def describe(error: HTTPException) -> Any:
    """Answer an HTTP exception with its description in plain text, unless the app has an error handler for it.

    This is the blueprint's error handler. Flask prefers a blueprint's handler for all HTTP exceptions to the app's, so
    the app's is called from here.
    """
    handlers = current_app.error_handler_spec[None][None]
    for error_class in type(error).__mro__:
        if error_class in handlers:
            return current_app.ensure_sync(handlers[error_class])(error)
    answer = error.get_response()
    answer.set_data(error.description or "")
    answer.content_type = "text/plain; charset=utf-8"
    return answer


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"HTTP status {status}"
