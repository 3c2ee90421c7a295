"""The app behind nginx: Echo that fails as it is told, alone or with the headers that a host app adds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, abort, request, session
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc.error_details_pb2 import BadRequest

from flask_grpcweb_scm import CallContext, GrpcWebScm, RpcError, Service, StatusCode
from tests.apps import echo_service, know_routes
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest

PAGE = "https://page.example"
HOST_HEADERS = {
    "content-security-policy": "; ".join(["default-src 'self'", "img-src 'self' data: https://images.example"] * 6),
    "strict-transport-security": "max-age=63072000; includeSubDomains; preload",
    "x-content-type-options": "nosniff",
}
AFTER_A_MESSAGE = b"after a message"
LONG_NAME = "Long" + "name" * 700


def create_app() -> Flask:
    app = Flask(__name__)
    app.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False)
    if "HOST_HEADERS" in os.environ:
        app.config.update(SECRET_KEY="of the tests", GRPC_CORS_ORIGINS=PAGE)
        app.before_request(_log_in)
        app.after_request(_add_host_headers)
        app.before_request(_refuse)
    GrpcWebScm(services=[echo_service(Unary=_unary, ServerStream=_server_stream), _long_service()]).init_app(app)
    if "HOST_HEADERS" not in os.environ:
        know_routes(app)
    return app


def _unary(rpc_request: EchoRequest, context: CallContext) -> EchoReply:
    if text := _refusal():
        abort(401, text)
    raise _error(rpc_request)


def _server_stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    if request.data == AFTER_A_MESSAGE:
        yield EchoReply(text="first")
    raise _error(request)


def _error(request: EchoRequest) -> RpcError:
    return RpcError(StatusCode.INVALID_ARGUMENT, request.text, [violations(request.text, request.count)])


def violations(text: str, count: int) -> BadRequest:
    """As many field violations, in the language of a message."""
    description = f"{text[:40]} is not what this field takes"
    return BadRequest(
        field_violations=[
            BadRequest.FieldViolation(field=f"repositories[{number}].name", description=description)
            for number in range(count)
        ]
    )


def _long_service() -> Service:
    """A service whose only path is longer than headers of ours may be."""
    file = FileDescriptorProto(name="long.proto", package="tests.long", syntax="proto3", dependency=[DESCRIPTOR.name])
    name = f".{EchoRequest.DESCRIPTOR.full_name}"
    file.service.add(name="Long").method.add(name=LONG_NAME, input_type=name, output_type=name)
    pool = DescriptorPool()
    pool.AddSerializedFile(DESCRIPTOR.serialized_pb)
    pool.Add(file)
    descriptor: ServiceDescriptor = pool.FindServiceByName("tests.long.Long")
    service = Service(descriptor)
    service.add_rpc(LONG_NAME, lambda request, context: request)
    return service


def _log_in() -> None:
    # A cookie of about 1 kB, with every response.
    session["user"] = os.urandom(350).hex()


def _refuse() -> Any:
    """Refuses in place of an RPC, as a login would."""
    text = _refusal()
    return (text, 401) if text else None


def _refusal() -> str:
    return request.headers.get("x-refuse", "").encode("latin-1").decode()


def _add_host_headers(response: Response) -> Response:
    response.headers.update(HOST_HEADERS)
    return response
