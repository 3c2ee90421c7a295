"""Echo on servers that nobody here wrote, for our client."""

from __future__ import annotations

import contextlib
import socketserver
from collections.abc import Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import grpc
from connectrpc.code import Code
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.server import ConnectWSGIApplication, EndpointSync
from sonora.wsgi import grpcWSGI

from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest
from tests.servers import in_a_thread

ECHO = DESCRIPTOR.services_by_name["Echo"]


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name in the base class
        pass


@contextlib.contextmanager
def serving(application: Any) -> Iterator[str]:
    server = Server(("127.0.0.1", 0), Handler)
    server.set_app(application)
    with in_a_thread(server) as url:
        yield url


def sonora_app() -> Any:
    def unary(request: EchoRequest, context: Any) -> EchoReply:
        if request.text == "fail":
            context.abort(grpc.StatusCode.NOT_FOUND, "nichts da: ü%")
        context.send_initial_metadata([("x-mine", dict(context.invocation_metadata())["x-mine"])])
        context.set_trailing_metadata([("x-trailing", "a")])
        return EchoReply(text=request.text.upper())

    def stream(request: EchoRequest, context: Any) -> Iterator[EchoReply]:
        for number in range(request.count):
            yield EchoReply(number=number)
        if request.text:
            context.abort(grpc.StatusCode.DATA_LOSS, request.text)

    def missing(request: EchoRequest, context: Any) -> EchoReply:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "missing")
        raise AssertionError

    coding = {
        "request_deserializer": EchoRequest.FromString,
        "response_serializer": EchoReply.SerializeToString,
    }
    application = grpcWSGI(None)
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary, **coding),
        "ServerStream": grpc.unary_stream_rpc_method_handler(stream, **coding),
        "Missing": grpc.unary_unary_rpc_method_handler(missing, **coding),
    }
    application.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(ECHO.full_name, handlers)])
    return application


class ConnectApp(ConnectWSGIApplication):
    @property
    def path(self) -> str:
        return f"/{ECHO.full_name}"


def connect_app() -> Any:
    def unary(request: EchoRequest, context: Any) -> EchoReply:
        if request.text == "fail":
            raise ConnectError(Code.NOT_FOUND, "nichts da: ü%")
        context.response_headers["x-mine"] = context.request_headers["x-mine"]
        context.response_trailers["x-trailing"] = "a"
        return EchoReply(text=request.text.upper())

    def stream(request: EchoRequest, context: Any) -> Iterator[EchoReply]:
        for number in range(request.count):
            yield EchoReply(number=number)
        if request.text:
            raise ConnectError(Code.DATA_LOSS, request.text)

    def missing(request: EchoRequest, context: Any) -> EchoReply:
        raise ConnectError(Code.UNIMPLEMENTED, "missing")

    def method(name: str, kind: StreamType = StreamType.UNARY) -> MethodInfo[EchoRequest, EchoReply]:
        return MethodInfo(
            name=name,
            service_name=ECHO.full_name,
            input=EchoRequest,
            output=EchoReply,
            idempotency_level=IdempotencyLevel.UNKNOWN,
            stream_type=kind,
        )

    endpoints = {
        "Unary": EndpointSync.unary(method=method("Unary"), function=unary),
        "ServerStream": EndpointSync.server_stream(
            method=method("ServerStream", StreamType.SERVER_STREAM), function=stream
        ),
        "Missing": EndpointSync.unary(method=method("Missing"), function=missing),
    }
    codecs = [google_protobuf_binary_codec(), google_protobuf_json_codec()]
    return ConnectApp(
        endpoints={f"/{ECHO.full_name}/{name}": endpoint for name, endpoint in endpoints.items()}, codecs=codecs
    )
