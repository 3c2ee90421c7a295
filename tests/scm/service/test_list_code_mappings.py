"""ListCodeMappings and DeleteCodeMapping."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.scm import CodeMapping, Repository, RepositoryStatus, db
from tests.scm.support import Scm, Tenant

# In order of precedence: users' before generated ones, longer before shorter, older before newer.
ROOTS = [
    ("/app/src/ü", False),
    ("/app/src", False),
    ("/app", False),
    ("/opt", False),
    ("", False),
    ("/gen/x", True),
    ("g", True),
]


@pytest.fixture
def mapped(app: Flask, ours: Tenant) -> Tenant:
    with app.app_context():
        for root, generated in sorted(ROOTS):
            values = {
                "organization_id": ours.organization,
                "project_id": ours.project,
                "repository_id": ours.repository,
            }
            db.session.add(CodeMapping(**values, stack_root=root, automatically_generated=generated))
            db.session.flush()
        db.session.commit()
    return ours


def pages(scm: Scm, tenant: Tenant, page_size: int) -> list[list[str]]:
    token, result = "", []
    while True:
        fields = {"organization_id": tenant.organization, "project_id": tenant.project, "page_size": page_size}
        response = scm("ListCodeMappings", **fields, page_token=token)
        result.append([mapping.stack_root for mapping in response.mappings])
        token = response.next_page_token
        if not token:
            return result


@pytest.mark.parametrize("page_size", [0, 1, 2, 3, 6, 7, 8])
def test_pages_join_to_the_order_of_precedence(scm: Scm, mapped: Tenant, page_size: int) -> None:
    expected = [root for root, _ in ROOTS]
    size = page_size or len(expected)
    assert pages(scm, mapped, page_size) == [expected[n : n + size] for n in range(0, len(expected), size)]


def test_it_is_the_order_of_derivation(scm: Scm, mapped: Tenant) -> None:
    paths = [f"{root}/x.py" for root, _ in ROOTS]
    derived = scm(
        "DeriveCodeMappings", organization_id=mapped.organization, project_id=mapped.project, stacktrace_paths=paths
    ).mappings
    listed = scm("ListCodeMappings", organization_id=mapped.organization, project_id=mapped.project).mappings
    assert list(derived) == list(listed)


def test_mappings_of_repositories_that_are_being_deleted_are_gone(app: Flask, scm: Scm, mapped: Tenant) -> None:
    with app.app_context():
        db.session.get_one(Repository, mapped.repository).status = RepositoryStatus.PENDING_DELETION
        db.session.commit()
    assert pages(scm, mapped, 0) == [[]]


@pytest.mark.parametrize("page_size", [-1, -(2**31)])
def test_a_negative_page_size_is_an_invalid_argument(scm: Scm, mapped: Tenant, page_size: int) -> None:
    fields = {"organization_id": mapped.organization, "project_id": mapped.project, "page_size": page_size}
    scm.error(StatusCode.INVALID_ARGUMENT, "ListCodeMappings", **fields)


@pytest.mark.parametrize("method", ["ListRepositories", "ListCodeMappings"])
def test_a_token_of_another_list_is_refused(app: Flask, scm: Scm, mapped: Tenant, method: str) -> None:
    with app.app_context():
        db.session.add(Repository(organization_id=mapped.organization, name="second"))
        db.session.commit()
    organization: dict[str, Any] = {"organization_id": mapped.organization, "page_size": 1}
    project = {**organization, "project_id": mapped.project}
    tokens = {
        "ListCodeMappings": scm("ListRepositories", **organization).next_page_token,
        "ListRepositories": scm("ListCodeMappings", **project).next_page_token,
    }
    fields = project if method == "ListCodeMappings" else organization
    error = scm.error(StatusCode.INVALID_ARGUMENT, method, **fields, page_token=tokens[method])
    assert error.message == "page_token is of another request; request the first page again, without a token"


def test_a_deleted_mapping_is_gone_and_not_found_again(scm: Scm, mapped: Tenant) -> None:
    fields = {"organization_id": mapped.organization, "project_id": mapped.project}
    first, *others = scm("ListCodeMappings", **fields).mappings
    deletion = {"organization_id": mapped.organization, "code_mapping_id": first.id}
    scm("DeleteCodeMapping", **deletion)
    assert list(scm("ListCodeMappings", **fields).mappings) == others
    error = scm.error(StatusCode.NOT_FOUND, "DeleteCodeMapping", **deletion)
    assert error.message == f"code mapping {first.id} does not exist in organization {mapped.organization}"
    # Its stack_root is free again.
    create = {**fields, "repository_id": mapped.repository, "stack_root": first.stack_root}
    assert scm("CreateCodeMapping", **create).stack_root == first.stack_root


def test_a_deletion_past_its_deadline_deletes_nothing(scm: Scm, mapped: Tenant) -> None:
    fields = {"organization_id": mapped.organization, "project_id": mapped.project}
    before = scm("ListCodeMappings", **fields)
    deletion = {"organization_id": mapped.organization, "code_mapping_id": before.mappings[0].id}
    scm.error(StatusCode.DEADLINE_EXCEEDED, "DeleteCodeMapping", **deletion, timeout=0)
    assert scm("ListCodeMappings", **fields) == before
