"""Plain calls: one message for another, with nothing asked beside it.

Most calls are such, and short enough to notice what is done for each. So what is known before is looked up before.
"""

from __future__ import annotations

from collections.abc import Callable

from flask_grpcweb_scm.rpc.exchange import BROWSER, OK_TRAILERS, Exchange, Reply, Server, StreamReply
from flask_grpcweb_scm.rpc.incoming import LARGE_BYTES, BodyReader, CallForm, IncomingCall, shape_of
from flask_grpcweb_scm.rpc.service import RpcMethod
from flask_grpcweb_scm.wire import ContentType, encode_prefix, encode_text

__all__ = ["call_form"]

Run = Callable[[IncomingCall], Reply | StreamReply]


def call_form(
    method: RpcMethod, content_type: ContentType, response_type: ContentType, reader: BodyReader, server: Server
) -> CallForm:
    """The form of the calls that come in one content type and are answered in another, or the same."""
    settings = server.settings
    is_unary = not (method.client_streaming or method.server_streaming)
    is_unlimited = settings.default_timeout is settings.max_timeout is settings.max_response_bytes is None
    if is_unary and is_unlimited and settings.status_header != "only":
        run = _run_plain(method, content_type, response_type, server)
    else:
        run = _run(server)
    return CallForm(method, content_type, response_type, reader, settings.max_message_bytes, run)


def _run(server: Server) -> Run:
    return lambda call: Exchange(call, server).run()


def _run_plain(method: RpcMethod, content_type: ContentType, response_type: ContentType, server: Server) -> Run:
    """Do what :class:`Exchange` does, as far as plain calls need it, and leave others to it."""
    codec = server.dispatcher.codecs[content_type.codec]
    decode, encode, request_class = codec.decode, codec.encoder(method.response_class), method.request_class
    authenticate, call_function = server.authenticate, server.dispatcher.call
    is_text = response_type.text
    max_metadata_bytes = server.settings.max_metadata_bytes
    browser_headers = [("content-type", response_type.name)]
    script_headers = [*browser_headers, ("grpc-status", "0")] if server.settings.status_header else browser_headers

    def run_plain(call: IncomingCall) -> Reply | StreamReply:
        environ = call.environ
        shape = shape_of(environ)
        if not shape.is_plain:
            return Exchange(call, server).run()
        try:
            call.check_metadata(max_metadata_bytes, shape)
            call.caller = authenticate(call)
            payload = encode(call_function(method, decode(request_class, call.message()), call))
        except Exception as error:
            return Exchange(call, server).fail(error)
        if call._initial_metadata or call._trailing_metadata or len(payload) > LARGE_BYTES:
            return Exchange(call, server).succeed(payload)
        body = b"".join((encode_prefix(0, len(payload)), payload, OK_TRAILERS))
        if is_text:
            body = encode_text(body)
        return browser_headers if BROWSER in environ else script_headers, [body]

    return run_plain
