"""Apps whose console is opened: every kind of field, hostile names and comments, and thousands of methods."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from flask import Flask
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2

from flask_grpcweb_scm import CallContext, GrpcWebScm, RpcError, Service, StatusCode
from tests import every_field_pb2
from tests.apps import echo_service, lookup_service
from tests.echo_pb2 import EchoReply, EchoRequest

__all__ = ["FEW", "HOSTILE", "MANY", "create_app"]

HOSTILE = '<img src=x onerror="globalThis.broken = 1"><script>globalThis.broken = 1</script>'
FEW, MANY = 20, 2000
"""Methods of the app, beside those that do something. Pages that list many take long to draw and to examine."""
OBJECT_NAMES = {
    "constructor": "constructor",
    "proto": "__proto__",
    "valueOf": "valueOf",
    "isPrototypeOf": "isPrototypeOf",
}


def create_app(folder: Path, methods: int = FEW) -> Flask:
    """The app; the console is at `/tools/grpc`, and calls are below `/rpc`."""
    app = Flask(__name__)
    app.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False, GRPC_CONSOLE="/tools/grpc", GRPC_URL_PREFIX="/rpc")
    comments = folder / "comments.binpb"
    comments.write_bytes(FileDescriptorSet(file=[many_methods(methods)]).SerializeToString())
    app.config["GRPC_DESCRIPTOR_SETS"] = str(comments)
    mirror = Service(every_field_pb2.DESCRIPTOR.services_by_name["Mirror"])
    mirror.add_rpc("Reflect", reflect)
    echo = echo_service(Unary=unary, ServerStream=server_stream, ClientStream=client_stream, Bidi=bidi)
    echo.example("Unary", EchoRequest(text=HOSTILE), title=HOSTILE)
    GrpcWebScm(app, services=[mirror, echo, lookup_service(unary), *many_services(methods)])
    return app


def reflect(request: every_field_pb2.EveryField, context: CallContext) -> every_field_pb2.EveryField:
    return request


def unary(request: EchoRequest, context: CallContext) -> EchoReply:
    if request.text == "fail":
        # A name that is in no file of the service.
        details = [error_details_pb2.ErrorInfo(reason=HOSTILE, domain="example", metadata={"a": "b"})]
        raise RpcError(StatusCode.NOT_FOUND, f"größer: {HOSTILE}", details)
    context.trailing_metadata.add("x-trailing", "yes")
    return EchoReply(text=request.text, number=request.count)


def server_stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    for number in range(request.count):
        yield EchoReply(text=request.text, number=number)
    if request.text == "wait":
        while True:
            time.sleep(0.05)
            yield EchoReply(text="wait")


def client_stream(requests: Iterator[EchoRequest], context: CallContext) -> EchoReply:
    return EchoReply(text=" ".join(request.text for request in requests))


def bidi(requests: Iterator[EchoRequest], context: CallContext) -> Iterator[EchoReply]:
    for request in requests:
        yield EchoReply(text=request.text)


def many_methods(count: int) -> FileDescriptorProto:
    """A file that no compiler has seen, with comments of an attacker."""
    file = FileDescriptorProto(name="many.proto", package="many", syntax="proto3")
    request = file.message_type.add(name="Request")
    request.oneof_decl.add(name="toString")
    # Names that every object of JavaScript has.
    for number, (name, json_name) in enumerate(OBJECT_NAMES.items(), 1):
        request.field.add(name=name, json_name=json_name, number=number, label=1, type=9)
    request.field[-1].oneof_index = 0
    for index in range(10):
        service = file.service.add(name=f"Service{index}")
        for number in range(count // 10):
            service.method.add(name=f"Method{number}", input_type=".many.Request", output_type=".many.Request")
        for path in ([6, index], [6, index, 2, 0]):
            file.source_code_info.location.add(path=path, span=[1, 1, 1], leading_comments=f" {HOSTILE}\n")
    file.source_code_info.location.add(path=[4, 0, 2, 0], span=[1, 1, 1], leading_comments=f" {HOSTILE}\n")
    return file


def many_services(methods: int) -> Iterator[Service]:
    file = many_methods(methods)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    for each in file.service:
        service = Service(pool.FindServiceByName(f"many.{each.name}"))
        service.unimplemented(*(method.name for method in each.method))
        yield service
