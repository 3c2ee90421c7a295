"""CreateCodeMapping and DeriveCodeMappings."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import RpcError, StatusCode
from flask_grpcweb_scm.scm import CodeMapping, Repository, RepositoryStatus, db
from tests.combinations import ON_SQLITE
from tests.scm.support import Scm, Tenant


def fields_of(tenant: Tenant, **more: Any) -> dict[str, Any]:
    ids = {"organization_id": tenant.organization, "project_id": tenant.project, "repository_id": tenant.repository}
    return {**ids, "stack_root": "app/", "source_root": "src/app/", "default_branch": "main", **more}


def count(app: Flask) -> int:
    with app.app_context():
        return db.session.scalar(sa.select(sa.func.count()).select_from(CodeMapping)) or 0


def test_a_mapping_is_stored_as_given(app: Flask, scm: Scm, ours: Tenant) -> None:
    mapping = scm("CreateCodeMapping", **fields_of(ours))
    for name, value in fields_of(ours).items():
        assert getattr(mapping, name) == value
    with app.app_context():
        row = db.session.get_one(CodeMapping, mapping.id)
        assert (row.stack_root, row.automatically_generated) == ("app/", False)


@pytest.mark.parametrize(
    "more", [{"stack_root": ""}, {"source_root": ""}, {"default_branch": ""}, {"default_branch": "release/1.2-x_y"}]
)
def test_roots_and_branch_may_be_empty(scm: Scm, ours: Tenant, more: dict[str, str]) -> None:
    assert scm("CreateCodeMapping", **fields_of(ours, **more)).id


@ON_SQLITE
@pytest.mark.parametrize("root", ["a b", "a\tb", "a\nb", "a'b", 'a"b', "a\0b", "a\x7fb", " a"])
@pytest.mark.parametrize("field", ["stack_root", "source_root"])
def test_roots_have_no_whitespace_quotes_or_control_characters(
    app: Flask, scm: Scm, ours: Tenant, field: str, root: str
) -> None:
    error = scm.error(StatusCode.INVALID_ARGUMENT, "CreateCodeMapping", **fields_of(ours, **{field: root}))
    assert field in error.message
    assert error.details[0].field_violations[0].field == field  # type: ignore[attr-defined]
    assert count(app) == 0


@ON_SQLITE
@pytest.mark.parametrize("branch", ["/main", "main/", "/", "a b", "a:b", "a~1", "ü\n"])
def test_a_branch_has_no_slash_at_either_end_and_no_odd_characters(scm: Scm, ours: Tenant, branch: str) -> None:
    error = scm.error(StatusCode.INVALID_ARGUMENT, "CreateCodeMapping", **fields_of(ours, default_branch=branch))
    assert "default_branch" in error.message


@pytest.mark.parametrize("field", ["organization_id", "project_id", "repository_id"])
def test_project_and_repository_must_be_the_organizations(
    app: Flask, scm: Scm, ours: Tenant, theirs: Tenant, field: str
) -> None:
    foreign = fields_of(theirs)[field]
    for wrong in (foreign, 999, 0, -1):
        scm.error(StatusCode.NOT_FOUND, "CreateCodeMapping", **fields_of(ours, **{field: wrong}))
    assert count(app) == 0


def test_the_same_stack_root_again_already_exists_and_names_the_row(app: Flask, scm: Scm, ours: Tenant) -> None:
    first = scm("CreateCodeMapping", **fields_of(ours))
    error = scm.error(StatusCode.ALREADY_EXISTS, "CreateCodeMapping", **fields_of(ours, source_root="other/"))
    assert f"code mapping {first.id}" in error.message
    assert count(app) == 1


def test_of_two_that_race_one_wins_and_one_already_exists(app: Flask, scm: Scm, ours: Tenant) -> None:
    def create(number: int) -> str:
        try:
            scm("CreateCodeMapping", **fields_of(ours, source_root=f"{number}/"))
        except RpcError as error:
            return error.code.name
        return "OK"

    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(create, range(8)))
    assert codes == ["ALREADY_EXISTS"] * 7 + ["OK"]
    assert count(app) == 1


def test_a_call_past_its_deadline_stores_nothing(app: Flask, scm: Scm, ours: Tenant) -> None:
    scm.error(StatusCode.DEADLINE_EXCEEDED, "CreateCodeMapping", **fields_of(ours), timeout=0)
    assert count(app) == 0


# DeriveCodeMappings


def derive(scm: Scm, tenant: Tenant, *paths: str) -> list[str]:
    response = scm(
        "DeriveCodeMappings",
        organization_id=tenant.organization,
        project_id=tenant.project,
        stacktrace_paths=paths,
    )
    return [mapping.stack_root for mapping in response.mappings]


def add_mapping(app: Flask, tenant: Tenant, stack_root: str, *, generated: bool = False) -> None:
    with app.app_context():
        db.session.add(CodeMapping(**fields_of(tenant, stack_root=stack_root), automatically_generated=generated))
        db.session.commit()


@pytest.mark.parametrize(
    ("root", "path", "covered"),
    [
        ("/app", "/app/x.py", True),
        ("/app/", "/app/x.py", True),
        ("/app", "/app", True),
        ("/app", "/application/x.py", False),
        ("app", "app/x.py", True),
        ("app", "/app/x.py", False),
        ("", "anything.py", True),
        ("C:\\app\\", "C:\\app\\x.cs", True),
        ("app", "src/app/x.py", False),
    ],
)
def test_a_mapping_covers_a_path_on_a_segment_boundary(
    app: Flask, scm: Scm, ours: Tenant, root: str, path: str, covered: bool
) -> None:
    add_mapping(app, ours, root)
    assert derive(scm, ours, path) == ([root] if covered else [])


def test_users_rows_come_before_generated_ones_and_longer_roots_first(app: Flask, scm: Scm, ours: Tenant) -> None:
    for root, generated in (("a/", False), ("a/b/c/", True), ("a/b/", False), ("other/", False)):
        add_mapping(app, ours, root, generated=generated)
    # For each path its best mapping; once each, in that order.
    found = derive(scm, ours, "a/b/c/x.py", "a/x.py", "a/y.py")
    assert found == [root for root in ("a/b/", "a/", "a/b/c/") if root in found]
    assert "other/" not in found
    assert found[0] == "a/b/"


def test_mappings_of_a_repository_that_is_being_deleted_are_left_out(app: Flask, scm: Scm, ours: Tenant) -> None:
    add_mapping(app, ours, "a/")
    with app.app_context():
        db.session.get_one(Repository, ours.repository).status = RepositoryStatus.PENDING_DELETION
        db.session.commit()
    assert derive(scm, ours, "a/x.py") == []


def test_deriving_for_an_unknown_project_is_not_found(scm: Scm, ours: Tenant, theirs: Tenant) -> None:
    for project in (theirs.project, 999):
        scm.error(StatusCode.NOT_FOUND, "DeriveCodeMappings", organization_id=ours.organization, project_id=project)
