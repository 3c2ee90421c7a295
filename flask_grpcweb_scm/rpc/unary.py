"""The whole way of a call with one response."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from time import monotonic
from typing import Any

from flask_grpcweb_scm.rpc.call import IncomingCall, Reply
from flask_grpcweb_scm.rpc.context import CallContext
from flask_grpcweb_scm.rpc.functions import CallNext, Interceptor, ServiceFunction
from flask_grpcweb_scm.rpc.service import RpcMethod

__all__ = ["call_for_message", "intercepted", "serve_unary"]


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


def intercepted(function: ServiceFunction, interceptors: Sequence[Interceptor]) -> ServiceFunction:
    """Put interceptors around a service function; the first one is the outermost."""
    for interceptor in reversed(interceptors):
        function = functools.partial(_intercept, interceptor, function)
    return function


def _intercept(interceptor: Interceptor, call_next: CallNext, request: Any, context: CallContext) -> Any:
    return interceptor(request, context, call_next)


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
