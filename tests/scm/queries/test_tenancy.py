"""Every RPC against a row of another tenant: the answer, and the statements behind it, are those for a missing row."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import Identity, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import db
from tests.scm.support import Scm, Tenant, add_mapping, add_tenant

NOWHERE = Tenant(*[9_000_001] * 7)
SHA = "0" * 40


def requests_for(tenant: Tenant) -> dict[str, dict[str, Any]]:
    in_organization = {"organization_id": tenant.organization}
    return {
        "ListRepositories": in_organization,
        "GetRepository": {"repository_id": tenant.repository},
        "GetCommit": {"repository_id": tenant.repository, "commit_sha": SHA},
        "GetCommitContext": {
            "repository_id": tenant.repository,
            "commit_sha": SHA,
            "filepath": "x.py",
            "line_number": 1,
        },
        "BatchGetCommitContext": {
            "repository_id": tenant.repository,
            "lines": [{"commit_sha": SHA, "filepath": "x.py", "line_number": 1}],
        },
        "CreateCodeMapping": {
            **in_organization,
            "project_id": tenant.project,
            "repository_id": tenant.repository,
            "stack_root": "a/",
        },
        "DeriveCodeMappings": {**in_organization, "project_id": tenant.project, "stacktrace_paths": ["a/x.py"]},
        "CreateExternalIssue": {**in_organization, "integration_id": tenant.integration, "title": "x"},
        "LinkExternalIssue": {"group_id": tenant.group, "external_issue_id": tenant.issue},
        "ListExternalIssues": {**in_organization, "group_id": tenant.group},
        "UnlinkExternalIssue": {"group_id": tenant.group, "external_issue_id": tenant.issue},
        "StreamRepositories": in_organization,
        "ListCodeMappings": {**in_organization, "project_id": tenant.project},
        "DeleteCodeMapping": {**in_organization, "code_mapping_id": tenant.mapping},
    }


@pytest.fixture
def ours(app: Flask) -> Tenant:
    with app.app_context():
        return add_mapping(add_tenant("ours"))


@pytest.fixture
def theirs(app: Flask) -> Tenant:
    with app.app_context():
        return add_mapping(add_tenant("theirs"))


METHODS = list(requests_for(NOWHERE))


def test_every_method_of_the_service_is_in_the_table() -> None:
    assert sorted(METHODS) == sorted(
        method.name for method in scm_pb2.DESCRIPTOR.services_by_name["ScmService"].methods
    )


def statements(app: Flask, run: Any) -> list[str]:
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not statement.startswith("PRAGMA"):  # of a new connection
            seen.append(statement)

    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    try:
        run()
    finally:
        sa.event.remove(engine, "before_cursor_execute", note)
    return seen


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("by", ["id", "slug"])
def test_another_tenants_row_is_answered_as_a_missing_one(
    app: Flask, scm: Scm, ours: Tenant, theirs: Tenant, method: str, by: str
) -> None:
    caller = Identity("c", organizations=frozenset({ours.organization if by == "id" else "ours"}))
    errors, queries = [], []
    for tenant in (theirs, NOWHERE):
        fields = requests_for(tenant)[method]
        queries.append(
            statements(
                app,
                lambda fields=fields: errors.append(scm.error(StatusCode.NOT_FOUND, method, caller=caller, **fields)),
            )
        )
    texts = [re.sub(r"\d+", "N", error.message) for error in errors]
    assert texts[0] == texts[1]
    assert [error.details for error in errors] == [(), ()]
    assert queries[0] == queries[1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("organizations", [None, "own id", "own slug", "both"])
def test_ones_own_rows_are_found(
    scm: Scm, ours: Tenant, theirs: Tenant, method: str, organizations: str | None
) -> None:
    allowed = {
        None: None,
        "own id": frozenset({ours.organization}),
        "own slug": frozenset({"ours"}),
        "both": frozenset({ours.organization, "theirs"}),
    }[organizations]
    fields = requests_for(ours)[method]
    if method in ("GetCommit", "GetCommitContext"):
        error = scm.error(StatusCode.NOT_FOUND, method, caller=Identity("c", organizations=allowed), **fields)
        assert "commit" in error.message
    else:
        if method == "UnlinkExternalIssue":
            scm("LinkExternalIssue", **fields)
        scm(method, caller=Identity("c", organizations=allowed), **fields)


def test_a_mixed_request_reaches_nothing_of_the_other(scm: Scm, ours: Tenant, theirs: Tenant) -> None:
    caller = Identity("c", organizations=frozenset({ours.organization}))
    mixed = {**requests_for(ours)["CreateCodeMapping"], "repository_id": theirs.repository}
    scm.error(StatusCode.NOT_FOUND, "CreateCodeMapping", caller=caller, **mixed)
    for fields in (
        {"group_id": ours.group, "external_issue_id": theirs.issue},
        {"group_id": theirs.group, "external_issue_id": ours.issue},
    ):
        scm.error(StatusCode.NOT_FOUND, "LinkExternalIssue", caller=caller, **fields)
        scm.error(StatusCode.NOT_FOUND, "UnlinkExternalIssue", caller=caller, **fields)
    in_organization = {"organization_id": ours.organization, "group_id": theirs.group}
    scm.error(StatusCode.NOT_FOUND, "ListExternalIssues", caller=caller, **in_organization)
    for fields in (
        {"organization_id": ours.organization, "code_mapping_id": theirs.mapping},
        {"organization_id": theirs.organization, "code_mapping_id": ours.mapping},
    ):
        scm.error(StatusCode.NOT_FOUND, "DeleteCodeMapping", caller=caller, **fields)
