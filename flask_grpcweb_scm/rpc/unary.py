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

__all__ = ["check_message", "intercepted", "message_function", "serve_unary"]

CheckResponse = Callable[[RpcMethod, object, Interceptor], None]
"""Raises ResponseTypeError for what an interceptor may not return."""


def serve_unary(call: IncomingCall) -> Reply:
    """Serve a unary or client-streaming call. Raises no exception of the call's making."""
    endpoint = call.endpoint
    method, decode, encode = endpoint.method, endpoint.decode, endpoint.encode
    try:
        # The headers first: compression, timeout, metadata, and who is calling.
        call.open()
        request = call.requests() if method.client_streaming else decode(method.request_class, call.message())
        # The function is intercepted(), and ends in that of message_function().
        response = endpoint.functions[method](request, call)
        return endpoint.protocol.success(call, encode(response))
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


def message_function(method: RpcMethod) -> ServiceFunction:
    """The service function of a method that has one response, held to its deadline and to the class of its response.

    It raises RpcError with DEADLINE_EXCEEDED, also for a response that comes too late, and ResponseTypeError for a
    response of another class.
    """
    function, response_class = method.function, method.response_class

    def call_in_time(request: Any, context: CallContext) -> Any:
        deadline = context.deadline
        if deadline is not None and monotonic() >= deadline:
            context.check_deadline()
        response = function(request, context)
        deadline = context.deadline  # the function may have moved it
        if deadline is not None and monotonic() >= deadline:
            context.check_deadline()
        if not isinstance(response, response_class):
            raise method.wrong_type(response)
        return response

    return call_in_time
