"""ListRepositories."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import Identity, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Organization, Repository, RepositoryStatus, db
from tests.scm.databases import SqliteDatabases, disposed
from tests.scm.support import Scm, add_organization, add_tenant, make_app


def add(app: Flask, organization: int, *names: str, **values: Any) -> None:
    with app.app_context():
        for name in names:
            db.session.add(Repository(organization_id=organization, name=name, **values))
        db.session.commit()


def names(response: scm_pb2.ListRepositoriesResponse) -> list[str]:
    return [repository.name for repository in response.repositories]


def test_an_unknown_organization_is_not_found(scm: Scm) -> None:
    error = scm.error(StatusCode.NOT_FOUND, "ListRepositories", organization_id=77)
    assert error.message == "organization 77 does not exist"


def test_only_active_repositories_are_listed(app: Flask, scm: Scm, organization: int) -> None:
    for status in RepositoryStatus:
        add(app, organization, status.value, status=status)
    assert names(scm("ListRepositories", organization_id=organization)) == ["active"]


def test_repositories_of_other_organizations_are_not_listed(app: Flask, scm: Scm, organization: int) -> None:
    with app.app_context():
        db.session.add(Repository(organization=Organization(slug="other"), name="theirs"))
        db.session.commit()
    assert names(scm("ListRepositories", organization_id=organization)) == []


def test_the_order_is_by_name_then_id(app: Flask, scm: Scm, organization: int) -> None:
    add(app, organization, "b", "a", "c", "a")
    rows = scm("ListRepositories", organization_id=organization).repositories
    assert [(row.name, row.id) for row in rows] == [("a", 2), ("a", 4), ("b", 1), ("c", 3)]


def test_pages_are_bounded_in_bytes(app: Flask, scm: Scm, organization: int) -> None:
    sizes = [10, 4_000_000, 10, 1_500_000, 1_500_000, 1_500_000, 10]
    for number, size in enumerate(sizes):
        add(app, organization, str(number), config={"k": "a" * size})
    pages, token = [], None
    while token != "":
        page = scm("ListRepositories", organization_id=organization, page_size=1000, page_token=token or "")
        pages.append(names(page))
        token = page.next_page_token
    assert pages == [["0", "1"], ["2", "3", "4"], ["5", "6"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["100%", "A/b_c", "Größe", "axb", "back\\slash", "slash/a"]),
        ("A", ["A/b_c", "axb", "back\\slash", "slash/a"]),
        ("%", ["100%"]),
        ("_", ["A/b_c"]),
        ("\\", ["back\\slash"]),
        ("/", ["A/b_c", "slash/a"]),
        ("GRÖSSE", []),
        ("GRÖ", ["Größe"]),
        ("b_C", ["A/b_c"]),
        ("'", []),
        ("absent", []),
    ],
)
def test_query_is_a_literal_part_of_the_name_in_any_case(
    app: Flask, scm: Scm, organization: int, query: str, found: list[str]
) -> None:
    add(app, organization, "100%", "A/b_c", "Größe", "axb", "back\\slash", "slash/a")
    assert names(scm("ListRepositories", organization_id=organization, query=query)) == found


@pytest.mark.parametrize(
    ("provider", "spelling"),
    [
        ("PROVIDER_GITHUB", "github"),
        ("PROVIDER_GITLAB", "gitlab"),
        ("PROVIDER_BITBUCKET", "bitbucket"),
        ("PROVIDER_BITBUCKET_SERVER", "bitbucket_server"),
        ("PROVIDER_AZURE_DEVOPS", "vsts"),
        ("PROVIDER_GITHUB_ENTERPRISE", "github_enterprise"),
    ],
)
def test_a_provider_filter_matches_both_spellings(
    app: Flask, scm: Scm, organization: int, provider: str, spelling: str
) -> None:
    add(app, organization, "plain", provider=spelling)
    add(app, organization, "prefixed", provider=f"integrations:{spelling}")
    add(app, organization, "twice", provider=f"integrations:integrations:{spelling}")
    add(app, organization, "unknown", provider="svn")
    add(app, organization, "none")
    response = scm("ListRepositories", organization_id=organization, provider=provider)
    assert names(response) == ["plain", "prefixed"]
    everything = scm("ListRepositories", organization_id=organization).repositories
    assert [row.name for row in everything if row.provider == scm_pb2.Provider.Value(provider)] == ["plain", "prefixed"]
    assert {row.name for row in everything if not row.provider} == {"none", "twice", "unknown"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"page_size": -3}, "page_size must be 0 or more, got -3"),
        ({"provider": 99}, "provider must be one of the enum Provider, got 99"),
        ({"query": "x" * 201}, "query has 201 characters; the limit is 200"),
        ({"query": "a\0b"}, "query has a NUL character"),
    ],
)
def test_a_malformed_field_is_an_invalid_argument(
    scm: Scm, organization: int, fields: dict[str, Any], text: str
) -> None:
    error = scm.error(StatusCode.INVALID_ARGUMENT, "ListRepositories", organization_id=organization, **fields)
    assert error.message == text
    assert [violation.field for violation in error.details[0].field_violations] == list(fields)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("page_size", "rows"), [(0, 3), (2, 2), (4, 4), (5, 4), (2**31 - 1, 4)])
def test_page_size_0_is_the_default_and_more_than_the_maximum_is_the_maximum(
    database: str, page_size: int, rows: int
) -> None:
    with disposed(make_app(database, GRPC_PAGE_SIZE=3, GRPC_MAX_PAGE_SIZE=4)) as app:
        add_organization(app)
        add(app, 1, *"abcdef")
        assert len(Scm(app)("ListRepositories", organization_id=1, page_size=page_size).repositories) == rows


def pages(scm: Scm, organization: int, **fields: Any) -> list[list[str]]:
    result, token = [], ""
    while True:
        response = scm("ListRepositories", organization_id=organization, page_token=token, **fields)
        result.append(names(response))
        token = response.next_page_token
        if not token:
            return result


@pytest.mark.parametrize(
    ("page_size", "expected"),
    [(1, [["a"], ["a"], ["b"], ["c"]]), (3, [["a", "a", "b"], ["c"]]), (2, [["a", "a"], ["b", "c"]]), (4, [[*"aabc"]])],
)
def test_pages_join_to_the_whole_list(
    app: Flask, scm: Scm, organization: int, page_size: int, expected: list[list[str]]
) -> None:
    add(app, organization, "a", "c", "b", "a")
    assert pages(scm, organization, page_size=page_size) == expected


def test_rows_added_or_removed_between_pages_neither_repeat_nor_hide_others(
    app: Flask, scm: Scm, organization: int
) -> None:
    add(app, organization, "b", "d", "f", "h")
    first = scm("ListRepositories", organization_id=organization, page_size=2)
    add(app, organization, "a", "e")
    with app.app_context():
        db.session.execute(sa.delete(Repository).where(Repository.name.in_(["b", "d"])))
        db.session.commit()
    second = scm("ListRepositories", organization_id=organization, page_size=2, page_token=first.next_page_token)
    third = scm("ListRepositories", organization_id=organization, page_size=2, page_token=second.next_page_token)
    assert [names(page) for page in (first, second, third)] == [["b", "d"], ["e", "f"], ["h"]]


@pytest.fixture
def token(app: Flask, scm: Scm, organization: int) -> str:
    add(app, organization, "a1", "a2", "a3", provider="github")
    token: str = scm("ListRepositories", organization_id=organization, page_size=1).next_page_token
    return token


@pytest.mark.parametrize(
    "fields", [{"query": "a"}, {"provider": "PROVIDER_GITHUB"}, {"query": "b", "provider": "PROVIDER_GITLAB"}]
)
def test_a_token_of_another_filter_is_refused(scm: Scm, organization: int, token: str, fields: dict[str, Any]) -> None:
    error = scm.error(
        StatusCode.INVALID_ARGUMENT, "ListRepositories", organization_id=organization, page_token=token, **fields
    )
    assert error.message.startswith("page_token is of another request")


def test_a_token_of_another_organization_is_refused(app: Flask, scm: Scm, token: str) -> None:
    with app.app_context():
        db.session.add(Organization(id=55, slug="other"))
        db.session.commit()
    error = scm.error(StatusCode.INVALID_ARGUMENT, "ListRepositories", organization_id=55, page_token=token)
    assert "of another request" in error.message


def test_a_token_goes_with_another_page_size(scm: Scm, organization: int, token: str) -> None:
    response = scm("ListRepositories", organization_id=organization, page_token=token, page_size=2)
    assert names(response) == ["a2", "a3"]


@pytest.mark.parametrize(
    "damage",
    [
        # Not its last character: some of that one's bits mean nothing.
        lambda token: token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1],
        lambda token: "x" + token,
        lambda token: token[: len(token) // 2],
        lambda token: "nonsense",
        lambda token: "..",
        lambda token: "ü" * 100_000,
    ],
)
def test_a_damaged_token_is_refused(scm: Scm, organization: int, token: str, damage: Any) -> None:
    error = scm.error(
        StatusCode.INVALID_ARGUMENT, "ListRepositories", organization_id=organization, page_token=damage(token)
    )
    assert error.message == "page_token is not one of this server; request the first page again, without a token"


def test_an_expired_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app("sqlite://", GRPC_PAGE_TOKEN_MAX_AGE=1)
    with app.app_context():
        db.create_all()
    add(app, add_organization(app), "a", "b")
    scm = Scm(app)
    token = scm("ListRepositories", organization_id=1, page_size=1).next_page_token
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 2.1)  # the age counts whole seconds
    error = scm.error(StatusCode.INVALID_ARGUMENT, "ListRepositories", organization_id=1, page_token=token)
    assert error.message.startswith("page_token is expired")


@pytest.mark.parametrize(("ahead", "reason"), [(0.5, ""), (1, ""), (59, ""), (62, "from a server whose clock is more")])
def test_a_token_may_come_from_a_clock_that_is_ahead_by_a_minute(
    app: Flask, scm: Scm, organization: int, monkeypatch: pytest.MonkeyPatch, ahead: float, reason: str
) -> None:
    add(app, organization, "a", "b")
    now = time.time
    with monkeypatch.context() as patch:
        # The worst moment for half a second: the end of one.
        patch.setattr(time, "time", lambda: math.ceil(now()) - 0.1 + ahead)
        token = scm("ListRepositories", organization_id=organization, page_size=1).next_page_token
    if reason:
        error = scm.error(
            StatusCode.INVALID_ARGUMENT, "ListRepositories", organization_id=organization, page_token=token
        )
        assert error.message.startswith(f"page_token is {reason}")
    else:
        assert names(scm("ListRepositories", organization_id=organization, page_token=token)) == ["b"]


def test_secrets_of_tokens_can_be_replaced_one_after_the_other(sqlite_databases: SqliteDatabases) -> None:
    uri = sqlite_databases.create()

    def scm(secrets: list[str]) -> Scm:
        return Scm(make_app(uri, GRPC_PAGE_TOKEN_SECRETS=secrets))

    old = scm(["old"])
    add(old.app, add_organization(old.app), "a", "b")
    token = old("ListRepositories", organization_id=1, page_size=1).next_page_token
    both = scm(["new", "old"])
    assert names(both("ListRepositories", organization_id=1, page_token=token)) == ["b"]
    newer = both("ListRepositories", organization_id=1, page_size=1).next_page_token
    new = scm(["new"])
    assert names(new("ListRepositories", organization_id=1, page_token=newer)) == ["b"]
    new.error(StatusCode.INVALID_ARGUMENT, "ListRepositories", organization_id=1, page_token=token)


@pytest.mark.parametrize("method", ["ListRepositories", "StreamRepositories"])
def test_a_scope_of_projects_alone_reaches_the_organizations_of_these(app: Flask, scm: Scm, method: str) -> None:
    with app.app_context():
        first, second = add_tenant("first"), add_tenant("second")
    for scope in ({"projects": frozenset([first.project])}, {"repositories": frozenset([first.repository])}):
        caller = Identity("narrow", **scope)
        scm(method, caller=caller, organization_id=first.organization)
        for organization in (second.organization, 10**6):
            error = scm.error(StatusCode.NOT_FOUND, method, caller=caller, organization_id=organization)
            assert error.message == f"organization {organization} does not exist"
