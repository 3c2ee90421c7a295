"""Wrong credentials: counted by peer, refused with a delay, and then with another status.

A right credential passes whatever its peer has done before, so that a guesser locks out nobody who shares the address.
A guesser is told so little that it may as well look at the clock; what keeps it out is the length of the secret.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from typing import Any

from flask_grpcweb_scm.auth.counts import Counts, Uncountable
from flask_grpcweb_scm.auth.limits import exhausted, peer_key
from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.rpc import Authenticate, CallContext, Identity, Incidents, RpcError, StatusCode

__all__ = ["FailureLimiter"]

WINDOW_SECONDS = 60
MAX_PEERS = 10_000
"""That are remembered; the oldest are forgotten first."""
PROMPT_SHARE = 0.5
"""Of the failures that a peer may have: these are refused at once, as those of people are who mistype."""
DELAY_SECONDS = 0.2
MAX_DELAYED = 2
"""Threads that delays may hold at a time."""
MAX_DELAY_SECONDS = 4.0
"""Of all delays together, at once; they come back at :data:`DELAY_SHARE` of a thread's time."""
DELAY_SHARE = 0.1
HTTP_UNAUTHORIZED = 401
_CREDENTIALS = ("x-grpc-auth-token", "authorization", "x-signature")

logger = logging.getLogger("flask_grpcweb_scm")


class FailureLimiter:
    """Counts wrong credentials by peer, an IPv6 network of 64 bits being one.

    :param allowed: in a minute; more of them end with RESOURCE_EXHAUSTED.
    :param counts: that several processes share; None for each by itself.
    :param delay: seconds.
    """

    def __init__(self, allowed: int, counts: Counts | None = None, delay: float = DELAY_SECONDS) -> None:
        self._allowed = allowed
        self._counts = counts
        self._delay_seconds = delay
        self._incidents = Incidents(logger)
        self._renew()
        renew_after_fork(self, FailureLimiter._renew)

    def _renew(self) -> None:
        self._peers: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """The failures of a peer, and the instant from which they count."""
        self._delayed = 0
        self._budget, self._budget_at = MAX_DELAY_SECONDS, time.monotonic()
        self._lock = threading.Lock()

    def guard(self, authenticate: Authenticate) -> Authenticate:
        """Count the calls that are refused for what they have sent; to send nothing is no guess.

        :returns: a callable that raises RpcError RESOURCE_EXHAUSTED, with a RetryInfo, in place of UNAUTHENTICATED.
        """

        def authorize(context: CallContext) -> Identity:
            try:
                return authenticate(context)
            except Exception as error:
                if not _is_failure(error, context):
                    raise
                refusal = self._refuse(context)
                if refusal is None:
                    raise
            raise refusal

        return authorize

    def _refuse(self, context: CallContext) -> RpcError | None:
        failures, wait = self._count(context)
        if failures <= self._allowed * PROMPT_SHARE:
            return None
        if failures <= self._allowed and self._delay(context):
            return None
        return exhausted(context, "too many wrong credentials have come from this address", wait)

    def _count(self, context: CallContext) -> tuple[int, float]:
        """Return the number of failures of the peer, and the seconds until they are forgotten."""
        peer = peer_key(context.peer)
        if self._counts is not None:
            storage, key = self._counts, f"flask_grpcweb_scm/failures/{peer}"

            def count() -> tuple[int, float]:
                shared: Any = storage.limiter.storage
                return shared.incr(key, WINDOW_SECONDS), shared.get_expiry(key) - time.time()

            try:
                return storage.run(context, count)
            except Uncountable as error:
                if str(error):
                    text = "wrong credentials are counted in each process: GRPC_RATE_LIMIT_STORAGE cannot count: %s"
                    self._incidents.log("failures", text, error)
        now = time.monotonic()
        with self._lock:
            failures, since = self._peers.get(peer, (0, now))
            if now - since >= WINDOW_SECONDS:
                failures, since = 0, now
            self._peers[peer] = failures + 1, since
            self._peers.move_to_end(peer)
            if len(self._peers) > MAX_PEERS:
                self._peers.popitem(last=False)
        return failures + 1, since + WINDOW_SECONDS - now

    def _delay(self, context: CallContext) -> bool:
        """Wait before a refusal; False where too many wait already, or have waited."""
        with self._lock:
            now = time.monotonic()
            self._budget = min(MAX_DELAY_SECONDS, self._budget + (now - self._budget_at) * DELAY_SHARE)
            self._budget_at = now
            if self._delayed >= MAX_DELAYED or self._budget < self._delay_seconds:
                return False
            self._budget -= self._delay_seconds
            self._delayed += 1
        try:
            remaining = context.remaining()
            time.sleep(self._delay_seconds if remaining is None else min(self._delay_seconds, remaining))
        finally:
            with self._lock:
                self._delayed -= 1
        return True


def _is_failure(error: Exception, context: CallContext) -> bool:
    if isinstance(error, RpcError):
        is_refusal = error.code == StatusCode.UNAUTHENTICATED
    else:  # abort(401), without knowing Flask here
        is_refusal = getattr(error, "code", None) == HTTP_UNAUTHORIZED
    return is_refusal and any(context.metadata.get_text(name) for name in _CREDENTIALS)
