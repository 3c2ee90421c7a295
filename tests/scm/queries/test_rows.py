"""Rows of columns have the types of their columns."""

from __future__ import annotations

from typing import Any, NamedTuple, get_type_hints

import pytest

from flask_grpcweb_scm.scm import CodeMapping, CommitAuthor, Repository
from flask_grpcweb_scm.scm.queries import select_row
from flask_grpcweb_scm.scm.queries.code_mappings import CodeMappingRow
from flask_grpcweb_scm.scm.queries.commits import AuthorRow
from flask_grpcweb_scm.scm.queries.repositories import RepositoryRow

# Columns that are read as text, whatever they are.
AS_TEXT = {"status", "config"}


@pytest.mark.parametrize(
    ("row", "model"), [(RepositoryRow, Repository), (CodeMappingRow, CodeMapping), (AuthorRow, CommitAuthor)]
)
def test_a_field_has_the_type_of_its_column(row: type[NamedTuple], model: Any) -> None:
    for name, kind in get_type_hints(row).items():
        column = model.__table__.c[name]
        python_type = str if name in AS_TEXT else getattr(column.type, "impl_instance", column.type).python_type
        assert kind == (python_type | None if column.nullable else python_type), name


def test_the_columns_are_those_of_the_fields_in_their_order() -> None:
    assert [column.name for column in select_row(CodeMappingRow, CodeMapping).selected_columns] == [
        *CodeMappingRow._fields
    ]


def test_a_field_without_a_column_is_refused() -> None:
    class Row(NamedTuple):
        id: int
        nam: str

    with pytest.raises(KeyError, match="nam"):
        select_row(Row, Repository)
