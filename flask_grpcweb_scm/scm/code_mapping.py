"""Which code mappings cover a path of a stack trace: pure, on roots alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["covered_roots"]


def covered_roots(paths: Iterable[str], roots: Iterable[str]) -> set[str]:
    """The stack roots that at least one path starts with on a segment boundary.

    ``/app`` covers ``/app/x.py`` and not ``/application/x.py``; an empty root covers every path.
    """
    wanted = set(roots)
    return {start for path in paths for start in _starts(path) if start in wanted}


def _starts(path: str) -> Iterator[str]:
    """Every start of a path that ends at a boundary, with its separator and without."""
    yield ""
    for index, character in enumerate(path):
        if character in "/\\":
            yield path[:index]
            yield path[: index + 1]
    yield path
