"""A storage of counts that several processes may share."""

from __future__ import annotations

import contextlib
import importlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.rpc import CallContext, RpcError
from flask_grpcweb_scm.time_limits import TimeLimit

if TYPE_CHECKING:
    from limits.strategies import SlidingWindowCounterRateLimiter

__all__ = ["Counts", "Uncountable"]

T = TypeVar("T")

STORAGE_SECONDS = 1
PROBE_SECONDS = 0.25
"""After a failure of the storage, until a call tries it again."""


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

        self._storage_errors: tuple[type[Exception], ...] = (limits.errors.StorageError,)
        self._refusals: tuple[type[Exception], ...] = (RpcError,)
        """Raised while the storage responds: by whoever counts, and of a command."""
        self._storage = storage
        self._is_local = storage.startswith("memory")
        self.has_redis = storage.startswith(("redis", "valkey"))
        scheme = storage.partition(":")[0]
        # Clients of clusters and sentinels ask one server after the other.
        self._has_timeout = self.has_redis and not scheme.endswith(("+cluster", "+sentinel"))
        self._time_limit = TimeLimit("counting calls")
        self._state = _StorageState()
        self._made: SlidingWindowCounterRateLimiter | None = None
        try:
            if self.has_redis:
                # Of what is asked of the client itself.
                *errors, refusal = _errors_of_client(scheme)
                self._storage_errors, self._refusals = (*self._storage_errors, *errors), (RpcError, refusal)
            with contextlib.suppress(*self._storage_errors):  # a cluster that is gone: the next call makes it
                self._made = self._make()
        except (limits.errors.ConfigurationError, ImportError):
            # Its text has the whole URI, and that may have a password.
            way_out = "install its client, such as: pip install redis"
            raise ValueError(f"GRPC_RATE_LIMIT_STORAGE: limits cannot count in {scheme!r}; {way_out}") from None
        except ValueError:  # as that of a port, which may be a part of the password
            raise ValueError("GRPC_RATE_LIMIT_STORAGE is not a URI such as redis://127.0.0.1:6379/0") from None
        renew_after_fork(self, Counts._renew)

    def _make(self) -> SlidingWindowCounterRateLimiter:
        import limits

        timeouts = {"socket_timeout": STORAGE_SECONDS, "socket_connect_timeout": STORAGE_SECONDS}
        options = timeouts if self.has_redis else {}
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

    @property
    def redis(self) -> Any:
        """The client of Redis, or of Valkey, that `limits` has; for :meth:`run` only, and if :attr:`has_redis`."""
        storage: Any = self.limiter.storage
        return storage.storage

    def run(self, context: CallContext | None, count: Callable[[], T]) -> T:
        """Count, for no longer than a second, and than the call may take.

        :raises Uncountable: when that fails, or has just failed for another call.
        """
        if self._is_local:
            return count()
        if not self._state.may_try():
            raise Uncountable("")
        failures: tuple[type[Exception], ...] = (TimeoutError, *self._storage_errors)
        try:
            return self._count_elsewhere(context, count)
        except failures as error:
            reason = str(error)
        # Outside, as the error refers to sockets.
        raise Uncountable(reason)

    def check(self) -> bool:
        """Return whether the storage responds, as soon as it does."""
        try:
            return bool(self.limiter.storage.check())
        except self._storage_errors:
            return False

    def _count_elsewhere(self, context: CallContext | None, count: Callable[[], T]) -> T:
        remaining = None if context is None else context.remaining()
        if self._has_timeout and self._state.is_prompt and (remaining is None or remaining > STORAGE_SECONDS):
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
        except self._refusals:
            self._state.succeeded()
            raise
        except self._storage_errors:
            self._state.failed(began)
            raise
        self._state.succeeded()
        return result


def _errors_of_client(scheme: str) -> tuple[type[Exception], type[Exception], type[Exception]]:
    """Return what a client of Redis, or of Valkey, raises: any error, one of a cluster, and the refusal of a command.

    :raises ImportError: when it is not installed.
    """
    name = "Valkey" if scheme.startswith("valkey") else "Redis"
    exceptions = importlib.import_module(f"{name.lower()}.exceptions")
    # That of a cluster is none of the others.
    return getattr(exceptions, f"{name}Error"), getattr(exceptions, f"{name}ClusterException"), exceptions.ResponseError


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
