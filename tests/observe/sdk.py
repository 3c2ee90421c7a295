"""The SDK of OpenTelemetry in this process, which takes providers once."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

__all__ = ["exporter", "metric_reader", "tree"]


@functools.cache
def _spans() -> InMemorySpanExporter:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@functools.cache
def metric_reader() -> InMemoryMetricReader:
    """Reads the metrics of this process, from the first call on."""
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    return reader


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Has the spans that end during a test."""
    _spans().clear()
    yield _spans()
    assert trace.get_current_span() is trace.INVALID_SPAN


def tree(spans: tuple[ReadableSpan, ...], parent: int | None = None) -> dict[str, Any]:
    """The spans by kind and name, with those inside."""
    mine = [span for span in spans if (span.parent.span_id if span.parent else None) == parent]
    return {f"{span.kind.name} {span.name}": tree(spans, span.context.span_id) for span in mine if span.context}
