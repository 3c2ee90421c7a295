"""Limits for each caller: rates of calls, and open streams."""

from __future__ import annotations

import functools
import ipaddress
import logging
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.rpc import (
    ANONYMOUS,
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

__all__ = ["Counts", "RateLimiter", "StreamLimiter", "TenantLimiter", "Uncountable", "exhausted", "peer_key"]

T = TypeVar("T")

STORAGE_SECONDS = 1
PROBE_SECONDS = 0.25
"""After a failure of the storage, until a call tries it again."""

logger = logging.getLogger("flask_grpcweb_scm")

RETRY_STREAM_SECONDS = 1.0
"""After which a caller may see whether a stream has ended."""


_PORT = re.compile(r"([\d.]+):\d+|[?\[]([0-9a-f:.]+)[?\]](?::\d+)?", re.IGNORECASE)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@functools.lru_cache(maxsize=1024)
def peer_key(peer: str) -> str:
    """Name the network that an address stands for: who has one of IPv6 has the other 2⁶⁴ around it.

    An IPv4 address is one, also where IPv6 carries it; the port that some proxies add is none of it.
    """
    match = _PORT.fullmatch(peer)
    try:
        address = ipaddress.ip_address((match[1] or match[2]) if match else peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address in _NAT64:
        return str(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    carried = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
    return str(carried or ipaddress.ip_network((int(address) >> 64 << 64, 64)))


def _caller_key(context: CallContext) -> str:
    """Name the caller; an anonymous one by its address."""
    return f"peer {peer_key(context.peer)}" if context.caller == ANONYMOUS else f"caller {context.caller.name}"


class Uncountable(Exception):
    """Raised when a storage of counts fails or takes too long; the text has the reason, if it is news."""


class Counts:
    """A storage of `limits`, which several processes may share, and which may hang.

    :param storage: as a URI that `limits` knows: ``memory://`` for each process by itself.
    :raises ImportError: when `limits` is not installed.
    :raises ValueError: for a storage that `limits` cannot use.
    """

    def __init__(self, storage: str) -> None:
        import limits

        self._storage_errors = limits.errors.StorageError
        self._storage = storage
        self._is_local = storage.startswith("memory")
        self._has_timeouts = storage.startswith(("redis", "valkey"))
        self._time_limit = TimeLimit("counting calls")
        self._state = _StorageState()
        try:
            self._made: SlidingWindowCounterRateLimiter | None = self._make()
        except limits.errors.ConfigurationError:
            # Its text has the whole URI, and that may have a password.
            scheme = storage.partition(":")[0]
            way_out = "install its client, such as: pip install redis"
            raise ValueError(f"GRPC_RATE_LIMIT_STORAGE: limits cannot count in {scheme!r}; {way_out}") from None
        renew_after_fork(self, Counts._renew)

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
    def limiter(self) -> SlidingWindowCounterRateLimiter:
        """The limiter of `limits`; for :meth:`run` only."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def run(self, context: CallContext, count: Callable[[], T]) -> T:
        """Count, for no longer than a second, and than the call may take.

        :raises Uncountable: when that fails, or has just failed for another call.
        """
        if self._is_local:
            return count()
        if not self._state.may_try():
            raise Uncountable("")
        try:
            return self._count_elsewhere(context, count)
        except (self._storage_errors, TimeoutError) as error:
            reason = str(error)
        # Outside, as the error refers to sockets.
        raise Uncountable(reason)

    def check(self) -> bool:
        """Return whether the storage responds, as soon as it does."""
        return bool(self.limiter.storage.check())

    def _count_elsewhere(self, context: CallContext, count: Callable[[], T]) -> T:
        remaining = context.remaining()
        if self._has_timeouts and self._state.is_prompt and (remaining is None or remaining > STORAGE_SECONDS):
            return self._watched(count)
        seconds = STORAGE_SECONDS if remaining is None else min(STORAGE_SECONDS, remaining)
        began = time.monotonic()
        try:
            # In a thread, which goes on for as long as the storage does.
            return self._time_limit.call(seconds, lambda: self._watched(count))
        except TimeoutError:
            if seconds == STORAGE_SECONDS:  # not for a call that was in a hurry
                self._state.failed(began)
            raise

    def _watched(self, count: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            result = count()
        except self._storage_errors:
            self._state.failed(began)
            raise
        except RpcError:
            self._state.succeeded()
            raise
        self._state.succeeded()
        return result


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


class RateLimiter:
    """Counts calls by caller and method.

    :param rates: by ``pkg.Service/Method``, ``pkg.Service/*`` or ``*``; the most specific name decides.
    """

    def __init__(self, rates: Mapping[str, str], counts: Counts) -> None:
        import limits

        self._rates = {name: limits.parse_many(rate) for name, rate in rates.items()}
        self._counts = counts
        self._incidents = Incidents(logger)

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

    def _count(self, context: CallContext) -> None:
        try:
            self._counts.run(context, lambda: self._hit(context))
            return
        except Uncountable as error:
            reason = str(error)
        if reason:
            self._incidents.log("storage", "calls are refused: GRPC_RATE_LIMIT_STORAGE cannot count: %s", reason)
        # Refused: else an attacker who stops the storage is free of the limit.
        context.check_deadline()
        raise unavailable("calls cannot be counted at present; try again later")

    def _hit(self, context: CallContext) -> None:
        assert context.method is not None
        service, name = context.method.service.name, f"{context.method.service.name}/{context.method.name}"
        scope = next((scope for scope in (name, f"{service}/*", "*") if scope in self._rates), None)
        for rate in () if scope is None else self._rates[scope]:
            if not self._counts.limiter.hit(rate, _caller_key(context), name):
                raise self._exhausted(context, rate, name)

    def _exhausted(self, context: CallContext, rate: RateLimitItem, name: str) -> RpcError:
        reset_time = self._counts.limiter.get_window_stats(rate, _caller_key(context), name).reset_time
        return exhausted(context, f"the rate limit of {rate} for {name} is used up", reset_time - time.time())


def exhausted(context: CallContext, text: str, wait: float) -> RpcError:
    """Make the refusal of a call that may be made again, with the seconds until then in all the places for them."""
    wait = max(0.001, wait)
    context.initial_metadata.add("retry-after", str(math.ceil(wait)))
    context.initial_metadata.add("retry-after-ms", str(math.ceil(wait * 1000)))
    return RpcError(StatusCode.RESOURCE_EXHAUSTED, f"{text}; try again in {math.ceil(wait)} s", [retry_info(wait)])


def _tenant_key(context: CallContext) -> str | None:
    """Name the tenant of a caller, which are its organizations; None for one who reaches all of them."""
    organizations = context.caller.organizations
    return None if organizations is None else f"tenant {sorted(organizations, key=repr)}"


class _OpenCalls:
    """Numbers of calls that are under way in this process, by any name."""

    def __init__(self) -> None:
        self._renew()
        renew_after_fork(self, _OpenCalls._renew)

    def _renew(self) -> None:
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    def enter(self, bounds: Mapping[str, tuple[int | None, str]]) -> Callable[[], object]:
        """Count a call under some names, until the returned function is called.

        :param bounds: by name: the most calls, None for any number, and the text of the refusal.
        :raises RpcError: RESOURCE_EXHAUSTED, with a RetryInfo, when there are as many as there may be under one.
        """
        with self._lock:
            for name, (most, text) in bounds.items():
                if most is not None and self._open[name] >= most:
                    raise RpcError(StatusCode.RESOURCE_EXHAUSTED, text, [retry_info(RETRY_STREAM_SECONDS)])
            self._open.update([*bounds])
        return lambda: self._leave([*bounds])

    def _leave(self, names: Sequence[str]) -> None:
        with self._lock:
            for name in names:
                self._open[name] -= 1
                if not self._open[name]:
                    del self._open[name]


class TenantLimiter:
    """An interceptor that counts the calls of each tenant that are under way in this process, but for streams.

    :param of_a_tenant: that callers with the same organizations may have at a time.
    """

    def __init__(self, of_a_tenant: int) -> None:
        self._of_a_tenant = of_a_tenant
        self._calls = _OpenCalls()

    def __call__(self, request: Any, context: CallContext, call_next: Callable[[Any, CallContext], Any]) -> Any:
        """Serve a call, unless there are as many as there may be."""
        tenant = _tenant_key(context)
        if tenant is None or context.method is None or context.method.server_streaming:
            return call_next(request, context)
        text = f"{self._of_a_tenant} calls of these organizations are under way already; try again later"
        leave = self._calls.enter({tenant: (self._of_a_tenant, text)})
        try:
            return call_next(request, context)
        finally:
            leave()


class StreamLimiter:
    """Counts the open streams of each caller, and of all together, in this process: each holds a worker thread.

    Callers with the same organizations may have half of all, lest a tenant with many tokens takes them from others.

    :param of_a_caller: that one may have open at a time; None for any number.
    :param in_total: that all together may have; None for any number.
    """

    def __init__(self, of_a_caller: int | None, in_total: int | None) -> None:
        self._of_a_caller = of_a_caller
        self._in_total = in_total
        self._of_a_tenant = None if of_a_caller is None or in_total is None else max(of_a_caller, in_total // 2)
        self._streams = _OpenCalls()

    def __call__(self, context: CallContext) -> Callable[[], object]:
        """Count a stream, until the returned function is called.

        :raises RpcError: RESOURCE_EXHAUSTED, with a RetryInfo, when there are as many as there may be.
        """
        caller, tenant, total = self._of_a_caller, self._of_a_tenant, self._in_total
        bounds = {_caller_key(context): (caller, f"{caller} streams of this caller are open already; close one first")}
        if (key := _tenant_key(context)) is not None:
            bounds[key] = tenant, f"{tenant} streams of these organizations are open already; close one first"
        bounds[""] = total, f"{total} streams are open already, and the others are for other calls"
        return self._streams.enter(bounds)
