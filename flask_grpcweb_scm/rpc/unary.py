"""The whole way of a call with one response."""

from __future__ import annotations

from typing import Any

from flask_grpcweb_scm.rpc.call import IncomingCall, Reply
from flask_grpcweb_scm.rpc.server import open_call

__all__ = ["serve_unary"]


def serve_unary(call: IncomingCall) -> Reply:
    """Serve a unary or client-streaming call. Raises no exception of the call's making."""
    endpoint = call.endpoint
    method = endpoint.method
    try:
        open_call(call)
        if method.client_streaming:
            request: Any = call.requests()
        else:
            request = endpoint.decode(method.request_class, call.message())
        response = endpoint.functions[method](request, call)
        return endpoint.protocol.success(call, endpoint.encode(response))
    except Exception as error:
        call.status = endpoint.status_of(error, call)
        return endpoint.protocol.failure(call, call.status)
