"""The quick tests have every value of a parameter, and every row of a table."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.combinations import each_value_once

WAYS, PLACES = ["a", "b", "c"], ["x", "y", "z", "w"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.mark.parametrize("place", PLACES)
def a_matrix(way: str, place: str) -> None:
    """Has twelve combinations."""


@pytest.mark.parametrize(("place", "number"), [("x", 1), ("x", 2), ("y", 1), ("y", 2)])
@pytest.mark.parametrize("other", ["same", "other"])
def a_table(place: str, number: int, other: str) -> None:
    """Has four rows, two times."""


def without_parameters() -> None:
    """Has one way to be run."""


@pytest.fixture
def chosen(request: pytest.FixtureRequest) -> Callable[[Callable[..., None]], list[dict[str, object]]]:
    module = request.node.getparent(pytest.Module)

    def chosen(function: Callable[..., None]) -> list[dict[str, object]]:
        items = list(module._genfunctions(function.__name__, function))
        return [item.callspec.params if hasattr(item, "callspec") else {} for item in each_value_once(items)]

    return chosen


def test_of_a_matrix_there_is_each_value(chosen: Callable[..., list[dict[str, str]]]) -> None:
    found = chosen(a_matrix)
    assert len(found) == max(len(WAYS), len(PLACES))
    assert {params["way"] for params in found} == {*WAYS}
    assert {params["place"] for params in found} == {*PLACES}


def test_of_a_table_there_is_each_row(chosen: Callable[..., list[dict[str, object]]]) -> None:
    found = chosen(a_table)
    assert sorted((params["place"], params["number"]) for params in found) == [("x", 1), ("x", 2), ("y", 1), ("y", 2)]
    assert {params["other"] for params in found} == {"same", "other"}


def test_a_test_without_parameters_is_there(chosen: Callable[..., list[dict[str, object]]]) -> None:
    assert chosen(without_parameters) == [{}]
