"""Expected errors of calls, and records of them: contexts, requests, responses and errors."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from flask import Flask
from google.protobuf.message import Message

from flask_grpcweb_scm.rpc import CallContext, CalledMethod, RpcError
from flask_grpcweb_scm.wire import StatusCode

__all__ = ["ExpectedError", "RecordedCall", "RecordingInterceptor", "assert_rpc_error", "recording"]


def assert_rpc_error(code: StatusCode | int, match: str = "") -> ExpectedError:
    """Assert that a block ends with an RpcError: of a service function that it calls, or of a client.

    :param match: a regular expression to find in the message.
    :raises AssertionError: at the end of a block without an error, or with another status or message.
    """
    return ExpectedError(StatusCode(code), match)


class ExpectedError:
    """The context manager of :func:`assert_rpc_error`."""

    def __init__(self, code: StatusCode, match: str) -> None:
        self._code = code
        self._match = match
        self._error: RpcError | None = None

    @property
    def value(self) -> RpcError:
        """The error, after the block; from a client a :class:`~flask_grpcweb_scm.client.CallError`, with metadata."""
        assert self._error is not None, "the block has not ended yet"
        return self._error

    def __enter__(self) -> ExpectedError:
        return self

    # Not `bool | None`: type checkers would consider code after a block that always raises unreachable.
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is None:
            raise AssertionError(f"expected {self._code.name}, got no error")
        if not isinstance(error, RpcError):
            return False
        if error.code is not self._code:
            raise AssertionError(f"expected {self._code.name}, got {error}") from error
        if re.search(self._match, error.message) is None:
            raise AssertionError(f"the message {error.message!r} does not match {self._match!r}") from error
        self._error = error
        return True


@dataclass(slots=True)
class RecordedCall:
    """A recorded call, complete once it has ended."""

    context: CallContext
    requests: list[Message] = field(default_factory=list)
    responses: list[Message] = field(default_factory=list)
    error: Exception | None = None
    """The exception of the service function, or of an interceptor inside of this one."""

    @property
    def path(self) -> str:
        """``/package.Service/Method``."""
        return _method(self.context).path

    @property
    def request(self) -> Message:
        """The only request."""
        (request,) = self.requests
        return request

    @property
    def response(self) -> Message:
        """The only response."""
        (response,) = self.responses
        return response


class RecordingInterceptor:
    """An interceptor that appends every call to `calls`, and changes none."""

    def __init__(self) -> None:
        self.calls: list[RecordedCall] = []

    def __call__(self, request: Any, context: CallContext, call_next: Any) -> Any:
        """Record a call."""
        call = RecordedCall(context)
        self.calls.append(call)
        method = _method(context)
        if method.client_streaming:
            request = _kept(request, call.requests)
        else:
            call.requests.append(request)
        with _keeping_error(call):
            response = call_next(request, context)
        if method.server_streaming:
            return _responses(response, call)
        call.responses.append(response)
        return response


@contextlib.contextmanager
def recording(app: Flask) -> Iterator[RecordingInterceptor]:
    """Record the calls to an app during the block, outside of all other interceptors."""
    recorder = RecordingInterceptor()
    with app.extensions["grpcweb_scm"].dispatcher.around_all(recorder):
        yield recorder


def _method(context: CallContext) -> CalledMethod:
    assert context.method is not None
    return context.method


def _responses(responses: Iterable[Message], call: RecordedCall) -> Iterator[Message]:
    with _keeping_error(call), contextlib.ExitStack() as stack:
        close = getattr(responses, "close", None)
        if close is not None:
            stack.callback(close)
        yield from _kept(responses, call.responses)


def _kept(messages: Iterable[Message], kept: list[Message]) -> Iterator[Message]:
    for message in messages:
        kept.append(message)
        yield message


@contextlib.contextmanager
def _keeping_error(call: RecordedCall) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        call.error = error
        raise
