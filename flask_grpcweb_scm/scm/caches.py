"""What an app keeps in memory from call to call, in each of its processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flask import current_app

from flask_grpcweb_scm.scm.code_mappings import TreeCache
from flask_grpcweb_scm.scm.lru_cache import LruCache
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.sources import Line
from flask_grpcweb_scm.scm.sources.mirror import Storage

__all__ = ["Tip", "commit_cache", "line_cache", "tip_cache", "tree_cache"]

TIP_CACHE_BYTES = 2**20
COMMIT_SHARE = 1 / 16  # of the memory for lines

Cache = TypeVar("Cache")

Tip = tuple[float, tuple[str, "str | None"]]
"""An instant of :func:`time.monotonic` until which it holds, and what :meth:`Source.tree` answered."""


def tree_cache() -> TreeCache:
    """Indexes of the files of repositories."""
    return _kept("trees", lambda: TreeCache(current_settings().tree_cache_bytes))


def line_cache() -> LruCache[dict[int, Line]]:
    """Who last changed lines of files, by number, for each file as it was at a commit."""
    return _kept("lines", lambda: LruCache(current_settings().blame_cache_bytes))


def commit_cache() -> LruCache[Storage]:
    """Where local mirrors had commits, by path of the mirror and id."""
    return _kept("commits", lambda: LruCache(int(current_settings().blame_cache_bytes * COMMIT_SHARE)))


def tip_cache() -> LruCache[Tip]:
    """The newest trees of repositories, for as long as that may be remembered."""
    return _kept("tips", lambda: LruCache(TIP_CACHE_BYTES))


def _kept(name: str, make: Callable[[], Cache]) -> Cache:
    """What the current app has under a name, made at its first use."""
    extensions, name = current_app.extensions, f"grpcweb_scm.{name}"
    # Not the one made last: two threads may come first.
    kept: Cache = extensions[name] if name in extensions else extensions.setdefault(name, make())
    return kept
