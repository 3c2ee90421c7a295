"""Health, which says if a server may be sent calls.

Each check runs in a thread of its own, for one request at a time, and its result is kept for a second: a check that
hangs holds one thread and fails at once, and no number of requests makes a database work.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from flask import Flask

from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.pb.health_pb2 import HealthCheckRequest, HealthCheckResponse
from flask_grpcweb_scm.pb.health_rpc import Health as HealthService
from flask_grpcweb_scm.rpc import CallContext, RpcError, Service, StatusCode

__all__ = ["Check", "Checks", "Health", "health_service"]

CHECK_SECONDS = 0.8
"""That the checks may take: Kubernetes waits for a second."""
FRESH_SECONDS = 1.0
"""That a result is kept."""
WATCH_SECONDS = 1.0
"""Between two looks of a watcher."""
REPEAT_SECONDS = 30.0
"""After which a watcher is told the same again, lest a thread is held for one who is gone."""
IMPATIENT_SECONDS = 0.1
"""That callers wait for a check whose last run has failed: while a database hangs, they would hold all threads."""
REASON_CHARACTERS = 500

logger = logging.getLogger("flask_grpcweb_scm")


@dataclass(frozen=True, slots=True)
class Check:
    """A function that returns or raises what it has found, and the service that needs it."""

    function: Callable[[], object]
    """None and true values pass, exceptions do not."""
    service: str = ""
    """Full name; empty when all services need it."""
    name: str = ""
    """For the log."""


@dataclass(slots=True)
class Checks:
    """The checks that an extension was given; they may grow at any time."""

    added: list[Check] = field(default_factory=list)
    is_draining: bool = False
    """True once calls should go to other servers. A signal handler may set it."""


class Health:
    """The health of one app.

    :param own: checks beside those that the extension was given.
    :param drain_file: whose existence says that calls should go to other servers.
    """

    def __init__(
        self,
        app: Flask,
        checks: Checks,
        own: Iterable[Check] = (),
        drain_file: str | None = None,
    ) -> None:
        self.services: Collection[str] = ()
        """Full names of those that are served."""
        self._app = app
        self._checks = checks
        self._drain_file = drain_file
        self._runs = [_Run(app, check) for check in own]
        self._known = 0
        self._lock = threading.Lock()
        renew_after_fork(self, Health._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    @property
    def is_draining(self) -> bool:
        """True when calls should go to other servers, whatever the checks say."""
        return self._checks.is_draining or (self._drain_file is not None and os.path.exists(self._drain_file))

    def is_serving(self, service: str = "") -> bool:
        """Return whether all checks pass that a service needs; of the whole server, when it is empty."""
        if self.is_draining:
            return False
        with self._lock:
            added = self._checks.added[self._known :]
            self._runs += [_Run(self._app, check) for check in added]
            self._known += len(added)
            runs = [run for run in self._runs if not service or run.check.service in {"", service}]
        for run in runs:
            run.begin()
        failing = [run.check.name for run in runs if not run.has_passed()]
        return not failing


class _Run:
    """The last run of a check, and its result."""

    def __init__(self, app: Flask, check: Check) -> None:
        self.check = check
        self._app = app
        self._was_passed = True
        self._renew()
        renew_after_fork(self, _Run._renew)

    def _renew(self) -> None:
        # The thread of a run is the parent's.
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ended.set()
        self._began = self._at = -math.inf
        self._reason: str | None = None

    def begin(self) -> None:
        """Run the check again, unless its result is fresh, or it is under way."""
        with self._lock:
            now = time.monotonic()
            if not self._ended.is_set() or now - self._at < FRESH_SECONDS:
                return
            self._ended.clear()
            self._began = now
        try:
            threading.Thread(target=self._run, name=f"health check {self.check.name}", daemon=True).start()
        except RuntimeError as error:  # there are as many threads as there may be
            self._end(str(error))

    def _run(self) -> None:
        reason: str | None = None
        try:
            with self._app.app_context():
                result = self.check.function()
            if result is not None and not result:
                reason = f"it has returned {result!r}"
        except BaseException as error:  # SystemExit, too, would leave it under way for good
            reason = f"{type(error).__name__}: {error}"
        self._end(reason)

    def _end(self, reason: str | None) -> None:
        self._at, self._reason = time.monotonic(), reason
        self._ended.set()

    def has_passed(self) -> bool:
        """Wait for the result, for as long as the check may take."""
        patience = IMPATIENT_SECONDS if self._reason else CHECK_SECONDS
        reason = self._reason or f"no result in {patience:g} s"
        if self._ended.wait(max(0.0, self._began + patience - time.monotonic())):
            reason = self._reason or ""
        with self._lock:
            is_news, self._was_passed = self._was_passed != (not reason), not reason
        if is_news and reason:
            logger.warning("not serving: the health check %s fails: %s", self.check.name, reason[:REASON_CHARACTERS])
        elif is_news:
            logger.warning("the health check %s passes again", self.check.name)
        return not reason


def health_service(health: Health, *, watch: bool = False) -> Service:
    """Make the service of an app.

    :param watch: serve ``Watch`` too, which holds a thread for each watcher.
    """
    service = HealthService()
    service.is_probe = True

    def status(name: str) -> HealthCheckResponse.ServingStatus.ValueType:
        if name and name not in health.services:
            return HealthCheckResponse.SERVICE_UNKNOWN
        return HealthCheckResponse.SERVING if health.is_serving(name) else HealthCheckResponse.NOT_SERVING

    @service.Check
    def check(request: HealthCheckRequest, context: CallContext) -> HealthCheckResponse:
        found = status(request.service)
        if found == HealthCheckResponse.SERVICE_UNKNOWN:
            raise RpcError(StatusCode.NOT_FOUND, "no service of this name is served here")
        return HealthCheckResponse(status=found)

    def statuses(request: HealthCheckRequest, context: CallContext) -> Iterator[HealthCheckResponse]:
        last, told = None, -math.inf
        while True:
            is_draining = health.is_draining
            found, now = status(request.service), time.monotonic()
            if found != last or now - told >= REPEAT_SECONDS:
                last, told = found, now
                yield HealthCheckResponse(status=found)
            if is_draining:
                # A stream that goes on would keep the server from stopping.
                raise RpcError(StatusCode.UNAVAILABLE, "this server is about to stop; watch another one")
            context.check_deadline()
            time.sleep(min(WATCH_SECONDS, context.remaining() or WATCH_SECONDS))

    if watch:
        service.Watch(statuses)
    else:
        service.unimplemented("Watch")
    return service
