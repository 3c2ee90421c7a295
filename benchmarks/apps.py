"""The variants: one unary and one server-streaming method, served in every way there is.

Each function takes what the service functions answer and returns a WSGI application: ``ListRepositories`` answers the
message it is given, ``ServerStream`` the number of messages that the request asks for.
"""

from __future__ import annotations

import base64
import functools
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Flask, Response, jsonify, request
from flask_cors import CORS
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import Message

from benchmarks.protobuf_py import generated
from benchmarks.wsgi import TEXT, Wsgi
from flask_grpcweb_scm import GrpcWebScm, Service
from flask_grpcweb_scm.pb import scm_pb2
from tests import echo_pb2

__all__ = [
    "CORS_KEYS", "LIST", "ORIGIN", "STREAM", "UPLOAD", "all_ways", "bare_wsgi", "blueprint", "connectrpc",
    "connectrpc_protobuf_py", "fast_lane", "flask_jsonify", "flask_view", "grpc_handlers", "repositories", "sonora",
    "with_cors",
]  # fmt: skip

LIST = "/sentry.integrations.scm.v1.ScmService/ListRepositories"
STREAM = "/tests.echo.v1.Echo/ServerStream"
UPLOAD = "/tests.echo.v1.Echo/Unary"
ORIGIN = "https://app.example.com"
CORS_KEYS = {"GRPC_CORS_ORIGINS": [ORIGIN]}
OK_TRAILERS = struct.pack("!BI", 0x80, 16) + b"grpc-status: 0\r\n"

_PREFIX = struct.Struct("!BI")


def repositories(count: int) -> scm_pb2.ListRepositoriesResponse:
    """A page of repositories, about 110 bytes each."""
    return scm_pb2.ListRepositoriesResponse(
        repositories=[
            scm_pb2.Repository(
                id=number,
                organization_id=1,
                name=f"example/repository-{number:06}",
                provider=scm_pb2.PROVIDER_GITHUB,
                external_id=str(10_000_000 + number),
                url=f"https://github.com/example/repository-{number:06}",
            )
            for number in range(1, count + 1)
        ]
    )


def _unframe(body: bytes, content_type: str) -> bytes:
    if content_type == TEXT:
        body = base64.b64decode(body)
    _, length = _PREFIX.unpack_from(body)
    return body[5 : 5 + length]


def _frame(payload: bytes, content_type: str) -> bytes:
    body = _PREFIX.pack(0, len(payload)) + payload + OK_TRAILERS
    return base64.b64encode(body) if content_type == TEXT else body


def _stream(message: echo_pb2.EchoRequest, content_type: str) -> Iterator[bytes]:
    wrap: Callable[[bytes], bytes] = base64.b64encode if content_type == TEXT else bytes
    for number in range(message.count):
        payload = echo_pb2.EchoReply(number=number).SerializeToString()
        yield wrap(_PREFIX.pack(0, len(payload)) + payload)
    yield wrap(OK_TRAILERS)


def bare_wsgi(answer: Message) -> Wsgi:
    """Nothing but what the load needs: the floor."""

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        content_type = environ["CONTENT_TYPE"]
        payload = _unframe(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])), content_type)
        if environ["PATH_INFO"] == LIST:
            scm_pb2.ListRepositoriesRequest.FromString(payload)
            body = _frame(answer.SerializeToString(), content_type)
        elif environ["PATH_INFO"] == UPLOAD:
            echo_pb2.EchoRequest.FromString(payload)
            body = _frame(echo_pb2.EchoReply(text="ok").SerializeToString(), content_type)
        else:
            start_response("200 OK", [("content-type", content_type)])
            return _stream(echo_pb2.EchoRequest.FromString(payload), content_type)
        start_response("200 OK", [("content-type", content_type), ("content-length", str(len(body)))])
        return [body]

    return application


def flask_view(answer: Message) -> Flask:
    """A Flask view for one method, written by hand: the reference."""
    app = Flask("flask_view")

    @app.post(LIST)
    def list_repositories() -> Response:
        content_type = request.content_type or ""
        scm_pb2.ListRepositoriesRequest.FromString(_unframe(request.get_data(), content_type))
        return Response(_frame(answer.SerializeToString(), content_type), content_type=content_type)

    @app.post(UPLOAD)
    def unary() -> Response:
        content_type = request.content_type or ""
        echo_pb2.EchoRequest.FromString(_unframe(request.get_data(), content_type))
        reply = echo_pb2.EchoReply(text="ok")
        return Response(_frame(reply.SerializeToString(), content_type), content_type=content_type)

    @app.post(STREAM)
    def stream() -> Response:
        content_type = request.content_type or ""
        message = echo_pb2.EchoRequest.FromString(_unframe(request.get_data(), content_type))
        return Response(_stream(message, content_type), content_type=content_type)

    return app


def with_cors(view: Flask, *, credentials: bool = False) -> Flask:
    """Put Flask-CORS around a view, for pages of :data:`ORIGIN`."""
    CORS(view, origins=[ORIGIN], methods=["POST"], max_age=600, supports_credentials=credentials)
    return view


def flask_jsonify(count: int) -> Flask:
    """The same page as a REST API has it."""
    app = Flask("flask_jsonify")
    fields = ("id", "organization_id", "name", "provider", "external_id", "url")
    rows = [{name: getattr(one, name) for name in fields} for one in repositories(count).repositories]

    @app.post(LIST)
    def list_repositories() -> Response:
        request.get_data()
        return jsonify(repositories=rows)

    return app


def services(
    answer: Message,
    *,
    list_repositories: Any = None,
    stream: Any = None,
    batch: bool = False,
    more_methods: int = 0,
) -> list[Service]:
    """Our services; functions replace those that answer with `answer` and with what the request asks for."""
    scm = Service(scm_pb2.DESCRIPTOR.services_by_name["ScmService"])
    scm.add_rpc("ListRepositories", list_repositories or (lambda message, context: answer))
    scm.unimplemented(*(method.name for method in scm.descriptor.methods if method.name != "ListRepositories"))
    echo = Service(echo_pb2.DESCRIPTOR.services_by_name["Echo"])
    echo.add_rpc("Unary", lambda message, context: echo_pb2.EchoReply(text="ok"))
    echo.add_rpc("ServerStream", stream or _replies, batch=batch)
    echo.unimplemented("ClientStream", "Bidi", "Missing")
    return [_large_service(more_methods), scm, echo] if more_methods else [scm, echo]


def _large_service(count: int) -> Service:
    file = descriptor_pb2.FileDescriptorProto(name="large.proto", package="large", dependency=["tests/echo.proto"])
    proto = file.service.add(name="Large")
    for number in range(count):
        proto.method.add(
            name=f"Method{number}", input_type=".tests.echo.v1.EchoRequest", output_type=".tests.echo.v1.EchoReply"
        )
    file.dependency[:] = [echo_pb2.DESCRIPTOR.name]
    pool = descriptor_pool.Default()
    pool.Add(file)
    service = Service(pool.FindServiceByName("large.Large"))
    service.unimplemented(*(method.name for method in service.descriptor.methods))
    return service


def _replies(message: echo_pb2.EchoRequest, context: object) -> Iterator[echo_pb2.EchoReply]:
    for number in range(message.count):
        yield echo_pb2.EchoReply(number=number)


def blueprint(answer: Message, **options: Any) -> Flask:
    """This package, through all of Flask."""
    return fast_lane(answer, GRPC_FAST_LANE=False, **options)


def fast_lane(answer: Message, **options: Any) -> Flask:
    """This package as it comes. Options in capitals are configuration, the others those of :func:`services`."""
    app = Flask("ours")
    app.config.update(GRPC_SCM=False, TESTING=True)
    app.config.update({key: value for key, value in options.items() if key.isupper()})
    functions = {key: value for key, value in options.items() if not key.isupper()}
    GrpcWebScm(app, services=services(answer, **functions))
    app.testing = False
    return app


def all_ways(answer: Message, **options: Any) -> dict[str, Wsgi]:
    """Every variant that answers all of these methods; options are those of :func:`fast_lane`."""
    return {
        "bare WSGI": bare_wsgi(answer),
        "Flask view": flask_view(answer).wsgi_app,
        "sonora": sonora(answer),
        "connectrpc": connectrpc(answer),
        "connectrpc, protobuf-py": connectrpc_protobuf_py(answer),
        "blueprint": blueprint(answer, **options).wsgi_app,
        "fast lane": fast_lane(answer, **options).wsgi_app,
    }


def sonora(answer: Message) -> Wsgi:
    """The peer sonora, beside the app."""
    from sonora.wsgi import grpcWSGI

    application = grpcWSGI(None)
    application.add_generic_rpc_handlers(grpc_handlers(answer))
    return application  # type: ignore[no-any-return]


def grpc_handlers(answer: Message) -> tuple[Any, ...]:
    """The methods as grpcio knows them, for its own server and for sonora."""
    import grpc

    def handlers(prefix: str, **methods: Any) -> Any:
        return grpc.method_handlers_generic_handler(prefix.strip("/").partition("/")[0], methods)

    scm = grpc.unary_unary_rpc_method_handler(
        lambda message, context: answer,
        scm_pb2.ListRepositoriesRequest.FromString,
        scm_pb2.ListRepositoriesResponse.SerializeToString,
    )
    unary = grpc.unary_unary_rpc_method_handler(
        lambda message, context: echo_pb2.EchoReply(text="ok"),
        echo_pb2.EchoRequest.FromString,
        echo_pb2.EchoReply.SerializeToString,
    )
    stream = grpc.unary_stream_rpc_method_handler(
        _replies, echo_pb2.EchoRequest.FromString, echo_pb2.EchoReply.SerializeToString
    )
    return handlers(LIST, ListRepositories=scm), handlers(STREAM, Unary=unary, ServerStream=stream)


def connectrpc(answer: Message) -> Wsgi:
    """The peer connectrpc, beside the app, with the messages of google.protobuf that all other variants have."""
    from connectrpc.compat import google_protobuf_codecs

    return _connectrpc(answer, scm_pb2, echo_pb2, google_protobuf_codecs())


def connectrpc_protobuf_py(answer: Message) -> Wsgi:
    """The same as its documentation has it: messages and codecs of protobuf-py."""
    from connectrpc.codec import proto_binary_codec, proto_json_codec

    scm, echo = generated(scm_pb2.DESCRIPTOR), generated(echo_pb2.DESCRIPTOR)
    page = scm.ListRepositoriesResponse.from_binary(answer.SerializeToString())
    return _connectrpc(page, scm, echo, [proto_binary_codec(), proto_json_codec()])


def _connectrpc(answer: Any, scm: Any, echo: Any, codecs: list[Any]) -> Wsgi:
    """The application for the messages in two modules, of either implementation."""
    from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
    from connectrpc.server import ConnectWSGIApplication, EndpointSync

    class Application(ConnectWSGIApplication):
        @property
        def path(self) -> str:
            return ""

    def method(path: str, request_class: Any, response_class: Any, kind: StreamType) -> MethodInfo[Any, Any]:
        service, name = path.strip("/").split("/")
        return MethodInfo(
            name=name, service_name=service, input=request_class, output=response_class,
            idempotency_level=IdempotencyLevel.UNKNOWN, stream_type=kind,
        )  # fmt: skip

    def replies(message: Any, context: object) -> Iterator[Any]:
        for number in range(message.count):
            yield echo.EchoReply(number=number)

    echo_method = functools.partial(method, request_class=echo.EchoRequest, response_class=echo.EchoReply)
    endpoints = {
        LIST: EndpointSync.unary(
            method=method(LIST, scm.ListRepositoriesRequest, scm.ListRepositoriesResponse, StreamType.UNARY),
            function=lambda message, context: answer,
        ),
        UPLOAD: EndpointSync.unary(
            method=echo_method(UPLOAD, kind=StreamType.UNARY),
            function=lambda message, context: echo.EchoReply(text="ok"),
        ),
        STREAM: EndpointSync.server_stream(method=echo_method(STREAM, kind=StreamType.SERVER_STREAM), function=replies),
    }
    return Application(endpoints=endpoints, codecs=codecs, compressions=[], read_max_bytes=None)
