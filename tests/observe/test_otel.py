"""OpenTelemetry: spans and durations are what clients counted, in this process and in a receiver of OTLP."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from opentelemetry import trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from flask_grpcweb_scm import GrpcWebScm
from flask_grpcweb_scm.client import CallError, Channel
from flask_grpcweb_scm.observe import observed_work, otel
from flask_grpcweb_scm.testing import channel_for
from tests.apps import echo_service, know_routes
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest
from tests.observe.mixed import CASES, HOOKED_CASES, Case, hooked_app, in_process, mixed_app, over_http
from tests.observe.otlp import Receiver, receiving
from tests.observe.sdk import exporter, metric_reader, tree
from tests.servers import ROOT, free_port, listening

__all__ = ["exporter"]  # a fixture

ECHO = DESCRIPTOR.services_by_name["Echo"]
ECHO_PATH = f"/{ECHO.full_name}/"
RUNS = [
    *(pytest.param(mixed_app, CASES, is_known, id=f"{is_known=}") for is_known in (False, True)),
    pytest.param(hooked_app, CASES + HOOKED_CASES, False, id="hooks"),
]


def method_of(case: Case) -> str:
    return case.label[1:] or "_OTHER"


def expected(cases: list[Case]) -> Counter[tuple[str, str]]:
    return Counter((method_of(case), case.code.name) for case in cases)


def durations() -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    data = metric_reader().get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            if metric.name == "rpc.server.call.duration":
                for point in metric.data.data_points:
                    labels: Any = point.attributes
                    found[(labels["rpc.method"], labels["rpc.response.status_code"])] += point.count  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize(("make", "cases", "is_known"), RUNS)
def test_every_call_has_a_span_and_a_duration(
    make: Any, cases: list[Case], is_known: bool, exporter: InMemorySpanExporter
) -> None:
    app = make(GRPC_OTEL=True)
    if is_known:
        know_routes(app)
    before = durations()
    for case in cases:
        in_process(app, case)
        (span,) = exporter.get_finished_spans()
        check(case, span)
        exporter.clear()
    assert durations() - before == expected(cases)


def check(case: Case, span: ReadableSpan) -> None:
    attributes = span.attributes or {}
    assert (span.kind, span.parent) == (SpanKind.SERVER, None)
    assert span.name == (case.label[1:] or "grpc")
    assert attributes["rpc.system.name"] == "grpc"
    assert attributes["rpc.method"] == method_of(case)
    assert attributes["rpc.response.status_code"] == case.code.name
    is_error = case.code in otel.SERVER_ERRORS
    assert (span.status.status_code is StatusCode.ERROR) == is_error == ("error.type" in attributes)
    assert [event.name for event in span.events] == (["exception"] if "crash" in case.name else [])
    assert attributes["client.address"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("path", "text", "status", "is_error"),
    [
        (ECHO_PATH + "Unary", "hi", "OK", False),
        (ECHO_PATH + "Unary", "not found", "not_found", False),
        (ECHO_PATH + "Unary", "crash", "internal", True),
        (ECHO_PATH + "Misspelt", "hi", "unimplemented", True),
    ],
)
def test_calls_in_connect_are_of_their_own_system(
    path: str, text: str, status: str, is_error: bool, exporter: InMemorySpanExporter
) -> None:
    client = mixed_app(GRPC_OTEL=True).test_client()
    client.post(path, json={"text": text}, headers={"connect-protocol-version": "1"})
    (span,) = exporter.get_finished_spans()
    attributes = span.attributes or {}
    assert span.name == ("connectrpc" if "Misspelt" in path else path[1:])
    assert attributes["rpc.system.name"] == "connectrpc"
    assert attributes["rpc.response.status_code"] == status
    assert attributes.get("error.type") == (status if is_error else None)


def test_the_names_are_those_of_the_conventions() -> None:
    package = "opentelemetry.semconv._incubating"
    attributes = importlib.import_module(f"{package}.attributes.rpc_attributes")
    if not hasattr(attributes, "RPC_SYSTEM_NAME"):
        pytest.skip("the conventions that are installed are older than the stable ones for RPC")
    durations = importlib.import_module(f"{package}.metrics.rpc_metrics")
    ours = (otel.SYSTEM, otel.METHOD, otel.METHOD_ORIGINAL, otel.STATUS_CODE)
    assert ours == (
        attributes.RPC_SYSTEM_NAME,
        attributes.RPC_METHOD,
        attributes.RPC_METHOD_ORIGINAL,
        attributes.RPC_RESPONSE_STATUS_CODE,
    )
    assert (otel.SERVER_DURATION, otel.CLIENT_DURATION) == (
        durations.RPC_SERVER_CALL_DURATION,
        durations.RPC_CLIENT_CALL_DURATION,
    )
    common = "opentelemetry.semconv.attributes"
    names = {"error": otel.ERROR_TYPE, "client": otel.CLIENT_ADDRESS, "server": otel.SERVER_ADDRESS}
    for module, name in names.items():
        assert name in vars(importlib.import_module(f"{common}.{module}_attributes")).values()


@pytest.mark.needs("opentelemetry-instrumentation-flask")
@pytest.mark.parametrize("instrument", ["flask", "wsgi"])
def test_a_request_that_an_instrumentation_does_not_sample_has_no_span_of_ours(
    instrument: str, exporter: InMemorySpanExporter
) -> None:
    module: Any = importlib.import_module(f"opentelemetry.instrumentation.{instrument}")
    app, before, off = mixed_app(GRPC_OTEL=True), durations(), TracerProvider(sampler=ALWAYS_OFF)
    if instrument == "flask":
        module.FlaskInstrumentor().instrument_app(app, tracer_provider=off)
    else:
        app.wsgi_app = module.OpenTelemetryMiddleware(app.wsgi_app, tracer_provider=off)  # type: ignore[method-assign]
    with channel_for(app) as channel:
        list(channel.stub(ECHO).server_stream(EchoRequest(count=2)))
        channel.stub(ECHO).unary(EchoRequest())
    assert exporter.get_finished_spans() == ()
    assert (durations() - before).total() == 2


# Client and server, and what a call waits for


def unary(message: EchoRequest, context: Any) -> EchoReply:
    with observed_work("git", "blame"):
        pass
    with observed_work("http", "GET", "github", server_address="api.github.example") as piece:
        piece.attributes["http.response.status_code"] = 404
    if message.text == "call":
        with channel_for(inner_app(), otel=True) as channel:
            return EchoReply(text=channel.stub(ECHO).unary(EchoRequest()).text)
    return EchoReply(text=message.text)


def inner_app() -> Flask:
    app = Flask(__name__)
    app.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False, GRPC_OTEL=True)
    GrpcWebScm(services=[echo_service(Unary=unary)]).init_app(app)
    return app


def test_a_trace_goes_through_clients_and_servers(exporter: InMemorySpanExporter) -> None:
    method = "tests.echo.v1.Echo/Unary"
    waits: dict[str, Any] = {"INTERNAL git blame": {}, "CLIENT GET": {}}
    tracer = trace.get_tracer("test")
    with tracer.start_as_current_span("test"), channel_for(inner_app(), otel=True) as channel:
        channel.stub(ECHO).unary(EchoRequest(text="call"))
    spans = exporter.get_finished_spans()
    inner = {f"CLIENT {method}": {f"SERVER {method}": waits}}
    assert tree(spans) == {"INTERNAL test": {f"CLIENT {method}": {f"SERVER {method}": {**waits, **inner}}}}
    (request, *_) = [span for span in spans if span.name == "GET"]
    assert request.status.status_code is StatusCode.ERROR
    assert (request.attributes or {})["server.address"] == "api.github.example"


def test_work_outside_of_all_spans_is_not_recorded(exporter: InMemorySpanExporter) -> None:
    otel.server_tracing()
    with observed_work("git", "log"):
        pass
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [("unary", "hi", "OK"), ("unary", "not found", "NOT_FOUND"), ("missing", "", "UNIMPLEMENTED")],
)
@pytest.mark.parametrize("protocol", ["grpc-web", "connect"])
def test_a_client_records_its_calls(
    name: str, text: str, code: str, protocol: str, exporter: InMemorySpanExporter
) -> None:
    with channel_for(mixed_app(), otel=True, protocol=protocol) as channel:
        try:
            getattr(channel.stub(ECHO), name)(EchoRequest(text=text))
        except CallError as error:
            assert error.code.name == code
    (span,) = exporter.get_finished_spans()
    attributes = span.attributes or {}
    assert span.kind == SpanKind.CLIENT
    if protocol == "connect":
        system, shown = "connectrpc", "OK" if code == "OK" else code.lower()
    else:
        system, shown = "grpc", code
    assert (attributes["rpc.system.name"], attributes["rpc.response.status_code"]) == (system, shown)
    assert (attributes["server.address"], attributes["server.port"]) == ("localhost", 80)
    assert (span.status.status_code is StatusCode.ERROR) == (code != "OK")


def test_a_stream_that_its_client_leaves_is_cancelled_on_both_sides(exporter: InMemorySpanExporter) -> None:
    with (
        channel_for(mixed_app(GRPC_OTEL=True), otel=True) as channel,
        channel.stub(ECHO).server_stream(EchoRequest(count=10**6)) as replies,
    ):
        next(replies)
        assert exporter.get_finished_spans() == ()
    codes = {(span.attributes or {})["rpc.response.status_code"] for span in exporter.get_finished_spans()}
    assert (codes, len(exporter.get_finished_spans())) == ({"CANCELLED"}, 2)


def test_own_headers_of_a_caller_go_first(exporter: InMemorySpanExporter) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with channel_for(mixed_app(GRPC_OTEL=True), otel=True, metadata={"traceparent": parent}) as channel:
        channel.stub(ECHO).unary(EchoRequest())
    (server,) = [span for span in exporter.get_finished_spans() if span.kind is SpanKind.SERVER]
    assert server.parent is not None
    assert f"{server.parent.trace_id:x}" == "af7651916cd43dd8448eb211c80319c"


@pytest.mark.needs("time")
def test_without_its_package_the_errors_say_what_to_install() -> None:
    code = """
import sys; sys.modules["opentelemetry"] = None
from flask import Flask
from flask_grpcweb_scm import ConfigError, GrpcWebScm
from flask_grpcweb_scm.client import Channel
app = Flask("a")
app.config.update(GRPC_SCM=False, GRPC_REQUIRE_AUTH=False, GRPC_OTEL=True)
try: GrpcWebScm(app)
except ConfigError as error: print(error)
try: Channel("http://localhost", otel=True)
except ImportError as error: print(error)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    way_out = "needs opentelemetry-api: pip install 'flask_grpcweb_scm[otel]'"
    assert done.stdout == f"GRPC_OTEL {way_out}\notel=True {way_out}\n"


# A real receiver

APP = "tests.observe.mixed:create_app"
INSTRUMENT, FLASK = (str(Path(sys.executable).with_name(name)) for name in ("opentelemetry-instrument", "flask"))
GUNICORN = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--threads", "4"]
STARTS = {
    "an SDK in the app": [*GUNICORN, "--bind", "127.0.0.1:{port}", "tests.observe.mixed:create_exporting_app()"],
    "opentelemetry-instrument gunicorn": [INSTRUMENT, *GUNICORN, "--bind", "127.0.0.1:{port}", f"{APP}()"],
    "opentelemetry-instrument flask run": [INSTRUMENT, FLASK, "--app", APP, "run", "--port", "{port}"],
}


@pytest.mark.needs("server")
@pytest.mark.parametrize("hooks", [{}, {"HOOKS": "1"}], ids=["fast lane", "hooks"])
@pytest.mark.parametrize("start", STARTS)
def test_a_receiver_has_what_the_client_counted(
    start: str, hooks: dict[str, str], tmp_path: Path, exporter: InMemorySpanExporter
) -> None:
    is_instrumented = INSTRUMENT in STARTS[start]
    if is_instrumented and not importlib.util.find_spec("opentelemetry.instrumentation.flask"):
        pytest.skip("opentelemetry-instrumentation-flask is not installed")
    cases = CASES + (HOOKED_CASES if hooks else [])
    with receiving() as (receiver, url):
        environ = {
            "FLASK_GRPC_OTEL": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "300",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTEL_LOGS_EXPORTER": "none",
            **hooks,
        }
        port = free_port()
        command = [word.format(port=port) for word in STARTS[start]]
        with listening(command, port, tmp_path / "log", environ):
            for case in cases:
                assert (case.name, over_http(port, case)) == (case.name, case.code)
            with Channel(f"http://127.0.0.1:{port}", otel=True) as channel:
                channel.stub(ECHO).unary(EchoRequest(text="hi"))
            counted = expected(cases) + Counter({("tests.echo.v1.Echo/Unary", "OK"): 1})
            wait_for(receiver, counted)
            assert receiver.server_spans == counted
            assert receiver.durations == counted
            (client,) = client_spans(exporter)
            joined = [span for span, _ in receiver.of_kind(Span.SPAN_KIND_SERVER) if span.parent_span_id]
            assert [span.parent_span_id for span in joined] == [client.span_id.to_bytes(8, "big")]
            # The span of the instrumentation is the call's, also where a hook refuses.
            servers = receiver.of_kind(Span.SPAN_KIND_SERVER)
            assert {"http.method" in values for _, values in servers} == {is_instrumented}


def client_spans(exporter: InMemorySpanExporter) -> list[SpanContext]:
    return [span.context for span in exporter.get_finished_spans() if span.kind is SpanKind.CLIENT and span.context]


def wait_for(receiver: Receiver, counted: Counter[tuple[str, str]]) -> None:
    """Spans and metrics are sent now and then."""
    stop = time.monotonic() + 30
    while (receiver.server_spans, receiver.durations) != (counted, counted) and time.monotonic() < stop:
        time.sleep(0.1)
