"""Indexes of repository trees, kept in memory for the next stack trace."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable

from flask_grpcweb_scm.scm.derivation.tree_index import TreeIndex

__all__ = ["TreeCache"]


class TreeCache:
    """The tree indexes used last, up to a number of bytes altogether; threads may share it.

    A key names contents that never change, such as a repository and the object id of a tree, so nothing in here is
    ever out of date.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._indexes: OrderedDict[Hashable, TreeIndex] = OrderedDict()
        self._building: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable, files: Callable[[], Iterable[str]], *, timeout: float | None = None) -> TreeIndex:
        """The index under a key, made of `files` when it is not there; threads that want the same one make it once.

        :param timeout: seconds to wait for another thread that makes it; None for as long as that takes.
        :raises TimeoutError: after these.
        :raises TreeTooLarge: for files that would take more than all the bytes.
        """
        with self._lock:
            if (index := self._find(key)) is not None:
                return index
            building = self._building.setdefault(key, threading.Lock())
        if not building.acquire(timeout=-1 if timeout is None else timeout):
            raise TimeoutError("another call was still reading the files")
        try:
            with self._lock:
                if (index := self._find(key)) is not None:
                    return index
            index = TreeIndex(files(), max_bytes=self.max_bytes)
            with self._lock:
                self._keep(key, index)
            return index
        finally:
            with self._lock:
                self._building.pop(key, None)
            building.release()

    def _find(self, key: Hashable) -> TreeIndex | None:
        if key in self._indexes:
            self._indexes.move_to_end(key)
        return self._indexes.get(key)

    def _keep(self, key: Hashable, index: TreeIndex) -> None:
        if key in self._indexes:  # after a thread that failed, two others may have made it
            return
        self._indexes[key] = index
        self.bytes += index.bytes
        while self.bytes > self.max_bytes:
            _, oldest = self._indexes.popitem(last=False)
            self.bytes -= oldest.bytes
