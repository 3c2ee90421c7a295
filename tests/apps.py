"""Apps to call: the Echo service, and a host app around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask

from flask_grpcweb_scm import CallContext, GrpcWebScm, Service
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest

ECHO = "/tests.echo.v1.Echo/"


def echo_service(**functions: Callable[..., Any]) -> Service:
    """The Echo service; `functions` replace the ones of this module by method name."""
    service = Service(DESCRIPTOR.services_by_name["Echo"])
    for name in ("Unary", "ServerStream", "ClientStream", "Bidi"):
        service.add_rpc(name, functions.get(name, globals()[name]))
    service.unimplemented("Missing")
    return service


def Unary(request: EchoRequest, context: CallContext) -> EchoReply:  # noqa: N802
    return EchoReply(text=request.text.upper())


def ServerStream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:  # noqa: N802
    for number in range(request.count):
        yield EchoReply(text=request.text, number=number)


def ClientStream(requests: Iterator[EchoRequest], context: CallContext) -> EchoReply:  # noqa: N802
    return EchoReply(text=",".join(request.text for request in requests))


def Bidi(requests: Iterator[EchoRequest], context: CallContext) -> Iterator[EchoReply]:  # noqa: N802
    for number, request in enumerate(requests):
        yield EchoReply(text=request.text, number=number)


def echo_app(
    *, extension: GrpcWebScm | None = None, prepare: Callable[[Flask], None] | None = None, **options: Any
) -> Flask:
    """An app that serves Echo. `options` in capitals are configuration, the others service functions.

    :param prepare: called with the app before the extension.
    """
    app = Flask(__name__)
    app.testing = True
    app.config["GRPC_SCM"] = False
    app.config.update({key: value for key, value in options.items() if key.isupper()})
    if prepare:
        prepare(app)
    functions = {key: value for key, value in options.items() if not key.isupper()}
    extension = extension or GrpcWebScm(services=[echo_service(**functions)])
    extension.init_app(app)
    return app
