"""The types of service functions, one for each kind of method, and of interceptors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

from flask_grpcweb_scm.rpc.context import CallContext

__all__ = [
    "BatchedBidirectionalFunction",
    "BatchedServerStreamingFunction",
    "BidirectionalFunction",
    "CallNext",
    "ClientStreamingFunction",
    "Interceptor",
    "ServerStreamingFunction",
    "ServiceFunction",
    "UnaryFunction",
]

Request = TypeVar("Request")
Response = TypeVar("Response")

# The decorators of generated code take these, with the messages of a method.
UnaryFunction = Callable[[Request, CallContext], Response | Awaitable[Response]]
ServerStreamingFunction = Callable[[Request, CallContext], Iterator[Response] | AsyncIterator[Response]]
ClientStreamingFunction = (
    Callable[[Iterator[Request], CallContext], Response]
    | Callable[[AsyncIterator[Request], CallContext], Awaitable[Response]]
)
BidirectionalFunction = (
    Callable[[Iterator[Request], CallContext], Iterator[Response]]
    | Callable[[AsyncIterator[Request], CallContext], AsyncIterator[Response]]
)
# With batch=True, when any iterable will do.
BatchedServerStreamingFunction = Callable[
    [Request, CallContext], Iterable[Response] | AsyncIterator[Response] | Awaitable[Iterable[Response]]
]
BatchedBidirectionalFunction = (
    Callable[[Iterator[Request], CallContext], Iterable[Response]]
    | Callable[[AsyncIterator[Request], CallContext], AsyncIterator[Response] | Awaitable[Iterable[Response]]]
)

# Of any method: a request or an iterator of requests comes in, a response or an iterator of responses goes out. The
# types depend on the method's descriptor, which a static type cannot follow.
ServiceFunction = Callable[[Any, CallContext], Any]
CallNext = Callable[[Any, CallContext], Any]
"""The last argument of an interceptor: takes the request and the context, and calls what is inside of it."""
Interceptor = Callable[[Any, CallContext, CallNext], Any]
