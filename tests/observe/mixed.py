"""A mixed run: an app whose calls end in every way, the requests for it, and what their client counts."""

from __future__ import annotations

import contextlib
import http.client
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, abort, after_this_request, request
from google.protobuf.message import Message

from flask_grpcweb_scm import CallContext, GrpcWebScm, Identity, RpcError, StatusCode
from tests.apps import ECHO, echo_service, know_routes
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import PROTO, body_of, read

__all__ = ["CASES", "HOOKED_CASES", "Case", "create_app", "hooked_app", "in_process", "mixed_app", "over_http"]


def act(text: str) -> None:
    """Do what the text of a request says."""
    if text == "not found":
        raise RpcError(StatusCode.NOT_FOUND, "there is none")
    if text == "crash":
        raise ZeroDivisionError("crash of a service function")
    if text == "abort":
        abort(409)
    if text == "replaced":
        after_this_request(lambda response: Response("later", 503))


def unary(message: EchoRequest, context: CallContext) -> EchoReply:
    act(message.text)
    return EchoReply(text=message.text)


def server_stream(message: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    for number in range(message.count):
        yield EchoReply(number=number)
    act(message.text)


def client_stream(messages: Iterator[EchoRequest], context: CallContext) -> EchoReply:
    for message in messages:
        act(message.text)
    return EchoReply()


def bidi(messages: Iterator[EchoRequest], context: CallContext) -> Iterator[EchoReply]:
    for message in messages:
        act(message.text)
        yield EchoReply(text=message.text)


FUNCTIONS = {"Unary": unary, "ServerStream": server_stream, "ClientStream": client_stream, "Bidi": bidi}


def identify(context: CallContext) -> Identity:
    if context.metadata.get_text("x-stranger"):
        raise RpcError(StatusCode.UNAUTHENTICATED, "nobody knows you")
    return Identity("alice")


def mixed_app(**config: Any) -> Flask:
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.update(
        GRPC_SCM=False,
        GRPC_RATE_LIMITS={"tests.echo.v1.Echo/Missing": "1/day"},
        GRPC_MAX_STREAMS=100,
        **config,
    )
    GrpcWebScm(services=[echo_service(**FUNCTIONS)], authenticate=identify).init_app(app)
    return app


def hooked_app(**config: Any) -> Flask:
    """The same with hooks, which take every call out of the fast lane."""
    app = mixed_app(GRPC_CORS_ORIGINS=["https://app.example"], GRPC_CORS_CREDENTIALS=True, **config)
    app.before_request(lambda: abort(401) if "x-hook" in request.headers else None)
    app.before_request(lambda: _in_grpc_web(16) if "x-grpc-hook" in request.headers else None)
    app.after_request(lambda response: Response("no", 403) if "x-after" in request.headers else response)
    return app


def _in_grpc_web(code: int) -> Response:
    """The response of a hook that knows gRPC-Web."""
    headers = {"grpc-status": str(code), "grpc-message": "log%20in"}
    return Response(headers=headers, content_type="application/grpc-web+proto")


@dataclass(frozen=True)
class Case:
    """A request, and the status that its client sees.

    :param messages: that are received and sent, as far as this is for sure.
    :param pieces: after which the client goes away; None for never.
    """

    name: str
    path: str
    code: StatusCode
    messages: tuple[int, int]
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    verb: str = "POST"
    pieces: int | None = None

    @property
    def label(self) -> str:
        """The path of the method, as far as there is one."""
        return "" if "Misspelt" in self.path else self.path


def _case(
    name: str, method: str, code: StatusCode, counts: tuple[int, int], *messages: Message, **options: Any
) -> Case:
    headers = {"content-type": PROTO, **options.pop("headers", {})}
    return Case(name, ECHO + method, code, counts, body_of(*messages), headers, **options)


HI, MISSING, CRASH = EchoRequest(text="hi"), EchoRequest(text="not found"), EchoRequest(text="crash")
OK, NOT_FOUND, INTERNAL = StatusCode.OK, StatusCode.NOT_FOUND, StatusCode.INTERNAL

CASES = [
    _case("unary", "Unary", OK, (1, 1), HI),
    _case("unary, no such thing", "Unary", NOT_FOUND, (1, 0), MISSING),
    _case("unary, crash", "Unary", INTERNAL, (1, 0), CRASH),
    _case("unary, abort()", "Unary", StatusCode.ABORTED, (1, 0), EchoRequest(text="abort")),
    _case("unary, replaced", "Unary", StatusCode.UNAVAILABLE, (1, 1), EchoRequest(text="replaced")),
    _case("unary, malformed", "Unary", StatusCode.UNIMPLEMENTED, (0, 0)),
    _case("stream", "ServerStream", OK, (1, 3), EchoRequest(count=3)),
    _case("stream, error at once", "ServerStream", NOT_FOUND, (1, 0), MISSING),
    _case("stream, crash", "ServerStream", INTERNAL, (1, 2), EchoRequest(count=2, text="crash")),
    _case("stream, client goes", "ServerStream", StatusCode.CANCELLED, (1, 1), EchoRequest(count=10**6), pieces=1),
    _case("client stream", "ClientStream", OK, (2, 1), HI, HI),
    _case("client stream, no such thing", "ClientStream", NOT_FOUND, (2, 0), HI, MISSING),
    _case("client stream, crash", "ClientStream", INTERNAL, (1, 0), CRASH, HI),
    _case("both", "Bidi", OK, (2, 2), HI, HI),
    _case("both, no such thing", "Bidi", NOT_FOUND, (2, 1), HI, MISSING),
    _case("both, crash", "Bidi", INTERNAL, (2, 1), HI, CRASH),
    _case("misspelt", "Misspelt", StatusCode.UNIMPLEMENTED, (0, 0), HI),
    _case("GET", "Unary", StatusCode.UNIMPLEMENTED, (0, 0), verb="GET"),
    _case("no gRPC-Web", "Unary", StatusCode.UNIMPLEMENTED, (0, 0), headers={"content-type": "text/plain"}),
    _case("stranger", "ServerStream", StatusCode.UNAUTHENTICATED, (0, 0), HI, headers={"x-stranger": "y"}),
    _case("counted", "Missing", StatusCode.UNIMPLEMENTED, (1, 0), HI),
    _case("over the rate", "Missing", StatusCode.RESOURCE_EXHAUSTED, (0, 0), HI),
]  # fmt: skip
HOOKED_CASES = [
    _case("hook of a call", "Unary", StatusCode.UNAUTHENTICATED, (0, 0), HI, headers={"x-hook": "y"}),
    _case("hook of a stream", "ServerStream", StatusCode.UNAUTHENTICATED, (0, 0), HI, headers={"x-hook": "y"}),
    _case("hook of no method", "Misspelt", StatusCode.UNAUTHENTICATED, (0, 0), HI, headers={"x-hook": "y"}),
    _case("hook in gRPC-Web", "Unary", StatusCode.UNAUTHENTICATED, (0, 0), HI, headers={"x-grpc-hook": "y"}),
    _case("hook after a call", "Unary", StatusCode.PERMISSION_DENIED, (1, 1), HI, headers={"x-after": "y"}),
    _case("hook after a stream", "ServerStream", StatusCode.PERMISSION_DENIED, (1, 0), HI, headers={"x-after": "y"}),
    _case("foreign origin", "Unary", StatusCode.PERMISSION_DENIED, (0, 0), HI, headers={"origin": "https://evil.example"}),
]  # fmt: skip
"""Those that a :func:`hooked_app` has beside the others."""


def in_process(app: Flask, case: Case) -> int:
    """Call an app as a server does; return the code that the client sees."""
    response = app.test_client().open(case.path, method=case.verb, data=case.body, headers=case.headers, buffered=False)
    with contextlib.closing(response):
        if case.pieces is not None:
            for _ in range(case.pieces):
                next(response.iter_encoded())
            return StatusCode.CANCELLED
        return read(response.status_code, response.headers, response.data).code


def over_http(port: int, case: Case) -> int:
    """The same over a socket."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request(case.verb, case.path, case.body, case.headers)
        response = connection.getresponse()
        if case.pieces is not None:
            response.read1()
            return StatusCode.CANCELLED
        return read(response.status, response.getheaders(), response.read()).code


def create_app() -> Flask:
    """For servers."""
    app = hooked_app() if "HOOKS" in os.environ else mixed_app()
    know_routes(app)
    return app


def create_exporting_app() -> Flask:
    """The same with an SDK of its own, which exports to where the environment says."""
    from opentelemetry import metrics, trace
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    traces = TracerProvider()
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(traces)
    metrics.set_meter_provider(MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())]))
    return create_app()
