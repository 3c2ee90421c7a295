"""A receiver of OTLP over HTTP, which reads the protobuf messages of the protocol."""

from __future__ import annotations

import contextlib
import gzip
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.servers import in_a_thread

__all__ = ["Receiver", "receiving"]

Counts = Counter[tuple[str, str]]


class Receiver:
    """What has arrived."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._durations: dict[str, dict[tuple[Any, ...], tuple[tuple[str, str], int]]] = {}

    def add(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            traces = ExportTraceServiceRequest.FromString(body)
            scopes = [scope for resource in traces.resource_spans for scope in resource.scope_spans]
            self.spans += [span for scope in scopes for span in scope.spans]
        elif path == "/v1/metrics":
            metrics = ExportMetricsServiceRequest.FromString(body)
            for resource in metrics.resource_metrics:
                for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                    for point in metric.histogram.data_points:
                        labels = _attributes(point)
                        values = (labels.get("rpc.method", ""), labels.get("rpc.response.status_code", ""))
                        # Totals so far, of each process.
                        points = self._durations.setdefault(metric.name, {})
                        points[(point.start_time_unix_nano, *sorted(labels.items()))] = values, point.count

    def of_kind(self, kind: Span.SpanKind.ValueType) -> list[tuple[Span, dict[str, str]]]:
        return [(span, _attributes(span)) for span in self.spans if span.kind == kind]

    @property
    def server_spans(self) -> Counts:
        """By method and code."""
        found = self.of_kind(Span.SPAN_KIND_SERVER)
        return Counter(
            (values.get("rpc.method", ""), values.get("rpc.response.status_code", "")) for _, values in found
        )

    @property
    def durations(self) -> Counts:
        """The numbers of durations of calls, by method and code."""
        found: Counts = Counter()
        for values, count in self._durations.get("rpc.server.call.duration", {}).values():
            found[values] += count
        return found


def _attributes(owner: Any) -> dict[str, str]:
    return {item.key: item.value.string_value or str(item.value.int_value) for item in owner.attributes}


@contextlib.contextmanager
def receiving() -> Iterator[tuple[Receiver, str]]:
    """Receive while the block runs; gives the URL for ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.add(self.path, gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with in_a_thread(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield receiver, url
