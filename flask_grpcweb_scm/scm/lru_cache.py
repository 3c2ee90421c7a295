"""A cache of bounded size."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from flask_grpcweb_scm.forks import renew_after_fork

__all__ = ["LruCache"]

V = TypeVar("V")


class LruCache(Generic[V]):
    """A cache with a limit in bytes, which evicts the least recently used values; threads may share it.

    Every key names something that never changes, so that no value becomes stale.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._values: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()
        renew_after_fork(self, LruCache._renew)

    def get(self, key: Hashable) -> V | None:
        """Return the value of a key; None when it is not cached."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: V, size: int) -> None:
        """Cache a value of `size` bytes, unless it is larger than the limit."""
        if size > self.max_bytes:
            return
        with self._lock:
            _, before = self._values.pop(key, (None, 0))
            self._values[key] = (value, size)
            self.bytes += size - before
            while self.bytes > self.max_bytes:
                _, (_, oldest) = self._values.popitem(last=False)
                self.bytes -= oldest

    def _renew(self) -> object:
        inherited = self._values
        if self._lock.locked():
            # Another thread, which a child does not have, was in the middle of a change.
            self._values, self.bytes = OrderedDict(), 0
        self._lock = threading.Lock()
        return inherited
