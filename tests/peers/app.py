"""The app that the peers call."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from flask import Flask

from flask_grpcweb_scm import CallContext, GrpcWebScm, RpcError, StatusCode
from tests.apps import echo_app, echo_service, lookup_service
from tests.echo_pb2 import EchoReply, EchoRequest


def unary(request: EchoRequest, context: CallContext) -> EchoReply:
    if request.text == "fail":
        raise RpcError(StatusCode.NOT_FOUND, "nichts da: ü%", [EchoReply(text="detail")])
    for name, value in context.metadata:
        if name.startswith("x-mine"):
            context.initial_metadata.add(name, value)
            context.trailing_metadata.add(name.replace("mine", "trailing"), value)
    return EchoReply(text=request.text.upper(), number=round(context.remaining() or 0))


def stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    for number in range(request.count):
        yield EchoReply(number=number)
    while request.data == b"slow":
        time.sleep(0.05)
        yield EchoReply()
    if request.text:
        raise RpcError(StatusCode.DATA_LOSS, request.text)


def create_app() -> Flask:
    status_header = os.environ.get("STATUS_HEADER", "true")
    services = [echo_service(Unary=unary, ServerStream=stream), lookup_service(unary)]
    return echo_app(
        extension=GrpcWebScm(services=services),
        GRPC_COMPRESSION_MIN_BYTES=0,
        GRPC_STATUS_HEADER=status_header,
        GRPC_DEFAULT_TIMEOUT=None,
        GRPC_HEALTH=True,
        GRPC_REFLECTION=True,
    )


# For pyvoy, which calls no function for its app.
app = create_app()
