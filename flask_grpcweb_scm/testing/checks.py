"""Records of the calls of an app: contexts, requests, responses and errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from google.protobuf.message import Message

from flask_grpcweb_scm.rpc import CallContext, CalledMethod

__all__ = ["RecordedCall", "RecordingInterceptor", "recording"]


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
