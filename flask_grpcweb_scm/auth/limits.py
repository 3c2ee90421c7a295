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
from typing import TYPE_CHECKING, Any

from flask_grpcweb_scm.auth.counts import Counts, Uncountable
from flask_grpcweb_scm.auth.shared import SharedStreams
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

if TYPE_CHECKING:
    from limits import RateLimitItem

__all__ = ["RateLimiter", "StreamLimiter", "TenantLimiter", "exhausted", "peer_key"]

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
    if context.caller == ANONYMOUS:
        return f"peer {peer_key(context.peer)}"
    # A name of the app's own may have a lone surrogate, as JSON may, which no storage takes.
    return "caller " + context.caller.name.encode("utf-8", "backslashreplace").decode()


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
                if self._open[name] <= 0:  # a forked child may end what its parent has open
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
    """Counts the open streams of each caller, and of all together in this process: each holds a worker thread.

    Callers with the same organizations may have half of all, lest a tenant with many tokens takes them from others.

    :param of_a_caller: that one may have open at a time; None for any number.
    :param in_total: that all together may have; None for any number.
    :param shared: counts those of a caller in all processes; None for this one alone.
    """

    def __init__(self, of_a_caller: int | None, in_total: int | None, shared: SharedStreams | None = None) -> None:
        self._of_a_caller = of_a_caller
        self._in_total = in_total
        self._of_a_tenant = None if of_a_caller is None or in_total is None else max(of_a_caller, in_total // 2)
        self._shared = shared
        self._streams = _OpenCalls()

    def __call__(self, context: CallContext) -> Callable[[], object]:
        """Count a stream, until the returned function is called.

        :raises RpcError: RESOURCE_EXHAUSTED, with a RetryInfo, when there are as many as there may be.
        """
        caller, tenant, total = self._of_a_caller, self._of_a_tenant, self._in_total
        name, of_caller = _caller_key(context), f"{caller} streams of this caller are open already; close one first"
        bounds = {name: (caller, of_caller)}
        if (key := _tenant_key(context)) is not None:
            bounds[key] = tenant, f"{tenant} streams of these organizations are open already; close one first"
        bounds[""] = total, f"{total} streams are open already, and the others are for other calls"
        leave = self._streams.enter(bounds)
        if self._shared is None or caller is None:
            return leave
        try:
            leave_shared = self._shared.enter(context, name, caller)
        except BaseException:
            leave()
            raise
        if leave_shared is None:
            leave()
            raise RpcError(StatusCode.RESOURCE_EXHAUSTED, of_caller, [retry_info(RETRY_STREAM_SECONDS)])

        def leave_both() -> None:
            leave()
            leave_shared()

        return leave_both
