"""The whole way of a call with one response."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from flask_grpcweb_scm.rpc.call import IncomingCall, Reply
from flask_grpcweb_scm.rpc.context import CallContext
from flask_grpcweb_scm.rpc.functions import CallNext, Interceptor, ServiceFunction
from flask_grpcweb_scm.rpc.service import RpcMethod

__all__ = ["call_for_message", "check_message", "intercepted", "serve_unary"]

CheckResponse = Callable[[RpcMethod, object, Interceptor], None]
"""Raises ResponseTypeError for what an interceptor may not return."""


def serve_unary(call: IncomingCall) -> Reply:
    """Serve a unary or client-streaming call. Raises no exception of the call's making."""
    endpoint = call.endpoint
    try:
        # The headers first: compression, timeout, metadata, and who is calling.
        call.open()
        # The function is intercepted(), and ends in call_for_message().
        response = endpoint.functions[endpoint.method](call.request(), call)
        return endpoint.protocol.success(call, endpoint.encode(response))
    except Exception as error:
        call.status = endpoint.status_of(error, call)
        return endpoint.protocol.failure(call, call.status)


def intercepted(
    method: RpcMethod, function: ServiceFunction, interceptors: Sequence[Interceptor], check: CheckResponse
) -> ServiceFunction:
    """Put interceptors around a service function; the first one is the outermost.

    :param check: of what each of them returns, so that those around it see a refusal as an exception.
    """
    for interceptor in reversed(interceptors):
        function = functools.partial(_intercept, method, check, interceptor, function)
    return function


def _intercept(
    method: RpcMethod,
    check: CheckResponse,
    interceptor: Interceptor,
    call_next: CallNext,
    request: Any,
    context: CallContext,
) -> Any:
    response = interceptor(request, context, call_next)
    check(method, response, interceptor)
    return response


def check_message(method: RpcMethod, response: object, interceptor: Interceptor | None = None) -> None:
    """Check that a response is a message of the right class.

    :raises ResponseTypeError: when it is not.
    """
    if not isinstance(response, method.response_class):
        raise method.wrong_type(response, interceptor)


def call_for_message(method: RpcMethod, request: Any, context: CallContext) -> Any:
    """Call the service function of a method that has one response, in time and of the right class.

    :raises RpcError: DEADLINE_EXCEEDED, also for a response that comes too late.
    :raises ResponseTypeError: for a response of another class.
    """
    deadline = context.deadline
    if deadline is not None and monotonic() >= deadline:
        context.check_deadline()
    response = method.function(request, context)
    deadline = context.deadline  # the function may have moved it
    if deadline is not None and monotonic() >= deadline:
        context.check_deadline()
    if not isinstance(response, method.response_class):
        raise method.wrong_type(response)
    return response
