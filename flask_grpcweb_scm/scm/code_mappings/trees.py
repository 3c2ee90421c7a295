"""An index of the source files of a repository by the ends of their paths; pure."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flask_grpcweb_scm.scm.code_mappings.frames import extension

__all__ = ["Matches", "TreeIndex", "TreeTooLarge", "is_source_file"]

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
