"""The interface between calls and their observers: log lines, signals, traces, metrics.

An observer is told when a call begins, and returns what it wants to have called when the call ends. Every call ends
once, whatever becomes of its response; so does a request that is refused before it becomes a call.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from flask_grpcweb_scm.rpc import CalledMethod, Identity, RpcError, StatusCode
from flask_grpcweb_scm.wire import Metadata

__all__ = ["Observation", "Observed", "Observer", "Outcome", "trace_id"]

# "HEXDIGLC = DIGIT / "a" / "b" …", and "all bytes as zero" is an invalid value. (W3C Trace Context, 3.2.2)
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?![0-9a-f])", re.ASCII)


def trace_id(environ: Mapping[str, Any]) -> str:
    """Return the trace of a request: that of the current span, else of its ``traceparent``; empty when there is none.

    :param environ: the WSGI environment.
    """
    # Spans may be of an instrumentation, also where GRPC_OTEL is off.
    api = sys.modules.get("opentelemetry.trace")
    if api is not None:
        number = api.get_current_span().get_span_context().trace_id
        if number:
            return f"{number:032x}"
    match = _TRACEPARENT.match(environ["HTTP_TRACEPARENT"]) if "HTTP_TRACEPARENT" in environ else None
    return match[1] if match else ""


class Observed(Protocol):
    """A call, or a request that was refused before it became one, as observers see it."""

    @property
    def method(self) -> CalledMethod | None:
        """The method; None when there is none at the path."""

    @property
    def path(self) -> str:
        """``/package.Service/Method``; the caller's choice where there is no such method."""

    @property
    def caller(self) -> Identity:
        """The caller, anonymous until it is authenticated."""

    @property
    def peer(self) -> str:
        """The caller's network address."""

    @property
    def protocol(self) -> str:
        """``grpc-web``, ``connect`` or ``grpc``; empty for a request of no protocol."""

    @property
    def call_id(self) -> str:
        """Names the call in the log."""

    @property
    def metadata(self) -> Metadata:
        """Sent by the caller."""

    @property
    def environ(self) -> Mapping[str, Any]:
        """The WSGI environment."""

    @property
    def bytes_received(self) -> int:
        """Of the body of the request, as far as it was read."""

    @property
    def bytes_sent(self) -> int:
        """Of the body of the response."""


class Outcome(NamedTuple):
    """The end of a call."""

    status: RpcError | None
    """The error that it ended with; None for OK."""
    seconds: float
    """Since the request arrived."""
    reason: str = ""
    """The origin of a status that is not the service's own."""

    @property
    def code(self) -> StatusCode:
        """The code of the status."""
        return self.status.code if self.status else StatusCode.OK


class Observer(Protocol):
    """Somebody who watches calls."""

    def begin(self, call: Observed, started: float) -> Callable[[Outcome], object]:
        """A call begins.

        :param started: the instant of :func:`time.monotonic` at which its request arrived.
        :returns: what is called at its end, in the context in which the service function ran.
        """


class Observation:
    """One call under observation."""

    __slots__ = ("_ends", "_has_ended", "_started", "call")

    def __init__(
        self, call: Observed, started: float | None = None, ends: Iterable[Callable[[Outcome], object]] = ()
    ) -> None:
        self.call: Observed | None = call
        """None once it has ended: a request has its observation, and a call its request."""
        self._started = time.monotonic() if started is None else started
        self._ends = [*ends]
        self._has_ended = False

    def begin(self, observers: Iterable[Observer]) -> None:
        """Tell the observers of the beginning; when one raises, only those before it are told of the end."""
        call, started, ends = self.call, self._started, self._ends
        assert call is not None
        for observer in observers:
            ends.append(observer.begin(call, started))

    def end(self, status: RpcError | None, reason: str = "") -> None:
        """Tell of the end, the first time that it is called, in the reverse order."""
        if not self._has_ended:
            self._has_ended, self.call = True, None
            self._tell(Outcome(status, time.monotonic() - self._started, reason))

    def _tell(self, outcome: Outcome) -> None:
        ends = self._ends
        try:
            while ends:
                ends.pop()(outcome)
        except BaseException:
            # A receiver of a signal may raise; the others are told all the same.
            self._tell(outcome)
            raise
