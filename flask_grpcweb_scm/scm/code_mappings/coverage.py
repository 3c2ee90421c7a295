"""Which code mappings cover a path of a stack trace, and where they lead: pure, on roots alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["MAX_ROOT_CHARACTERS", "apply_root", "covering"]

MAX_ROOT_CHARACTERS = 512


def covering(path: str, ranks: Mapping[str, int]) -> list[int]:
    """The ranks, lowest first, of the stack roots that a path starts with on a segment boundary.

    ``/app`` covers ``/app/x.py`` and not ``/application/x.py``; an empty root covers every path.

    :param ranks: of the stack roots.
    """
    return sorted({ranks[start] for start in _starts(path) if start in ranks})


def apply_root(path: str, stack_root: str, source_root: str) -> str:
    """The path in the repository of a path that a stack root covers."""
    return (source_root + path.removeprefix(stack_root)).replace("\\", "/").removeprefix("/")


def _starts(path: str) -> Iterator[str]:
    """Every start of a path that ends at a boundary, with its separator and without, as far as a root can reach."""
    yield ""
    for index, character in enumerate(path[: MAX_ROOT_CHARACTERS + 1]):
        if character in "/\\":
            yield path[:index]
            yield path[: index + 1]
    if len(path) <= MAX_ROOT_CHARACTERS:
        yield path
