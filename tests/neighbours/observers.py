"""Neighbours that look on: metrics, spans, log lines, profiles, signals."""

from __future__ import annotations

import functools
import io
import os
import re
import tempfile
from typing import TYPE_CHECKING, Any

from flask import Flask, request
from flask.signals import appcontext_tearing_down, request_finished, request_started

from tests.neighbours.neighbour import Neighbour

if TYPE_CHECKING:
    from tests.neighbours.host import Host, Response

__all__ = ["OBSERVERS"]


class Observer(Neighbour):
    """Something that it keeps of every call has the path of the call in it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def names_of(self, cell: str) -> tuple[str, ...]:
        """What has to be among that which was seen after the call of a cell: all of it."""
        from tests.neighbours.host import PATHS

        return (PATHS[cell],)

    def look(self, host: Host) -> None:
        """Gather what was seen, when it does not come by itself."""

    def acts(self, cell: str, host: Host) -> object:
        host.call(cell)
        self.look(host)
        return all(self.seen.count(name) == 1 for name in self.names_of(cell))


class Sentry(Observer):
    name = "Sentry"
    distribution = "sentry-sdk"
    sign = "a transaction with the address; an event of a crash (in Error)"

    def install(self, app: Flask) -> None:
        import sentry_sdk
        from sentry_sdk.integrations.flask import FlaskIntegration
        from sentry_sdk.transport import Transport

        seen = self.seen

        class Kept(Transport):
            def capture_envelope(self, envelope: Any) -> None:
                for event in filter(None, (item.payload.json for item in envelope.items)):
                    seen.append(event.get("request", {}).get("url", "").removeprefix("http://localhost"))
                    seen.extend(error["type"] for error in event.get("exception", {}).get("values", ()))

        sentry_sdk.init(
            "http://key@localhost/1",
            transport=Kept,
            traces_sample_rate=1.0,
            integrations=[FlaskIntegration(transaction_style="url")],
        )

    def acts(self, cell: str, host: Host) -> object:
        if cell != "error":
            return super().acts(cell, host)
        is_seen = super().acts(cell, host)
        host.call("crash")
        return is_seen and self.seen.count("ValueError") == 1


class Prometheus(Observer):
    name = "Prometheus Flask exporter"
    distribution = "prometheus-flask-exporter"
    sign = "`flask_http_request_duration_seconds`, by path"

    def install(self, app: Flask) -> None:
        from prometheus_client import CollectorRegistry
        from prometheus_flask_exporter import PrometheusMetrics

        PrometheusMetrics(app, registry=CollectorRegistry())

    def look(self, host: Host) -> None:
        metrics = host.get("/metrics").body
        count = r'^flask_http_request_duration_seconds_count\{method="\w+",path="(.*)",status="200"\} 1\.0$'
        self.seen += re.findall(count, metrics, re.MULTILINE)


class OpenTelemetry(Observer):
    name = "OpenTelemetry"
    distribution = "opentelemetry-instrumentation-flask"
    sign = "one span with the route; with `GRPC_OTEL` it has the method and the code too"
    config = {"GRPC_OTEL": True}

    def names_of(self, cell: str) -> tuple[str, ...]:
        from tests.neighbours.host import PATHS

        if cell == "page":
            return (PATHS[cell],)
        return f"{PATHS[cell]} {PATHS[cell][1:]} {'NOT_FOUND' if cell == 'error' else 'OK'}", "a span"

    def install(self, app: Flask) -> None:
        from opentelemetry.instrumentation.flask import FlaskInstrumentor
        from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

        seen = self.seen

        class Kept(SpanExporter):
            def export(self, spans: Any) -> SpanExportResult:
                seen.extend(_names(span) for span in spans)
                seen.extend("a span" for _ in spans)
                return SpanExportResult.SUCCESS

        def _names(span: ReadableSpan) -> str:
            keys = ("http.route", "rpc.method", "rpc.response.status_code")
            return " ".join(str(value) for key in keys if (value := (span.attributes or {}).get(key)))

        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(Kept()))
        FlaskInstrumentor().instrument_app(app, tracer_provider=provider)


class ElasticApm(Observer):
    name = "Elastic APM"
    distribution = "elastic-apm"
    sign = "a transaction with the route"

    def install(self, app: Flask) -> None:
        from elasticapm import Client
        from elasticapm.contrib.flask import ElasticAPM

        seen = self.seen

        class Kept(Client):
            def queue(self, event_type: str, data: Any, flush: bool = False) -> None:
                if event_type == "transaction":
                    seen.append(data["name"].partition(" ")[2])

        ElasticAPM(app, client=Kept(service_name="host", central_config=False, metrics_interval="0s"))


class XRay(Observer):
    name = "AWS X-Ray"
    distribution = "aws-xray-sdk"
    sign = "a segment with the address"

    def install(self, app: Flask) -> None:
        from aws_xray_sdk.core import AWSXRayRecorder
        from aws_xray_sdk.ext.flask.middleware import XRayMiddleware

        recorder = AWSXRayRecorder()
        recorder.configure(service="host", sampling=False, emitter=self)
        XRayMiddleware(app, recorder)

    def send_entity(self, segment: Any) -> None:
        """As the emitter that sends to its daemon."""
        self.seen.append(segment.http["request"]["url"].removeprefix("http://localhost"))


class Datadog(Observer):
    name = "Datadog (`ddtrace`)"
    distribution = "ddtrace"
    sign = "a span with the route"

    @classmethod
    def before_import(cls) -> None:
        # As `ddtrace-run` does.
        os.environ.update(DD_INSTRUMENTATION_TELEMETRY_ENABLED="false", DD_REMOTE_CONFIGURATION_ENABLED="false")
        import ddtrace

        ddtrace.patch(flask=True)

    def install(self, app: Flask) -> None:
        from ddtrace.trace import Span, TraceFilter, tracer

        seen = self.seen

        class Kept(TraceFilter):
            def process_trace(self, trace: list[Span]) -> None:
                seen.extend(route for span in trace if (route := span.get_tag("http.route")))

        tracer.configure(trace_processors=[Kept()])


class NewRelic(Neighbour):
    name = "New Relic"
    distribution = "newrelic"
    sign = "the functions run in a transaction of it, with a name for each method"

    @classmethod
    def before_import(cls) -> None:
        # As `newrelic-admin run-program` does.
        os.environ.update(NEW_RELIC_DEVELOPER_MODE="true", NEW_RELIC_LOG="stderr")
        from newrelic.agent import initialize, register_application

        initialize()
        register_application(timeout=10)

    def speak(self, text: str) -> str:
        from newrelic.agent import current_transaction

        return f"{type(current_transaction()).__name__} {current_transaction().name}"

    def is_seen_in(self, response: Response) -> object:
        ends = {"page": "page", "stream": "tests_echo_v1_Echo/ServerStream"}
        (text,) = set(response.texts)
        return text.startswith("WSGIWebTransaction ") and text.endswith(
            ends.get(response.cell, "tests_echo_v1_Echo/Unary")
        )


class FlaskProfiler(Observer):
    name = "Flask-Profiler"
    distribution = "flask-profiler"
    sign = "a measurement with the route"
    orders = ("after",)  # it wraps the views that are there

    def install(self, app: Flask) -> None:
        import flask_profiler

        self.folder = tempfile.TemporaryDirectory()
        app.config["flask_profiler"] = {
            "enabled": True,
            "storage": {"engine": "sqlite", "FILE": f"{self.folder.name}/measured.sql"},
            "ignore": [],
        }
        flask_profiler.init_app(app)

    def look(self, host: Host) -> None:
        found = host.get("/flask-profiler/api/measurements/").body
        self.seen += re.findall(r'"name": ?"(.*?)"', found)


class Structlog(Observer):
    name = "structlog (`contextvars`)"
    distribution = "structlog"
    sign = "what `before_request` binds is in the log lines of the functions"

    def install(self, app: Flask) -> None:
        import structlog

        structlog.configure(
            processors=[structlog.contextvars.merge_contextvars, structlog.processors.LogfmtRenderer()],
            logger_factory=structlog.stdlib.LoggerFactory(),
        )

        @app.before_request
        def bind() -> None:
            structlog.contextvars.clear_contextvars()
            structlog.contextvars.bind_contextvars(path=request.path)

    def speak(self, text: str) -> str:
        import structlog

        structlog.get_logger().warning("spoken")
        return text.upper()

    def look(self, host: Host) -> None:
        self.seen += set(re.findall(r"event=spoken path=(\S+)", "\n".join(host.log)))


class Signals(Observer):
    name = "Receivers of Flask's signals"
    distribution = "blinker"
    sign = "`request_started`, `request_finished` and `appcontext_tearing_down` are received, once and in order"

    def install(self, app: Flask) -> None:
        self.receivers = [
            lambda app: self.seen.append(f"started {request.path}"),
            lambda app, response: self.seen.append(f"finished {request.path}"),
            lambda app, exc: self.seen.append("torn down"),
        ]
        for signal, receiver in zip(
            (request_started, request_finished, appcontext_tearing_down), self.receivers, strict=True
        ):
            signal.connect(receiver, app)

    def acts(self, cell: str, host: Host) -> object:
        from tests.neighbours.host import PATHS

        host.call(cell)
        return self.seen == [f"started {PATHS[cell]}", f"finished {PATHS[cell]}", "torn down"]


class PatchedFlask(Observer):
    name = "An agent that replaces `Flask.full_dispatch_request`, as SkyWalking's does"
    distribution = "Flask"
    sign = "each of three calls is seen"

    @classmethod
    def before_import(cls) -> None:
        original = Flask.full_dispatch_request

        @functools.wraps(original)
        def full_dispatch_request(app: Flask) -> Any:
            response = original(app)
            app.extensions.get("agent", []).append(request.path)
            return response

        Flask.full_dispatch_request = full_dispatch_request  # type: ignore[method-assign]

    def install(self, app: Flask) -> None:
        app.extensions["agent"] = self.seen

    def acts(self, cell: str, host: Host) -> object:
        from tests.neighbours.host import PATHS

        for _ in range(3):
            host.call(cell)
        return self.seen == [PATHS[cell]] * 3


class WerkzeugProfiler(Neighbour):
    name = "`ProfilerMiddleware`"
    distribution = "Werkzeug"
    sign = "a profile with the path and the function"

    def __init__(self) -> None:
        self.printed = io.StringIO()

    def install(self, app: Flask) -> None:
        from werkzeug.middleware.profiler import ProfilerMiddleware

        app.wsgi_app = ProfilerMiddleware(app.wsgi_app, self.printed)  # type: ignore[method-assign]

    def speak(self, text: str) -> str:
        return text.upper()

    def acts(self, cell: str, host: Host) -> object:
        from tests.neighbours.host import PATHS

        host.call(cell)
        text = self.printed.getvalue()
        return f"PATH: '{PATHS[cell]}'" in text and "(speak)" in text


OBSERVERS = [
    *(
        Sentry,
        Prometheus,
        OpenTelemetry,
        ElasticApm,
        XRay,
        Datadog,
        NewRelic,
        FlaskProfiler,
        Structlog,
        Signals,
        PatchedFlask,
    ),
    WerkzeugProfiler,
]
