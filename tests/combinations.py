"""Tests of a matrix: every value of every parameter, without all combinations of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable

import pytest

__all__ = ["ON_POSTGRESQL", "ON_SQLITE", "each_value_once"]

ON_POSTGRESQL = pytest.mark.parametrize("databases", ["postgresql"], indirect=True)
"""For a test of what only PostgreSQL does."""
ON_SQLITE = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)
"""For a test of files, requests or processes: other tests run its statements on PostgreSQL too."""


def each_value_once(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    """Choose few of the tests of each function, such that each value of each of its parameters is in one of them.

    A table of rows is one parameter, of which nothing is left out.
    """
    matrices: dict[str, dict[pytest.Item, set[Hashable]]] = defaultdict(dict)
    for item in items:
        matrices[item.nodeid.partition("[")[0]][item] = _values_of(item)
    return {item for matrix in matrices.values() for item in _cover(matrix)}


def _values_of(item: pytest.Item) -> set[Hashable]:
    """The values of a test's parameters, in the groups in which they were given."""
    params = dict(item.callspec.params) if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    values: set[Hashable] = set()
    for mark in item.iter_markers("parametrize"):
        names = mark.args[0] if mark.args else mark.kwargs["argnames"]
        group = [name.strip() for name in names.split(",")] if isinstance(names, str) else names
        values.add(tuple((name, id(params.pop(name))) for name in group if name in params))
    return values | {(name, id(value)) for name, value in params.items()}


def _cover(matrix: dict[pytest.Item, set[Hashable]]) -> list[pytest.Item]:
    missing = set().union(*matrix.values())
    if all(len(values) < 2 for values in matrix.values()):
        return list(matrix)
    chosen = []
    while missing:
        best = max(matrix, key=lambda item: len(matrix[item] & missing))
        missing -= matrix[best]
        chosen.append(best)
    return chosen
