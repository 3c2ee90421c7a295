"""Endpoints of an app, and the checks that come before a service function."""

from __future__ import annotations

from collections.abc import Callable

from flask_grpcweb_scm.rpc.call import (
    Authenticate,
    BodyReader,
    CallSettings,
    Endpoint,
    IncomingCall,
    RpcProtocol,
    header_profile,
)
from flask_grpcweb_scm.rpc.dispatcher import Dispatcher
from flask_grpcweb_scm.rpc.errors import RpcError
from flask_grpcweb_scm.rpc.service import RpcMethod
from flask_grpcweb_scm.wire import find_encoding, parse_timeout

__all__ = ["Server", "open_call"]


class Server:
    """Makes the endpoints of an app.

    :param authenticate: returns who is calling, or raises RpcError.
    :param translate: turns an exception that nobody declared into the status to send, and logs it.
    """

    def __init__(
        self,
        settings: CallSettings,
        dispatcher: Dispatcher,
        authenticate: Authenticate,
        translate: Callable[[Exception, IncomingCall], RpcError],
        reader: BodyReader,
    ) -> None:
        self._settings = settings
        self._dispatcher = dispatcher
        self._authenticate = authenticate
        self._translate = translate
        self._reader = reader
        self._endpoints: dict[tuple[RpcMethod, RpcProtocol], Endpoint] = {}

    def endpoint(self, method: RpcMethod, protocol: RpcProtocol) -> Endpoint:
        """The endpoint of a method in a protocol."""
        key = method, protocol
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            codec = self._dispatcher.codecs[protocol.codec]
            endpoint = self._endpoints[key] = Endpoint(
                method,
                protocol,
                self._settings,
                self._reader,
                self._authenticate,
                codec.decode,
                codec.encoder(method.response_class),
                self._dispatcher.functions,
                self._status_of,
            )
        return endpoint

    def _status_of(self, error: Exception, call: IncomingCall) -> RpcError:
        return self._dispatcher.status_of(call.endpoint.method, error) or self._translate(error, call)


def open_call(call: IncomingCall) -> None:
    """Check the headers of a call: compression, timeout, metadata, and who is calling.

    :raises RemoteProtocolError: for a header that is malformed, unsupported or over a limit.
    :raises RpcError: when the deadline has passed, or the caller may not call.
    """
    environ, settings = call.environ, call.endpoint.settings
    profile = header_profile(environ)
    timeout = settings.default_timeout
    if profile.has_options:
        find_encoding(environ.get("HTTP_GRPC_ENCODING"))
        text = environ.get("HTTP_GRPC_TIMEOUT")
        if text is not None:
            timeout = parse_timeout(text.strip())
    if settings.max_timeout is not None:
        timeout = settings.max_timeout if timeout is None else min(timeout, settings.max_timeout)
    call.check_metadata(profile)
    if timeout is not None:
        call.set_timeout(timeout)
        call.check_deadline()
    call.caller = call.endpoint.authenticate(call)
