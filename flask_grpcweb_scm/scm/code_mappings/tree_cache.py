"""A cache of the indexes of trees; pure."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable

from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.observe import tell_of_cache
from flask_grpcweb_scm.scm.code_mappings.tree_index import TreeIndex
from flask_grpcweb_scm.scm.lru_cache import LruCache

__all__ = ["TreeCache"]


class TreeCache:
    """A cache of tree indexes with a limit in bytes; threads may share it.

    A key names contents that never change, such as a repository and the object id of a tree.
    """

    def __init__(self, max_bytes: int) -> None:
        self._indexes: LruCache[TreeIndex] = LruCache(max_bytes)
        self._building: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()
        renew_after_fork(self, TreeCache._renew)

    @property
    def bytes(self) -> int:
        """Memory of the indexes, approximately."""
        return self._indexes.bytes

    def get(self, key: Hashable, files: Callable[[], Iterable[str]], *, timeout: float | None = None) -> TreeIndex:
        """Return the index of a key, built of `files` when it is not cached; concurrent threads build it once.

        :param timeout: seconds to wait for another thread that builds it; None for no limit.
        :raises TimeoutError: after the timeout.
        :raises TreeTooLarge: for files that would exceed the limit of the cache.
        """
        index = self._indexes.get(key)
        tell_of_cache("trees", index is not None)
        return self._build(key, files, timeout) if index is None else index

    def _build(self, key: Hashable, files: Callable[[], Iterable[str]], timeout: float | None) -> TreeIndex:
        with self._lock:
            building = self._building.setdefault(key, threading.Lock())
        if not building.acquire(timeout=-1 if timeout is None else timeout):
            raise TimeoutError("another call was still reading the files")
        try:
            index = self._indexes.get(key)
            if index is None:
                index = TreeIndex(files(), max_bytes=self._indexes.max_bytes)
                self._indexes.put(key, index, index.bytes)
            return index
        finally:
            with self._lock:
                self._building.pop(key, None)
            building.release()

    def _renew(self) -> None:
        # The threads that hold the locks are the parent's.
        self._building, self._lock = {}, threading.Lock()
