"""What an app keeps in memory from call to call, in each of its processes."""

from __future__ import annotations

from flask import current_app

from flask_grpcweb_scm.scm.derivation import TreeCache
from flask_grpcweb_scm.scm.git import Storage
from flask_grpcweb_scm.scm.lru import LruCache
from flask_grpcweb_scm.scm.settings import current_settings
from flask_grpcweb_scm.scm.sources import Line

__all__ = ["Tip", "commit_cache", "line_cache", "tip_cache", "tree_cache"]

TIP_CACHE_BYTES = 2**20
COMMIT_SHARE = 1 / 16  # of the memory for lines

Tip = tuple[float, tuple[str, "str | None"]]
"""An instant of :func:`time.monotonic` until which it holds, and what :meth:`Source.tree` answered."""


def tree_cache() -> TreeCache:
    """Indexes of the files of repositories."""
    empty = TreeCache(current_settings().tree_cache_bytes)
    cache: TreeCache = current_app.extensions.setdefault("grpcweb_scm.trees", empty)
    return cache


def line_cache() -> LruCache[dict[int, Line]]:
    """Who last changed lines of files, by number, for each file as it was at a commit."""
    empty: LruCache[dict[int, Line]] = LruCache(current_settings().blame_cache_bytes)
    cache: LruCache[dict[int, Line]] = current_app.extensions.setdefault("grpcweb_scm.lines", empty)
    return cache


def commit_cache() -> LruCache[Storage]:
    """Where local mirrors had commits, by path of the mirror and id."""
    empty: LruCache[Storage] = LruCache(int(current_settings().blame_cache_bytes * COMMIT_SHARE))
    cache: LruCache[Storage] = current_app.extensions.setdefault("grpcweb_scm.commits", empty)
    return cache


def tip_cache() -> LruCache[Tip]:
    """The newest trees of repositories, for as long as that may be remembered."""
    cache: LruCache[Tip] = current_app.extensions.setdefault("grpcweb_scm.tips", LruCache(TIP_CACHE_BYTES))
    return cache
