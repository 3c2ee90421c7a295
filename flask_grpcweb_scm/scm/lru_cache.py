"""A cache of bounded size."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Hashable
from sys import getsizeof
from typing import Any, Generic, TypeVar

from flask_grpcweb_scm.forks import renew_after_fork

__all__ = ["LruCache", "memory_of"]

V = TypeVar("V")

ENTRY_BYTES = 300
"""Of the cache itself for each key, roughly."""


def memory_of(key: Hashable, value: object) -> int:
    """Return the bytes of memory that a cache keeps for a key and a value of texts, numbers, tuples and dataclasses."""
    return ENTRY_BYTES + _bytes_of(key) + _bytes_of(value)


def _bytes_of(value: Any) -> int:
    if isinstance(value, tuple):
        return getsizeof(value) + sum(map(_bytes_of, value))
    if dataclasses.is_dataclass(value):
        return getsizeof(value) + sum(_bytes_of(getattr(value, field.name)) for field in dataclasses.fields(value))
    return getsizeof(value)


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
        """Cache a value of `size` bytes (see :func:`memory_of`), unless it is larger than the limit."""
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
