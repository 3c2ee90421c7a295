"""Coverage of paths by stack roots, and their replacement by source roots; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flask_grpcweb_scm.scm.validation import MAX_ROOT_CHARACTERS

__all__ = ["apply_root", "covering"]


def covering(path: str, ranks: Mapping[str, int]) -> list[int]:
    """Return the ranks, lowest first, of the stack roots that a path starts with on a segment boundary.

    ``/app`` covers ``/app/x.py`` and not ``/application/x.py``; an empty root covers every path.

    :param ranks: by stack root.
    """
    return sorted({ranks[start] for start in _starts(path) if start in ranks})


def apply_root(path: str, stack_root: str, source_root: str) -> str:
    """Replace the stack root of a path that it covers, which gives the path in the repository."""
    return (source_root + path.removeprefix(stack_root)).replace("\\", "/").removeprefix("/")


def _starts(path: str) -> Iterator[str]:
    """Yield the prefixes of a path up to each separator, without it and with it, as long as a root can be."""
    yield ""
    for index, character in enumerate(path[: MAX_ROOT_CHARACTERS + 1]):
        if character in "/\\":
            yield path[:index]
            yield path[: index + 1]
    if len(path) <= MAX_ROOT_CHARACTERS:
        yield path
