"""Indexes of repository trees, kept in memory for the next stack trace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable

from flask_grpcweb_scm.scm.code_mappings.tree_index import TreeIndex
from flask_grpcweb_scm.scm.lru_cache import LruCache

__all__ = ["TreeCache"]


class TreeCache:
    """The tree indexes used last, up to a number of bytes altogether; threads may share it.

    A key names contents that never change, such as a repository and the object id of a tree.
    """

    def __init__(self, max_bytes: int) -> None:
        self._indexes: LruCache[TreeIndex] = LruCache(max_bytes)
        self._building: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:
        """How much memory the indexes take, approximately."""
        return self._indexes.bytes

    def get(self, key: Hashable, files: Callable[[], Iterable[str]], *, timeout: float | None = None) -> TreeIndex:
        """The index under a key, made of `files` when it is not there; threads that want the same one make it once.

        :param timeout: seconds to wait for another thread that makes it; None for as long as that takes.
        :raises TimeoutError: after these.
        :raises TreeTooLarge: for files that would take more than all the bytes.
        """
        index = self._indexes.get(key)
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
