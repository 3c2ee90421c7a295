"""Limits for each caller: rates of calls, and open streams."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.rpc import (
    Authenticate,
    CallContext,
    Identity,
    Incidents,
    RpcError,
    StatusCode,
    retry_info,
    unavailable,
)
from flask_grpcweb_scm.time_limits import TimeLimit

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import SlidingWindowCounterRateLimiter

__all__ = ["RateLimiter", "StreamLimiter"]

STORAGE_SECONDS = 1
PROBE_SECONDS = 0.25
"""After a failure of the storage, until a call tries it again."""

logger = logging.getLogger("flask_grpcweb_scm")

RETRY_STREAM_SECONDS = 1.0
"""After which a caller may see whether a stream has ended."""


def _caller_key(context: CallContext) -> str:
    """Name the caller; an anonymous one by its address."""
    return f"peer {context.peer}" if context.caller == Identity() else f"caller {context.caller.name}"


class RateLimiter:
    """Counts calls by caller and method.

    :param rates: by ``pkg.Service/Method``, ``pkg.Service/*`` or ``*``; the most specific name decides.
    :param storage: of the counts, as a URI that `limits` knows: ``memory://`` for each process by itself.
    :raises ImportError: when `limits` is not installed.
    :raises ValueError: for a storage that `limits` cannot use.
    """

    def __init__(self, rates: Mapping[str, str], storage: str) -> None:
        import limits

        self._storage_errors = limits.errors.StorageError
        self._rates = {name: limits.parse_many(rate) for name, rate in rates.items()}
        self._storage = storage
        self._is_local = storage.startswith("memory")
        self._has_timeouts = storage.startswith(("redis", "valkey"))
        self._time_limit = TimeLimit("counting calls")
        self._state = _StorageState()
        self._incidents = Incidents(logger)
        try:
            self._made: SlidingWindowCounterRateLimiter | None = self._make()
        except limits.errors.ConfigurationError:
            # Its text has the whole URI, and that may have a password.
            scheme = storage.partition(":")[0]
            text = f"GRPC_RATE_LIMIT_STORAGE: limits cannot count in {scheme!r}; is its client installed?"
            raise ValueError(text) from None
        renew_after_fork(self, RateLimiter._renew)

    def guard(self, authenticate: Authenticate) -> Authenticate:
        """Count a call once its caller is known; a refused call counts for its address.

        :returns: a callable that raises RpcError RESOURCE_EXHAUSTED, with a RetryInfo, once a rate is used up, and
            UNAVAILABLE or DEADLINE_EXCEEDED while the storage cannot count.
        """

        def authorize(context: CallContext) -> Identity:
            try:
                context.caller = authenticate(context)
            finally:
                self._count(context)
            return context.caller

        return authorize

    def _make(self) -> SlidingWindowCounterRateLimiter:
        import limits

        timeouts = {"socket_timeout": STORAGE_SECONDS, "socket_connect_timeout": STORAGE_SECONDS}
        options = timeouts if self._has_timeouts else {}
        counts = limits.storage.storage_from_string(self._storage, wrap_exceptions=True, **options)
        return limits.strategies.SlidingWindowCounterRateLimiter(counts)

    def _renew(self) -> object:
        # The next call makes a new one: storages have threads and connections.
        inherited, self._made, self._state = self._made, None, _StorageState()
        return inherited

    @property
    def _limiter(self) -> SlidingWindowCounterRateLimiter:
        if self._made is None:
            self._made = self._make()
        return self._made

    def _count(self, context: CallContext) -> None:
        if self._is_local:
            self._hit(context)
            return
        if self._state.may_try():
            try:
                self._count_elsewhere(context)
                return
            except (self._storage_errors, TimeoutError) as error:
                reason = str(error)
            self._incidents.log("storage", "calls are refused: GRPC_RATE_LIMIT_STORAGE cannot count: %s", reason)
        # Refused: else an attacker who stops the storage is free of the limit. Outside, as the error refers to sockets.
        context.check_deadline()
        raise unavailable("calls cannot be counted at present; try again later")

    def _count_elsewhere(self, context: CallContext) -> None:
        """Wait for the storage no longer than a second, and than the deadline."""
        remaining = context.remaining()
        if self._has_timeouts and self._state.is_prompt and (remaining is None or remaining > STORAGE_SECONDS):
            self._watched_hit(context)
            return
        seconds = STORAGE_SECONDS if remaining is None else min(STORAGE_SECONDS, remaining)
        began = time.monotonic()
        try:
            # In a thread, which goes on for as long as the storage does.
            self._time_limit.call(seconds, lambda: self._watched_hit(context))
        except TimeoutError:
            if seconds == STORAGE_SECONDS:  # not for a call that was in a hurry
                self._state.failed(began)
            raise

    def _watched_hit(self, context: CallContext) -> None:
        began = time.monotonic()
        try:
            self._hit(context)
        except self._storage_errors:
            self._state.failed(began)
            raise
        except RpcError:
            self._state.succeeded()
            raise
        self._state.succeeded()

    def _hit(self, context: CallContext) -> None:
        assert context.method is not None
        service, name = context.method.service.name, f"{context.method.service.name}/{context.method.name}"
        scope = next((scope for scope in (name, f"{service}/*", "*") if scope in self._rates), None)
        for rate in () if scope is None else self._rates[scope]:
            if not self._limiter.hit(rate, _caller_key(context), name):
                raise self._exhausted(context, rate, name)

    def _exhausted(self, context: CallContext, rate: RateLimitItem, name: str) -> RpcError:
        wait = max(0.001, self._limiter.get_window_stats(rate, _caller_key(context), name).reset_time - time.time())
        context.initial_metadata.add("retry-after", str(math.ceil(wait)))
        context.initial_metadata.add("retry-after-ms", str(math.ceil(wait * 1000)))
        text = f"the rate limit of {rate} for {name} is used up; try again in {math.ceil(wait)} s"
        return RpcError(StatusCode.RESOURCE_EXHAUSTED, text, [retry_info(wait)])


class _StorageState:
    """Memory of a storage that fails: one call at a time tries it again, the others need not wait for it too."""

    def __init__(self) -> None:
        self.is_prompt = False
        """True when the last call was counted."""
        self._lock = threading.Lock()
        self._next_try = 0.0
        self._succeeded = 0.0

    def may_try(self) -> bool:
        """Return True to all calls unless the storage has failed, and then to one, which has a second for it."""
        if self.is_prompt or not self._next_try:
            return True
        with self._lock:
            now = time.monotonic()
            if now < self._next_try:
                return False
            self._next_try = now + STORAGE_SECONDS
            return True

    def succeeded(self) -> None:
        self.is_prompt = True
        self._succeeded = time.monotonic()

    def failed(self, began: float) -> None:
        """Note a failure of a call that began then; not if the storage has counted another one since."""
        if began >= self._succeeded:
            self._next_try = time.monotonic() + PROBE_SECONDS
            self.is_prompt = False


class StreamLimiter:
    """Counts the open streams of each caller, and of all together, in this process: each holds a worker thread.

    :param of_a_caller: that one may have open at a time; None for any number.
    :param in_total: that all together may have; None for any number.
    """

    def __init__(self, of_a_caller: int | None, in_total: int | None) -> None:
        self._of_a_caller = of_a_caller
        self._in_total = in_total
        self._renew()
        renew_after_fork(self, StreamLimiter._renew)

    def _renew(self) -> None:
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, context: CallContext) -> Callable[[], object]:
        """Count a stream, until the returned function is called.

        :raises RpcError: RESOURCE_EXHAUSTED, with a RetryInfo, when there are as many as there may be.
        """
        key = _caller_key(context)
        with self._lock:
            if self._of_a_caller is not None and self._open[key] >= self._of_a_caller:
                raise _too_many(f"{self._of_a_caller} streams of this caller are open already; close one first")
            if self._in_total is not None and self._open.total() >= self._in_total:
                raise _too_many(f"{self._in_total} streams are open already, and the others are for other calls")
            self._open[key] += 1
        return lambda: self._leave(key)

    def _leave(self, key: str) -> None:
        with self._lock:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]


def _too_many(text: str) -> RpcError:
    return RpcError(StatusCode.RESOURCE_EXHAUSTED, text, [retry_info(RETRY_STREAM_SECONDS)])
