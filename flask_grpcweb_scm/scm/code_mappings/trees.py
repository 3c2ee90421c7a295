"""Indexes of the files of repositories by the ends of their paths, and a cache of them; pure."""

from __future__ import annotations

import re
import sys
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass

from flask_grpcweb_scm.forks import renew_after_fork
from flask_grpcweb_scm.observe import tell_of_cache
from flask_grpcweb_scm.scm.code_mappings.frames import extension
from flask_grpcweb_scm.scm.lru_cache import LruCache

__all__ = [
    "NOTHING",
    "Matches",
    "TreeCache",
    "TreeIndex",
    "TreeTooLarge",
    "common_length",
    "is_source_file",
    "main_file",
    "source_set",
]

_EXTENSIONS = """
    c h cc cpp hpp m mm
    cs fs vb ps1 csx fsx
    clj cljs cljc
    dart
    ex exs
    go
    groovy
    java kt kts jsp scala sc
    js jsx mjs tsx ts vue svelte
    php
    py
    rb rake
    rs
    swift
"""
SOURCE_EXTENSIONS = frozenset(_EXTENSIONS.split())
EXAMPLES = 3  # files to name in a reason
TAIL_SEGMENTS = 2  # of a path that only ends as a file does, so that it may mean the file
POINTER_BYTES = HASH_BYTES = 8
INDEX_BYTES = 500  # of an index without files

# The source sets of Maven and Gradle: src/test/, src/androidTest/, src/testFixtures/.
_TEST_SOURCES = re.compile(r"(^|/)src/(?:[a-z]+Test|test)(?:[A-Z]\w*)?/")


class TreeTooLarge(Exception):
    """Raised when a repository has more files than fit into the memory for them."""


@dataclass(frozen=True, slots=True)
class Matches:
    """The files that a path could mean."""

    count: int
    files: list[str]
    """The first few of them."""
    tail: int = 0
    """Number of segments with which the files and the path end; 0 where one of the two is the end of the other."""


NOTHING = Matches(0, [])


class TreeIndex:
    """An index that finds source files by the ends of their paths, by whole segments, and knows which files there are.

    The source files are one sorted list of paths from their last segment to their first, so that files with the same
    end are adjacent. Of all files and folders it has hashes, of 64 bits: they take little memory, and no two collide.

    :param files: all files of the repository.
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
        known, folders, hashes = frozenset(extensions), {""}, array("q")
        for file in files:
            hashes.append(hash(file))
            folder = file.rpartition("/")[0]
            while folder not in folders:
                folders.add(folder)
                hashes.append(hash(f"{folder}/"))
                folder = folder.rpartition("/")[0]
            if is_source_file(file, known):
                key = _reverse(file)
                self.bytes += sys.getsizeof(key) + POINTER_BYTES
                self._keys.append(key)
            if self.bytes + HASH_BYTES * len(hashes) > max_bytes:
                raise TreeTooLarge(f"its files take more than the {max_bytes / 2**20:g} MiB that there are")
        self.bytes += HASH_BYTES * len(hashes)
        self._keys.sort()
        self._hashes = array("q", sorted(hashes))

    def __len__(self) -> int:
        return len(self._keys)

    def has(self, path: str) -> bool:
        """Tell whether there is a file, in any language, with this path; a folder, when the path ends with a slash."""
        wanted = hash(path)
        index = bisect_left(self._hashes, wanted)
        return index < len(self._hashes) and self._hashes[index] == wanted

    def has_below(self, root: str) -> bool:
        """Tell whether the source root of a code mapping leads to any file."""
        return bool(self._hashes) if not root else self.has(f"{root.rstrip('/')}/")

    def below(self, root: str) -> Iterator[str]:
        """Yield the source files to which the source root of a code mapping leads."""
        folder = f"{root.rstrip('/')}/" if root else ""
        return (file for file in map(_restore, self._keys) if file.startswith(folder))

    def find(self, path: str, *, top: bool = True, tails: bool = True) -> Matches:
        """Return the source files that a path may mean: the shorter of the two is an end of the longer.

        Without such a file, those with which it has the most segments at its end in common. A file at the top of the
        repository is no match for a path in some folder.

        :param top: True for a path that may mean a file at the top, which alone it means when there is one.
        :param tails: True for a path that may begin with other folders than its file.
        """
        key = _reverse(path)
        if "/" not in path:
            if not top:
                return NOTHING
            if self._has_key(key):
                return Matches(1, [path])
        shorter = [end for end in self._proper_ends(key) if end.count("/") >= TAIL_SEGMENTS]
        found = self._ending_with(key, shorter)
        if found.count or not tails:
            return found
        common = self._longest_end(key)
        segments = common.count("/")
        if segments < TAIL_SEGMENTS:
            return NOTHING
        found = self._ending_with(common, [])
        return Matches(found.count, found.files, segments)

    def ending_with(self, path: str) -> Matches:
        """Return the source files that are a path, or end with it."""
        return self._ending_with(_reverse(path), [])

    def _ending_with(self, key: str, shorter: list[str]) -> Matches:
        start = bisect_left(self._keys, key)
        stop = bisect_left(self._keys, key[:-1] + chr(ord("/") + 1), lo=start)
        examples = [*shorter[:EXAMPLES], *self._keys[start : min(stop, start + EXAMPLES)]][:EXAMPLES]
        count = len(shorter) + stop - start
        files = [_restore(key) for key in examples]
        if 1 < count <= len(files):
            files = _without_tests(files)
            count = len(files)
        return Matches(count, files)

    def _has_key(self, key: str) -> bool:
        index = bisect_left(self._keys, key)
        return index < len(self._keys) and self._keys[index] == key

    def _proper_ends(self, key: str) -> Iterator[str]:
        """Yield the files that a path ends with, the longest first; each step cuts the key to what a file has too."""
        key = key[: key.rfind("/", 0, -1) + 1]
        while key:
            index = bisect_right(self._keys, key) - 1
            if index < 0:
                return
            if self._keys[index] == key:
                yield key
                key = key[: key.rfind("/", 0, -1) + 1]
            else:
                key = _whole_segments(self._keys[index], key)

    def _longest_end(self, key: str) -> str:
        index = bisect_left(self._keys, key)
        near = self._keys[max(index - 1, 0) : index + 1]
        return max((_whole_segments(each, key) for each in near), key=len, default="")


def _whole_segments(key: str, other: str) -> str:
    """Return the segments with which both begin."""
    return key[: key.rfind("/", 0, common_length(key, other)) + 1]


def common_length(one: str, other: str) -> int:
    """Return the number of characters with which both begin."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        # Only what is not known yet is compared, so that the time is linear.
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _without_tests(files: list[str]) -> list[str]:
    """Leave out files of ``src/test/`` that ``src/main/`` has too."""
    main = set(files)
    return [file for file in files if (other := main_file(file)) == file or other not in main]


def source_set(path: str) -> str:
    """Return ``main`` or ``test``, where Maven and Gradle have a file; empty elsewhere."""
    if _TEST_SOURCES.search(path):
        return "test"
    return "main" if re.search(r"(?:^|/)src/main/", path) else ""


def main_file(file: str) -> str:
    """Return what a file of ``src/test/`` would be in ``src/main/``; any other file unchanged."""
    return _TEST_SOURCES.sub(r"\1src/main/", file, count=1)


def is_source_file(path: str, extensions: frozenset[str] = SOURCE_EXTENSIONS) -> bool:
    """Tell whether a file is in a known language, and neither below ``tests/`` nor a spec."""
    return extension(path) in extensions and not path.endswith("spec.jsx") and not path.startswith("tests/")


def _reverse(path: str) -> str:
    """Turn ``src/app/x.py`` into ``x.py/app/src/``, of which every prefix up to a slash is an end of whole segments."""
    return "/".join(path.split("/")[::-1]) + "/"


def _restore(key: str) -> str:
    return _reverse(key[:-1])[:-1]


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
