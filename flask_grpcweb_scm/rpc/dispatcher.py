"""From a method path to the service function, through the interceptors; and to the endpoint of a protocol."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from flask_grpcweb_scm.rpc.call import Endpoint, IncomingCall, RpcProtocol, nearest_timeout
from flask_grpcweb_scm.rpc.call_settings import Authenticate, BodyReader, CallSettings, LimitStreams
from flask_grpcweb_scm.rpc.codec import codecs
from flask_grpcweb_scm.rpc.context import CallContext
from flask_grpcweb_scm.rpc.errors import RpcError, ServiceDefinitionError
from flask_grpcweb_scm.rpc.functions import Interceptor, ServiceFunction
from flask_grpcweb_scm.rpc.service import EnsureSync, Interceptors, RpcMethod, Service
from flask_grpcweb_scm.rpc.stream import call_for_stream, check_stream
from flask_grpcweb_scm.rpc.unary import check_message, intercepted, message_function
from flask_grpcweb_scm.wire import RemoteProtocolError

__all__ = ["Dispatcher", "Server"]


class Dispatcher:
    """The methods of some services, by path.

    :param interceptors: around every call, outermost first; they may grow until the first call.
    :param first: interceptors outside of those, of this app alone.
    :param max_json_depth: messages inside each other that a request in JSON may have.
    :param max_items: fields, items of lists and entries of maps that a request message may have; None for any number.
    :param ensure_sync: makes of a coroutine function one that returns its result, as ``ensure_sync`` of a Flask app.
    :raises ServiceDefinitionError: when a service is incomplete, or given twice, or its async functions cannot be run.
    """

    def __init__(
        self,
        services: Iterable[Service],
        interceptors: Interceptors | None = None,
        *,
        first: Sequence[Interceptor] = (),
        max_json_depth: int = 100,
        max_items: int | None = None,
        ensure_sync: EnsureSync | None = None,
    ) -> None:
        self.services: dict[str, Service] = {}
        self.methods: dict[str, RpcMethod] = {}
        self.codecs = codecs(max_json_depth, max_items)
        self._first = tuple(first)
        self._interceptors = interceptors or Interceptors("this extension")
        self._composed = _Composed(self._compose)
        self.functions: Mapping[RpcMethod, ServiceFunction] = self._composed
        """The service function of each method, with the interceptors around it."""
        for service in services:
            if service.name in self.services:
                raise ServiceDefinitionError(f"{service.name} is registered twice")
            self.services[service.name] = service
            for path, method in service.methods().items():
                self.methods[path] = _in_sync(method, ensure_sync) if method.is_async else method

    @property
    def guarded(self) -> Sequence[str]:
        """The paths of the methods that credentials may be needed for."""
        return [path for path, method in self.methods.items() if not method.service.is_probe]

    def call(self, method: RpcMethod, request: Any, context: CallContext) -> Any:
        """Call the service function of `method`, through the interceptors.

        :param request: a message; for a client-streaming method an iterator of messages.
        :returns: a message; for a server-streaming method an iterable, whose items are still to be checked.
        :raises Exception: whatever the function and the interceptors raise; :meth:`status_of` tells what it means.
        """
        return self.functions[method](request, context)

    def _compose(self, method: RpcMethod) -> ServiceFunction:
        interceptors = (*self._first, *self._interceptors.close(), *method.service.interceptors.close())
        if method.service.is_probe:
            interceptors = ()
        if method.server_streaming:
            return intercepted(method, functools.partial(call_for_stream, method), interceptors, check_stream)
        return intercepted(method, message_function(method), interceptors, check_message)

    @contextmanager
    def around_all(self, interceptor: Interceptor) -> Iterator[None]:
        """Run an interceptor outside of all others while the block runs: for test kits."""
        self._set_first((interceptor, *self._first))
        try:
            yield
        finally:
            self._set_first(tuple(other for other in self._first if other is not interceptor))

    def _set_first(self, first: tuple[Interceptor, ...]) -> None:
        self._first = first
        self._composed.clear()

    def status_of(self, method: RpcMethod, error: Exception) -> RpcError | None:
        """The status that an exception stands for; None when its class is not declared."""
        if isinstance(error, RpcError):
            if not hasattr(error, "details"):
                raise TypeError(f"{type(error).__qualname__}.__init__() calls no super().__init__(code, message)")
            return error
        if isinstance(error, RemoteProtocolError):
            return RpcError(error.code, error.message)
        return method.service.declared_error(error)


def _in_sync(method: RpcMethod, ensure_sync: EnsureSync | None) -> RpcMethod:
    # asyncio is slow to import, and most apps do without.
    from flask_grpcweb_scm.rpc.async_functions import in_sync

    return dataclasses.replace(method, function=in_sync(method, ensure_sync))


class _Composed(dict[RpcMethod, ServiceFunction]):
    """Service functions with their interceptors, composed when they are first looked up."""

    def __init__(self, compose: Callable[[RpcMethod], ServiceFunction]) -> None:
        self._compose = compose

    def __missing__(self, method: RpcMethod) -> ServiceFunction:
        function = self[method] = self._compose(method)
        return function


class Server:
    """Makes the endpoints of an app.

    :param authenticate: returns who is calling, or raises RpcError; None lets everybody in.
    :param translate: turns an exception that nobody declared into the status to send, and logs it.
    """

    def __init__(
        self,
        settings: CallSettings,
        dispatcher: Dispatcher,
        authenticate: Authenticate | None,
        translate: Callable[[Exception, IncomingCall], RpcError],
        reader: BodyReader,
        limit_streams: LimitStreams = lambda context: lambda: None,
    ) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._authenticate = authenticate
        self._translate = translate
        self._reader = reader
        self._limit_streams = limit_streams
        self._endpoints: dict[tuple[RpcMethod, RpcProtocol], Endpoint] = {}

    def endpoint(self, method: RpcMethod, protocol: RpcProtocol) -> Endpoint:
        """The endpoint of a method in a protocol."""
        key = method, protocol
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            codec, settings = self._dispatcher.codecs[protocol.codec], self._settings
            is_stream = method.client_streaming or method.server_streaming
            endpoint = self._endpoints[key] = Endpoint(
                method,
                protocol,
                settings,
                self._reader,
                None if method.service.is_probe else self._authenticate,
                self._limit_streams,
                codec.decode,
                codec.encoder(method.response_class),
                nearest_timeout(
                    settings.stream_timeout if is_stream else settings.default_timeout, settings.max_timeout
                ),
                self._dispatcher.functions,
                self._status_of,
            )
        return endpoint

    def _status_of(self, error: Exception, call: IncomingCall) -> RpcError:
        if isinstance(error, RemoteProtocolError) and error.is_malformed:
            return RpcError(call.endpoint.protocol.malformed, error.message)
        try:
            status = self._dispatcher.status_of(call.endpoint.method, error)
        except Exception as failed:
            # By whoever wrote the exception, or declared it: a mistake like any other.
            return self._translate(failed, call)
        return status or self._translate(error, call)
