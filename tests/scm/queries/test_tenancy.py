"""Every RPC against a row of another tenant: the answer, and the statements behind it, are those for a missing row."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import Identity, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import (
    CodeMapping,
    ExternalIssue,
    Group,
    GroupLink,
    Integration,
    OrganizationIntegration,
    Project,
    Repository,
    db,
)
from tests.scm.support import GitRepository, Scm, Tenant, add_mapping, add_tenant, set_mirror
from tests.tables import check_rows

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
        "FindSuspectCommits": {
            **in_organization,
            "project_id": tenant.project,
            "frames": [{"path": "a/x.py", "line": 1}],
            "release_commits": [{"repository_id": tenant.repository, "commit_sha": SHA}],
        },
        "CreateExternalIssue": {**in_organization, "integration_id": tenant.integration, "title": "x"},
        "LinkExternalIssue": {"group_id": tenant.group, "external_issue_id": tenant.issue},
        "ListExternalIssues": {**in_organization, "group_id": tenant.group},
        "UnlinkExternalIssue": {"group_id": tenant.group, "external_issue_id": tenant.issue},
        "DescribeTrackerFields": {**in_organization, "integration_id": tenant.integration},
        "SearchExternalIssues": {**in_organization, "integration_id": tenant.integration, "query": "x"},
        "StreamRepositories": in_organization,
        "ListCodeMappings": {**in_organization, "project_id": tenant.project},
        "DeleteCodeMapping": {**in_organization, "code_mapping_id": tenant.mapping},
        "ListProjects": in_organization,
        "ListIntegrations": in_organization,
        "UpsertGroup": {**in_organization, "project_id": tenant.project, "short_id": 1, "title": "x"},
        "SyncRepository": {"repository_id": tenant.repository},
        "ListCommits": {"repository_id": tenant.repository},
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
# Where the own row is found, and something behind it is missing.
BEHIND = {
    "GetCommit": (StatusCode.NOT_FOUND, "commit"),
    "GetCommitContext": (StatusCode.NOT_FOUND, "commit"),
    "DescribeTrackerFields": (StatusCode.FAILED_PRECONDITION, "has no tracker"),
    "SearchExternalIssues": (StatusCode.FAILED_PRECONDITION, "has no tracker"),
    "SyncRepository": (StatusCode.FAILED_PRECONDITION, "has no remote"),
}
# Others are about integrations, which belong to the organization: tests/scm/service/test_tracker_lookups.py.
METHODS_OF_ROWS = [method for method in METHODS if not method.endswith(("TrackerFields", "SearchExternalIssues"))]


def check_is_found(scm: Scm, method: str, **arguments: Any) -> None:
    if method in BEHIND:
        code, text = BEHIND[method]
        assert text in scm.error(code, method, **arguments).message
    else:
        scm(method, **arguments)


def check_all_are_found(scm: Scm, methods: list[str], caller: Identity, tenant: Tenant) -> None:
    # In this order: what is deleted has been found before.
    fields = requests_for(tenant)
    check_rows(lambda method: check_is_found(scm, method, caller=caller, **fields[method]), ((m,) for m in methods))


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


def check_looks_missing(app: Flask, scm: Scm, method: str, caller: Identity, *tenants: Tenant) -> None:
    """Rows of the first tenant, as those of the second, which are not there."""
    errors, queries = [], []
    for tenant in tenants:
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


@pytest.mark.parametrize("by", ["id", "slug"])
def test_another_tenants_row_is_answered_as_a_missing_one(
    app: Flask, scm: Scm, ours: Tenant, theirs: Tenant, by: str
) -> None:
    caller = Identity("c", organizations=frozenset({ours.organization if by == "id" else "ours"}))
    rows = ((method,) for method in METHODS)
    check_rows(lambda method: check_looks_missing(app, scm, method, caller, theirs, NOWHERE), rows)


@pytest.mark.parametrize("organizations", [None, "own id", "own slug", "both"])
def test_ones_own_rows_are_found(scm: Scm, ours: Tenant, theirs: Tenant, organizations: str | None) -> None:
    allowed = {
        None: None,
        "own id": frozenset({ours.organization}),
        "own slug": frozenset({"ours"}),
        "both": frozenset({ours.organization, "theirs"}),
    }[organizations]
    check_all_are_found(scm, METHODS, Identity("c", organizations=allowed), ours)


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


# Scopes below the organization: a row of the same tenant, outside of the caller's repositories and projects.


def add_inside(ours: Tenant, name: str) -> Tenant:
    """Another repository and project of the same organization, with rows of their own. Needs an app context."""
    belonging = {"organization_id": ours.organization}
    project, repository = Project(slug=name, **belonging), Repository(name=f"ours/{name}", **belonging)
    issue = ExternalIssue(integration_id=ours.integration, key=f"{name}-1", title=f"Secret of {name}", **belonging)
    db.session.add_all([project, repository, issue])
    db.session.flush()
    group = Group(project_id=project.id, short_id=1, title=f"Secret of {name}")
    db.session.add(group)
    db.session.flush()
    link = GroupLink(group_id=group.id, project_id=project.id, linked_id=issue.id)
    mapping = CodeMapping(project_id=project.id, repository_id=repository.id, stack_root=f"/{name}/", **belonging)
    db.session.add_all([link, mapping])
    db.session.commit()
    ids = ours.organization, project.id, group.id, ours.integration, repository.id, issue.id, mapping.id
    return Tenant(*ids)


@pytest.fixture
def inside(app: Flask, ours: Tenant) -> Tenant:
    with app.app_context():
        return add_inside(ours, "other")


SCOPES: dict[str, Callable[[Tenant], Identity]] = {
    "by id": lambda tenant: Identity(
        "c",
        organizations=frozenset({tenant.organization}),
        repositories=frozenset({tenant.repository}),
        projects=frozenset({tenant.project}),
    ),
    "by name": lambda tenant: Identity(
        "c",
        organizations=frozenset({"ours"}),
        repositories=frozenset({"ours/repository", 77}),
        projects=frozenset({"web", "gone"}),
    ),
    "without an organization": lambda tenant: Identity(
        "c", repositories=frozenset({tenant.repository}), projects=frozenset({tenant.project})
    ),
}
# What a list has of the rows outside of the scope; every other method does not find them.
LISTS = {"ListRepositories", "StreamRepositories", "ListProjects"}
ORGANIZATION_WIDE = {"CreateExternalIssue", "DescribeTrackerFields", "ListIntegrations", "SearchExternalIssues"}


def nowhere_inside(tenant: Tenant) -> Tenant:
    """Rows that are missing in an organization that is not."""
    return dataclasses.replace(NOWHERE, organization=tenant.organization, integration=tenant.integration)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_row_outside_of_the_scope_is_answered_as_a_missing_one(
    app: Flask, scm: Scm, ours: Tenant, inside: Tenant, scope: str
) -> None:
    caller = SCOPES[scope](ours)
    whole = Identity("c", organizations=frozenset({ours.organization}))

    def check(method: str) -> None:
        check_looks_missing(app, scm, method, caller, inside, nowhere_inside(ours))
        # Without the scope it is there.
        fields = requests_for(inside)[method]
        if method == "LinkExternalIssue":
            scm.error(StatusCode.ALREADY_EXISTS, method, caller=whole, **fields)
        else:
            check_is_found(scm, method, caller=whole, **fields)

    check_rows(check, ((method,) for method in METHODS if method not in LISTS | ORGANIZATION_WIDE))


@pytest.mark.parametrize("scope", SCOPES)
def test_a_row_in_the_scope_is_found(scm: Scm, ours: Tenant, inside: Tenant, scope: str) -> None:
    check_all_are_found(scm, METHODS_OF_ROWS, SCOPES[scope](ours), ours)


@pytest.mark.parametrize("scope", SCOPES)
def test_lists_have_what_is_in_the_scope(app: Flask, scm: Scm, ours: Tenant, inside: Tenant, scope: str) -> None:
    caller = SCOPES[scope](ours)
    in_organization = {"organization_id": ours.organization}
    scm("LinkExternalIssue", group_id=ours.group, external_issue_id=ours.issue)
    for fields in ({}, {"page_size": 1}, {"query": "ours"}, {"query": "OTHER"}):
        page = scm("ListRepositories", caller=caller, **in_organization, **fields)
        expected = [] if fields.get("query") == "OTHER" else [ours.repository]
        assert ([row.id for row in page.repositories], page.next_page_token) == (expected, "")
        whole = scm("ListRepositories", **in_organization, **fields)
        assert inside.repository in [row.id for row in whole.repositories] or fields == {"query": "ours"}
    with app.app_context():
        for row_id in (ours.repository, inside.repository):
            db.session.get_one(Repository, row_id).provider = "integrations:github"
        db.session.commit()
    of_github = {**in_organization, "provider": scm_pb2.PROVIDER_GITHUB}
    assert [row.id for row in scm("ListRepositories", caller=caller, **of_github).repositories] == [ours.repository]
    assert len(scm("ListRepositories", **of_github).repositories) == 2
    assert [row.id for row in scm("StreamRepositories", caller=caller, **in_organization)] == [ours.repository]
    assert [row.id for row in scm("ListProjects", caller=caller, **in_organization).projects] == [ours.project]
    assert len(scm("ListProjects", **in_organization).projects) == 2
    issues = scm("ListExternalIssues", caller=caller, **in_organization).issues
    assert [issue.id for issue in issues] == [ours.issue]
    issues = scm("ListExternalIssues", caller=caller, **in_organization, group_id=ours.group).issues
    assert [issue.id for issue in issues] == [ours.issue]


def test_integrations_have_no_names_for_those_of_whom_they_have_nothing(
    app: Flask, scm: Scm, ours: Tenant, inside: Tenant
) -> None:
    """Without, they can still be given an issue."""
    with app.app_context():
        names = {}
        for name in ("repository", "mapped", "nothing"):
            row = Integration(provider="github", external_id=f"secret {name}", name=f"secret {name}")
            db.session.add(row)
            db.session.flush()
            db.session.add(OrganizationIntegration(organization_id=ours.organization, integration_id=row.id))
            names[name] = row.id
        db.session.get_one(Repository, ours.repository).integration_id = names["repository"]
        db.session.get_one(Repository, inside.repository).integration_id = names["mapped"]
        db.session.commit()
    scm("LinkExternalIssue", group_id=ours.group, external_issue_id=ours.issue)
    everything = {ours.integration: "Jira", **{row_id: f"secret {name}" for name, row_id in names.items()}}
    ids = {"repositories": frozenset({ours.repository}), "projects": frozenset({ours.project})}
    organizations = frozenset({ours.organization})
    for scope, named in [
        ({}, {*everything}),
        ({"repositories": ids["repositories"]}, {names["repository"]}),
        ({"repositories": frozenset({inside.repository})}, {names["mapped"]}),
        ({"projects": ids["projects"]}, {names["repository"], ours.integration}),
        ({"projects": frozenset({inside.project})}, {names["mapped"], ours.integration}),
        (ids, {names["repository"], ours.integration}),
        ({"repositories": frozenset[int]()}, set[int]()),
        ({"projects": frozenset[int]()}, set[int]()),
    ]:
        caller = Identity("c", organizations=organizations, **scope)
        rows = scm("ListIntegrations", caller=caller, organization_id=ours.organization).integrations
        assert {row.id: row.name for row in rows} == {
            row_id: name if row_id in named else "" for row_id, name in everything.items()
        }
        assert {row.id for row in rows if row.external_id} == named


def test_a_page_token_opens_nothing_outside_of_the_scope(app: Flask, scm: Scm, ours: Tenant, inside: Tenant) -> None:
    caller = SCOPES["by id"](ours)
    with app.app_context():
        more = [add_inside(ours, f"more{number}") for number in range(2)]
        db.session.add_all(
            CodeMapping(
                organization_id=ours.organization,
                project_id=ours.project,
                repository_id=tenant.repository,
                stack_root=f"/more/{tenant.repository}",
            )
            for tenant in more
        )
        db.session.commit()
    fields = {"organization_id": ours.organization, "page_size": 1}
    for method, rest, rows in [
        ("ListRepositories", {}, "repositories"),
        ("ListCodeMappings", {"project_id": ours.project}, "mappings"),
        ("ListExternalIssues", {}, "issues"),
        ("ListProjects", {}, "projects"),
    ]:
        token, seen = scm(method, **fields, **rest).next_page_token, []
        assert token
        page = scm(method, caller=caller, **fields, **rest, page_token=token)
        while True:
            seen += [row.id for row in getattr(page, rows)]
            if not page.next_page_token:
                break
            page = scm(method, caller=caller, **fields, **rest, page_token=page.next_page_token)
        assert set(seen) <= {ours.repository, ours.mapping, ours.issue, ours.project}


def test_mappings_to_other_repositories_are_as_if_they_were_not_there(
    app: Flask, scm: Scm, ours: Tenant, inside: Tenant
) -> None:
    """Those of a caller's own project too."""
    in_project = {"organization_id": ours.organization, "project_id": ours.project}
    theirs = scm("CreateCodeMapping", **in_project, repository_id=inside.repository, stack_root="/srv/").id
    caller = SCOPES["by id"](ours)
    assert [row.id for row in scm("ListCodeMappings", caller=caller, **in_project).mappings] == [ours.mapping]
    answer = scm("DeriveCodeMappings", caller=caller, **in_project, stacktrace_paths=["/srv/a/x.py"])
    assert (len(answer.mappings), answer.outcomes[0].source_path, answer.outcomes[0].code_mapping_id) == (0, "", 0)
    whole = scm("DeriveCodeMappings", **in_project, stacktrace_paths=["/srv/a/x.py"])
    assert [row.id for row in whole.mappings] == [theirs]
    again = {**in_project, "repository_id": ours.repository, "stack_root": "/srv/"}
    taken = scm.error(StatusCode.ALREADY_EXISTS, "CreateCodeMapping", caller=caller, **again)
    assert (taken.message, taken.details) == (f"project {ours.project} has a code mapping with this stack_root", ())
    delete = {"organization_id": ours.organization, "code_mapping_id": theirs}
    scm.error(StatusCode.NOT_FOUND, "DeleteCodeMapping", caller=caller, **delete)
    mixed = {**in_project, "repository_id": inside.repository, "stack_root": "b/"}
    scm.error(StatusCode.NOT_FOUND, "CreateCodeMapping", caller=caller, **mixed)
    mixed = {**in_project, "project_id": inside.project, "repository_id": ours.repository, "stack_root": "b/"}
    scm.error(StatusCode.NOT_FOUND, "CreateCodeMapping", caller=caller, **mixed)
    # A project of one's own and nobody's repositories, and the other way round.
    for scope in ({"repositories": frozenset({inside.repository})}, {"projects": frozenset({inside.project})}):
        delete = {"organization_id": ours.organization, "code_mapping_id": ours.mapping}
        scm.error(StatusCode.NOT_FOUND, "DeleteCodeMapping", caller=Identity("c", **scope), **delete)
    scm("DeleteCodeMapping", caller=caller, organization_id=ours.organization, code_mapping_id=ours.mapping)


def test_an_issue_of_another_project_is_not_linked(scm: Scm, ours: Tenant, inside: Tenant) -> None:
    caller = SCOPES["by id"](ours)
    pair = {"group_id": ours.group, "external_issue_id": inside.issue}
    scm.error(StatusCode.NOT_FOUND, "LinkExternalIssue", caller=caller, **pair)
    scm.error(StatusCode.NOT_FOUND, "UnlinkExternalIssue", caller=caller, **pair)
    scm("LinkExternalIssue", **pair)  # of both, from now on
    assert scm("ListExternalIssues", caller=caller, organization_id=ours.organization).issues[0].id == inside.issue
    scm("UnlinkExternalIssue", caller=caller, **pair)
    new = scm("CreateExternalIssue", caller=caller, **requests_for(ours)["CreateExternalIssue"])
    assert [*scm("ListExternalIssues", caller=caller, organization_id=ours.organization).issues] == []
    scm("LinkExternalIssue", caller=caller, group_id=ours.group, external_issue_id=new.id)
    assert scm("ListExternalIssues", caller=caller, organization_id=ours.organization).issues[0].id == new.id


def test_files_of_other_repositories_decide_nothing(
    app: Flask, scm: Scm, ours: Tenant, inside: Tenant, tmp_path: Path, runs_of_git: Callable[[], int]
) -> None:
    """Trees of others are not read, and no outcome tells of them."""
    in_project = {"organization_id": ours.organization, "project_id": ours.project}
    for name, repository_id, files in [
        ("own", ours.repository, ["src/shop/cart.py"]),
        ("secret", inside.repository, ["src/shop/cart.py", "lib/vault/keys.py"]),
    ]:
        git = GitRepository(tmp_path / name)
        for file in files:
            git.write(file, "x\n")
        git.commit()
        set_mirror(app, repository_id, git.path / ".git")
    paths = ["/app/src/shop/cart.py", "/srv/lib/vault/keys.py"]
    runs_of_git()
    outcomes = scm("DeriveCodeMappings", **in_project, stacktrace_paths=paths, dry_run=True).outcomes
    whole_runs = runs_of_git()
    assert [outcome.source_path for outcome in outcomes] == ["", "lib/vault/keys.py"]
    caller = SCOPES["by id"](ours)
    answer = scm("DeriveCodeMappings", caller=caller, **in_project, stacktrace_paths=paths)
    assert runs_of_git() < whole_runs
    assert [outcome.source_path for outcome in answer.outcomes] == ["src/shop/cart.py", ""]
    assert [row.repository_id for row in answer.mappings] == [ours.repository]
    assert not any(word in str(answer) for word in ("ours/other", "secret", "several"))
    blind = Identity("c", organizations=frozenset({ours.organization}), repositories=frozenset())
    outcomes = scm("DeriveCodeMappings", caller=blind, **in_project, stacktrace_paths=paths[1:]).outcomes
    assert outcomes[0].source_path == ""
    assert runs_of_git() == 0


def test_code_of_other_repositories_is_not_shown(
    app: Flask, scm: Scm, ours: Tenant, inside: Tenant, tmp_path: Path
) -> None:
    git = GitRepository(tmp_path / "git")
    git.write("x.py", "secret = 1\n")
    sha = git.commit()
    for repository_id in (ours.repository, inside.repository):
        set_mirror(app, repository_id, git.path / ".git")
    line = {"commit_sha": sha, "filepath": "x.py", "line_number": 1}
    caller = SCOPES["by name"](ours)
    assert scm("GetCommitContext", caller=caller, repository_id=ours.repository, **line).code_snippet == "secret = 1"
    # Also once the line is in memory.
    assert scm("GetCommitContext", repository_id=inside.repository, **line).code_snippet == "secret = 1"
    for method, fields in [("GetCommitContext", line), ("BatchGetCommitContext", {"lines": [line]})]:
        scm.error(StatusCode.NOT_FOUND, method, caller=caller, repository_id=inside.repository, **fields)
