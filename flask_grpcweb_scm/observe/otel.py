"""Traces and metrics of OpenTelemetry, by its semantic conventions for RPC (stable since their version 1.39).

Names are written out: opentelemetry-api has none, and the package of the conventions is in beta. A test compares.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeVar

from opentelemetry import context, metrics, propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import Span, SpanKind, Status
from opentelemetry.trace import StatusCode as SpanStatus
from opentelemetry.util.types import AttributeValue

from flask_grpcweb_scm.observe.calls import Observed, Outcome
from flask_grpcweb_scm.observe.work import Work, watch_work
from flask_grpcweb_scm.rpc import StatusCode
from flask_grpcweb_scm.wire import Metadata, code_name

__all__ = ["ClientTracing", "ServerTracing", "client_tracing", "server_tracing"]

NAME = "flask_grpcweb_scm"
SYSTEM = "rpc.system.name"
GRPC, CONNECT = "grpc", "connectrpc"
METHOD = "rpc.method"
METHOD_ORIGINAL = "rpc.method_original"
STATUS_CODE = "rpc.response.status_code"
ERROR_TYPE = "error.type"
CLIENT_ADDRESS = "client.address"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
SERVER_DURATION = "rpc.server.call.duration"
CLIENT_DURATION = "rpc.client.call.duration"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

SERVER_ERRORS = frozenset(
    {
        StatusCode.UNKNOWN,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.UNIMPLEMENTED,
        StatusCode.INTERNAL,
        StatusCode.UNAVAILABLE,
        StatusCode.DATA_LOSS,
    }
)
"""Codes of calls that the server has failed; the others are the caller's doing."""

_FLASK_SPAN = "opentelemetry-flask.span_key"
"""The key of the span of a request in its environment, by opentelemetry-instrumentation-flask."""
_IS_OURS = context.create_key(f"{NAME}.call")

R = TypeVar("R")


class _Environ(Getter[Mapping[str, Any]]):
    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        value = carrier.get(f"HTTP_{key.upper().replace('-', '_')}")
        return None if value is None else [value]

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        return [key[5:].lower().replace("_", "-") for key in carrier if key.startswith("HTTP_")]


class ServerTracing:
    """Records the calls that a server serves, and the work that they wait for."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer(NAME)
        self._duration = _histogram(SERVER_DURATION, "Duration of an incoming Remote Procedure Call (RPC).")

    def begin(self, call: Observed, started: float) -> Callable[[Outcome], object]:
        """Start the span of a call; where an instrumentation of Flask or WSGI has one, that is it."""
        name = call.path.removeprefix("/") if call.method else "_OTHER"
        system = CONNECT if call.protocol == "connect" else GRPC
        attributes: dict[str, AttributeValue] = {SYSTEM: system, METHOD: name}
        if not call.method:
            attributes[METHOD_ORIGINAL] = call.path[:200]
        span = _span_of_others(call.environ)
        if span is not None:
            span.set_attributes(attributes)
            return functools.partial(self._end, call, span, attributes, None)
        parent = propagate.extract(call.environ, getter=_Environ())
        span = self._tracer.start_span(
            name if call.method else system,
            parent,
            SpanKind.SERVER,
            {**attributes, **_addresses(call)},
            start_time=time.time_ns() - int((time.monotonic() - started) * 1e9),
        )
        # What service functions start, and send, is a part of it.
        token = context.attach(context.set_value(_IS_OURS, True, trace.set_span_in_context(span, parent)))
        return functools.partial(self._end, call, span, attributes, token)

    def _end(
        self, call: Observed, span: Span, attributes: dict[str, AttributeValue], token: Any, outcome: Outcome
    ) -> None:
        unhandled: BaseException | None = getattr(call, "unhandled", None)
        if unhandled is not None:
            span.record_exception(unhandled)
        message = outcome.status.message if outcome.status else ""
        ended = _outcome(span, attributes, outcome.code, outcome.code in SERVER_ERRORS, message)
        self._duration.record(outcome.seconds, {**attributes, **ended}, trace.set_span_in_context(span))
        if token is not None:
            span.end()
            context.detach(token)

    def begin_work(self, piece: Work) -> Callable[[BaseException | None], object]:
        """Start a span of what a call waits for; outside of all spans nothing is recorded."""
        if not trace.get_current_span().is_recording():
            return lambda error: None
        kind = SpanKind.INTERNAL if piece.kind == "git" else SpanKind.CLIENT
        name = f"git {piece.name}" if piece.kind == "git" else piece.name
        span = self._tracer.start_span(name, kind=kind)
        return functools.partial(self._end_work, piece, span)

    def _end_work(self, piece: Work, span: Span, error: BaseException | None) -> None:
        own = {"process.executable.name": "git"} if piece.kind == "git" else {"http.request.method": piece.name}
        span.set_attributes({**own, **piece.attributes})
        if error is not None:
            span.set_attribute(ERROR_TYPE, type(error).__name__)
            span.set_status(Status(SpanStatus.ERROR, str(error)))
        elif int(piece.attributes.get("http.response.status_code", 0)) >= 400:
            span.set_attribute(ERROR_TYPE, str(piece.attributes["http.response.status_code"]))
            span.set_status(Status(SpanStatus.ERROR))
        span.end()

    def tell_of_cache(self, name: str, hit: bool) -> None:
        """Record nothing."""


class ClientTracing:
    """Records the calls that a client makes, and sends their context along."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer(NAME)
        self._duration = _histogram(CLIENT_DURATION, "Duration of an outgoing Remote Procedure Call (RPC).")

    def watch(
        self, messages: Generator[R, None, None], system: str, path: str, address: str, port: int, metadata: Metadata
    ) -> Generator[R, None, None]:
        """Yield the messages of a call, under a span from its first attempt to its end.

        :param system: ``"grpc"`` or ``"connectrpc"``.
        :param metadata: gets the headers of the propagator, such as ``traceparent``, unless they are there.
        """
        name, started, code = path[1:], time.monotonic(), StatusCode.OK
        attributes: dict[str, AttributeValue] = {
            SYSTEM: system,
            METHOD: name,
            SERVER_ADDRESS: address,
            SERVER_PORT: port,
        }
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
        _inject(span, metadata)
        message = ""
        try:
            yield from messages
        except GeneratorExit:
            code = StatusCode.CANCELLED
            raise
        except BaseException as error:
            code, message = getattr(error, "code", StatusCode.UNKNOWN), getattr(error, "message", str(error))
            raise
        finally:
            ended = _outcome(span, attributes, code, code is not StatusCode.OK, message)
            self._duration.record(time.monotonic() - started, {**attributes, **ended}, trace.set_span_in_context(span))
            span.end()


def _inject(span: Span, metadata: Metadata) -> None:
    carrier: dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    for name, value in carrier.items():
        if metadata.get(name) is None:
            metadata.add(name, value)


def _span_of_others(environ: Mapping[str, Any]) -> Span | None:
    """The span of the request by an instrumentation; also where it records nothing, because it is not sampled."""
    span: Span | None = environ.get(_FLASK_SPAN)
    if span is None and context.get_value(_IS_OURS) is None:
        current = trace.get_current_span()
        found = current.get_span_context()
        is_not_sampled = found.is_valid and not (found.is_remote or current.is_recording())
        span = current if is_not_sampled or getattr(current, "kind", None) is SpanKind.SERVER else None
    return span


def _addresses(call: Observed) -> Mapping[str, AttributeValue]:
    return {SERVER_ADDRESS: str(call.environ.get("SERVER_NAME", "")), CLIENT_ADDRESS: call.peer}


def _outcome(
    span: Span, known: Mapping[str, AttributeValue], code: StatusCode, is_error: bool, message: str
) -> Mapping[str, AttributeValue]:
    # Each system has its own names.
    name = code_name(code) if code and known[SYSTEM] == CONNECT else code.name
    attributes: dict[str, AttributeValue] = {STATUS_CODE: name}
    if is_error:
        attributes[ERROR_TYPE] = name
        span.set_status(Status(SpanStatus.ERROR, message or None))
    span.set_attributes(attributes)
    return attributes


def _histogram(name: str, description: str) -> metrics.Histogram:
    buckets: Sequence[float] = BUCKETS
    meter = metrics.get_meter(NAME)
    return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=buckets)


@functools.cache
def server_tracing() -> ServerTracing:
    """The tracing of this process."""
    made = ServerTracing()
    watch_work(made)
    return made


@functools.cache
def client_tracing() -> ClientTracing:
    """The tracing of the channels of this process."""
    return ClientTracing()
