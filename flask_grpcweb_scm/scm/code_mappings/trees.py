"""Indexes of the source files of repositories by the ends of their paths, and a cache of them; pure."""

from __future__ import annotations

import sys
import threading
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass

from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.observe import tell_of_cache
from flask_grpcweb_scm.scm.code_mappings.frames import extension
from flask_grpcweb_scm.scm.lru_cache import LruCache

__all__ = ["Matches", "TreeCache", "TreeIndex", "TreeTooLarge", "is_source_file"]

_EXTENSIONS = """
    cs fs vb ps1 csx fsx
    go
    java kt kts jsp scala sc
    js jsx mjs tsx ts
    php
    py
    rb rake
    clj cljs cljc
    groovy
"""
SOURCE_EXTENSIONS = frozenset(_EXTENSIONS.split())
EXAMPLES = 3  # files to name in a reason
POINTER_BYTES = 8
INDEX_BYTES = 500  # of an index without files


class TreeTooLarge(Exception):
    """Raised when a repository has more source files than fit into the memory for them."""


@dataclass(frozen=True, slots=True)
class Matches:
    """The files that a path could mean."""

    count: int
    files: list[str]
    """The first few of them."""


class TreeIndex:
    """An index that finds source files that end with a path, or are the end of a path, by whole segments.

    It is one sorted list of paths from their last segment to their first, so that files with the same end are adjacent.

    :param files: all files of the repository; those of no known language are left out.
    :param max_bytes: of memory, approximately.
    :raises TreeTooLarge: when they take more.
    """

    def __init__(
        self,
        files: Iterable[str],
        *,
        extensions: Iterable[str] = SOURCE_EXTENSIONS,
        max_bytes: float = float("inf"),
    ) -> None:
        self.bytes = INDEX_BYTES
        self._keys: list[str] = []
        known = frozenset(extensions)
        for file in files:
            if is_source_file(file, known):
                key = _reverse(file)
                self.bytes += sys.getsizeof(key) + POINTER_BYTES
                if self.bytes > max_bytes:
                    raise TreeTooLarge(f"its source files take more than the {max_bytes / 2**20:g} MiB that there are")
                self._keys.append(key)
        self._keys.sort()
        self._longest = max(map(len, self._keys), default=0)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, path: str) -> Matches:
        """Return the files that match a path: the shorter of the two is an end of the longer."""
        key = _reverse(path)
        start = bisect_left(self._keys, key)
        stop = bisect_left(self._keys, key[:-1] + chr(ord("/") + 1), lo=start)
        shorter = [end for end in _proper_ends(key, self._longest) if self._has(end)]
        examples = [*shorter[:EXAMPLES], *self._keys[start : min(stop, start + EXAMPLES)]]
        return Matches(len(shorter) + stop - start, [_restore(key) for key in examples[:EXAMPLES]])

    def _has(self, key: str) -> bool:
        index = bisect_left(self._keys, key)
        return index < len(self._keys) and self._keys[index] == key


def is_source_file(path: str, extensions: frozenset[str] = SOURCE_EXTENSIONS) -> bool:
    """Tell whether a file is in a known language, and neither below ``tests/`` nor a spec."""
    return extension(path) in extensions and not path.endswith("spec.jsx") and not path.startswith("tests/")


def _reverse(path: str) -> str:
    """Turn ``src/app/x.py`` into ``x.py/app/src/``, of which every prefix up to a slash is an end of whole segments."""
    return "/".join(path.split("/")[::-1]) + "/"


def _restore(key: str) -> str:
    return _reverse(key[:-1])[:-1]


def _proper_ends(key: str, limit: int) -> Iterator[str]:
    """Yield the proper prefixes of a reversed path up to a slash, of at most `limit` characters."""
    end = key.find("/") + 1
    while end < len(key) and end <= limit:
        yield key[:end]
        end = key.find("/", end) + 1


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
