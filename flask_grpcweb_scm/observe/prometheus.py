"""Metrics for Prometheus, by the names of go-grpc-middleware, which dashboards and alerts know.

They are in the registry of prometheus_client for the whole process, beside those of the app, and in its files for
several processes where ``PROMETHEUS_MULTIPROC_DIR`` is set.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from flask_grpcweb_scm.observe.calls import Observed, Outcome
from flask_grpcweb_scm.observe.work import Work, watch_work
from flask_grpcweb_scm.rpc import CallContext, CalledMethod, StatusCode

__all__ = ["Metrics", "metrics", "metrics_page"]

METHOD = ("grpc_type", "grpc_service", "grpc_method")
CODES = {code: code.name.title().replace("_", "") for code in StatusCode} | {
    StatusCode.OK: "OK",
    StatusCode.CANCELLED: "Canceled",
}
"""As Go spells them."""
GIT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_TYPES = {
    (False, False): "unary",
    (True, False): "client_stream",
    (False, True): "server_stream",
    (True, True): "bidi_stream",
}


@dataclass(frozen=True)
class _OfMethod:
    """The metrics of one method."""

    labels: tuple[str, str, str]
    started: Counter
    in_flight: Gauge
    received: Counter
    sent: Counter
    seconds: Histogram
    handled: dict[StatusCode, Counter]


class Metrics:
    """The metrics of a process, and what counts for them."""

    def __init__(self) -> None:
        self._started = Counter("grpc_server_started_total", "Total number of RPCs started on the server.", METHOD)
        self._handled = Counter(
            "grpc_server_handled_total", "RPCs completed on the server, whatever their code.", (*METHOD, "grpc_code")
        )
        self._received = Counter("grpc_server_msg_received_total", "Messages received on the server.", METHOD)
        self._sent = Counter("grpc_server_msg_sent_total", "Messages sent by the server.", METHOD)
        self._seconds = Histogram("grpc_server_handling_seconds", "Duration of RPCs on the server.", METHOD)
        self._in_flight = Gauge(
            "grpc_server_in_flight", "RPCs that have not ended, open streams too.", METHOD, multiprocess_mode="livesum"
        )
        self._git = Histogram("scm_git_seconds", "Duration of git commands.", ("command",), buckets=GIT_SECONDS)
        self._providers = Histogram(
            "scm_provider_request_seconds", "Duration of requests to providers.", ("provider", "outcome")
        )
        self._cache = Counter("scm_cache_requests_total", "Look-ups in caches.", ("cache", "result"))
        self._of_methods: dict[CalledMethod | None, _OfMethod] = {}

    def begin(self, call: Observed, started: float) -> Callable[[Outcome], object]:
        """Count a call."""
        mine = self._of(call.method)
        mine.started.inc()
        mine.in_flight.inc()
        return functools.partial(self._end, mine)

    def _end(self, mine: _OfMethod, outcome: Outcome) -> None:
        mine.in_flight.dec()
        mine.seconds.observe(outcome.seconds)
        code = outcome.code
        handled = mine.handled.get(code)
        if handled is None:
            handled = mine.handled[code] = self._handled.labels(*mine.labels, CODES[code])
        handled.inc()

    def count_messages(self, request: Any, context: CallContext, call_next: Any) -> Any:
        """Count messages: an interceptor, outside of all others."""
        method = context.method
        assert method is not None
        mine = self._of(method)
        if method.client_streaming:
            request = _counted(request, mine.received)
        else:
            mine.received.inc()
        response = call_next(request, context)
        if method.server_streaming:
            return _counted(response, mine.sent)
        mine.sent.inc()
        return response

    def begin_work(self, piece: Work) -> Callable[[BaseException | None], object]:
        """Measure a run of git, or a request to a provider."""
        return functools.partial(self._end_work, piece, time.monotonic())

    def _end_work(self, piece: Work, started: float, error: BaseException | None) -> None:
        seconds = time.monotonic() - started
        if piece.kind == "git":
            self._git.labels(piece.name).observe(seconds)
        else:
            outcome = type(error).__name__ if error else str(piece.attributes.get("http.response.status_code", ""))
            self._providers.labels(piece.target, outcome).observe(seconds)

    def tell_of_cache(self, name: str, hit: bool) -> None:
        """Count a look-up."""
        self._cache.labels(name, "hit" if hit else "miss").inc()

    def _of(self, method: CalledMethod | None) -> _OfMethod:
        mine = self._of_methods.get(method)
        if mine is None:
            # A name that is no method's is its caller's choice, and there are ever more of these.
            labels = ("unknown", "unknown", "unknown")
            if method is not None:
                kind = _TYPES[method.client_streaming, method.server_streaming]
                labels = (kind, method.service.name, method.name)
            mine = self._of_methods[method] = _OfMethod(
                labels,
                self._started.labels(*labels),
                self._in_flight.labels(*labels),
                self._received.labels(*labels),
                self._sent.labels(*labels),
                self._seconds.labels(*labels),
                {},
            )
        return mine


def _counted(messages: Iterable[Any], counter: Counter) -> Iterator[Any]:
    for message in messages:
        counter.inc()
        yield message


@functools.cache
def metrics() -> Metrics:
    """The metrics of this process: a registry takes each name once."""
    made = Metrics()
    watch_work(made)
    return made


def metrics_page(accept: str, figures: Callable[[], Mapping[str, tuple[str, float]]]) -> tuple[bytes, str]:
    """Return the page and its content type.

    :param accept: header of the request.
    :param figures: returns gauges that are read for the page, by name, each with what it means.
    """
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    encode, content_type = choose_encoder(accept)
    return encode(_WithFigures(registry, figures)), content_type


class _WithFigures(CollectorRegistry):
    def __init__(self, registry: CollectorRegistry, figures: Callable[[], Mapping[str, tuple[str, float]]]) -> None:
        super().__init__()
        self._registry, self._figures = registry, figures

    def collect(self) -> Iterator[Metric]:
        yield from self._registry.collect()
        for name, (meaning, value) in self._figures().items():
            yield GaugeMetricFamily(name, meaning, value)
