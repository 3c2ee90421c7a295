"""Scoped credentials on every RPC of ScmService: over the wire, another tenant's row looks like a missing one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from flask_grpcweb_scm.auth import SignedTokens
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Repository, db
from tests.grpcweb import Answer
from tests.protocols import call, every_protocol, protocol  # noqa: F401  # a fixture
from tests.scm.databases import SqliteDatabases, disposed
from tests.scm.queries.test_tenancy import METHODS, NOWHERE, requests_for, statements
from tests.scm.support import SERVICE, Tenant, add_mapping, add_tenant, make_app
from tests.security.support import FULL, TOKEN_SECRET
from tests.tables import check_rows

ISSUER = SignedTokens([TOKEN_SECRET])
# The first tenant of the database has the id 1.
CREDENTIALS = {
    "token, by id": "by-id",
    "token, by slug": "by-slug",
    "token, of a repository and a project": "narrow",
    "signed token, of a repository and a project": ISSUER.issue(
        "a", expires_in=3600, organizations=["ours"], repositories=["ours/repository"], projects=["web"]
    ),
    "signed token, of these alone": ISSUER.issue("a", expires_in=3600, repositories=[1], projects=[1]),
    "signed token, by id": ISSUER.issue("a", expires_in=3600, organizations=[1]),
    "signed token, by slug": ISSUER.issue("a", expires_in=3600, organizations=["ours"]),
    "signed token, also of one that is not there": ISSUER.issue("a", expires_in=3600, organizations=[1, 77, "gone"]),
}


@pytest.fixture(scope="module")
def app(sqlite_databases: SqliteDatabases) -> Iterator[Flask]:
    # What PostgreSQL is asked is in tests/scm/queries/test_tenancy.py.
    uri = sqlite_databases.create()
    narrow = {"organizations": [1], "repositories": [1], "projects": [1]}
    scopes = {"by-id": {"organizations": [1]}, "by-slug": {"organizations": ["ours"]}, "narrow": narrow, FULL: {}}
    with disposed(make_app(uri, GRPC_AUTH_TOKENS=scopes, GRPC_TOKEN_SECRETS=TOKEN_SECRET)) as app:
        yield app
    sqlite_databases.drop(uri)


@pytest.fixture(scope="module")
def tenants(app: Flask) -> tuple[Tenant, Tenant]:
    with app.app_context():
        return add_mapping(add_tenant("ours")), add_mapping(add_tenant("theirs"))


def ask(app: Flask, credential: str, method: str, **fields: Any) -> Answer:
    rpc = app.extensions["grpcweb_scm"].dispatcher.methods[SERVICE + method]
    is_gettable = rpc.no_side_effects and not rpc.server_streaming
    message, headers = rpc.request_class(**fields), {"x-grpc-auth-token": credential}
    return call(app.test_client(), SERVICE + method, message, headers=headers, get=is_gettable)


def without_ids(answer: Answer) -> Any:
    parts = (answer.headers, answer.trailers)
    return answer.http_status, answer.code, answer.payloads, re.sub(r"\d+", "N", str(parts))


@every_protocol
@pytest.mark.parametrize("credential", CREDENTIALS.values(), ids=CREDENTIALS)
def test_another_tenants_row_looks_missing(app: Flask, tenants: tuple[Tenant, Tenant], credential: str) -> None:
    def check(method: str) -> None:
        seen = []
        for tenant in (tenants[1], NOWHERE):
            answers: list[Answer] = []

            def run(tenant: Tenant = tenant, answers: list[Answer] = answers) -> None:
                answers.append(ask(app, credential, method, **requests_for(tenant)[method]))

            queries = statements(app, run)
            assert len(queries) >= 1
            assert answers[0].code == 5
            seen.append((without_ids(answers[0]), queries))
        assert seen[0] == seen[1]

    check_rows(check, ((method,) for method in METHODS))


@every_protocol
@pytest.mark.parametrize("credential", [*CREDENTIALS.values(), FULL])
def test_ones_own_row_is_there(app: Flask, tenants: tuple[Tenant, Tenant], credential: str) -> None:
    assert ask(app, credential, "GetRepository", repository_id=tenants[0].repository).code == 0


def test_a_credential_without_scope_reaches_both(app: Flask, tenants: tuple[Tenant, Tenant]) -> None:
    assert [ask(app, FULL, "GetRepository", repository_id=tenant.repository).code for tenant in tenants] == [0, 0]


def test_nothing_is_stored_by_a_refused_call(app: Flask, tenants: tuple[Tenant, Tenant]) -> None:
    """Every writing RPC was tried on the other tenant above; its owner can still do each for the first time."""
    ours, theirs = tenants
    mapping = requests_for(theirs)["CreateCodeMapping"]
    assert ask(app, "by-id", "CreateCodeMapping", **mapping).code == 5
    assert ask(app, FULL, "CreateCodeMapping", **mapping).code == 0
    link = requests_for(theirs)["LinkExternalIssue"]
    assert ask(app, "by-id", "LinkExternalIssue", **link).code == 5
    assert ask(app, FULL, "LinkExternalIssue", **link).code == 0
    halves = ({"group_id": theirs.group}, {"external_issue_id": theirs.issue})
    for half in halves:
        own = {"group_id": ours.group, "external_issue_id": ours.issue}
        assert ask(app, "by-id", "LinkExternalIssue", **{**own, **half}).code == 5


def test_a_page_token_of_the_other_tenant_opens_nothing(app: Flask, tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants
    with app.app_context():
        db.session.add_all(Repository(organization_id=theirs.organization, name=f"r{n}") for n in range(3))
        db.session.commit()
    page = ask(app, FULL, "ListRepositories", organization_id=theirs.organization, page_size=1)
    token = page.only(scm_pb2.ListRepositoriesResponse).next_page_token
    assert token
    for organization, code in ((theirs.organization, 5), (ours.organization, 3)):
        answer = ask(app, "by-id", "ListRepositories", organization_id=organization, page_token=token)
        assert (answer.code, answer.payloads) == (code, [])
