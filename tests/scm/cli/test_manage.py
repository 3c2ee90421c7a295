"""``flask scm list``, ``show``, ``rename``, ``disable``, ``enable`` and ``delete``."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import StatusCode
from flask_grpcweb_scm.scm import (
    CodeMapping,
    Commit,
    CommitAuthor,
    CommitFileChange,
    ExternalIssue,
    Group,
    GroupLink,
    Integration,
    IssueOperation,
    Organization,
    OrganizationIntegration,
    Project,
    Repository,
    RepositoryStatus,
    db,
)
from flask_grpcweb_scm.scm.database import deletion
from tests.combinations import ON_SQLITE
from tests.scm.cli.test_rows import add, run
from tests.scm.support import Scm, Tenant, add_mapping, add_tenant

TABLES = [
    CodeMapping, Commit, CommitAuthor, CommitFileChange, ExternalIssue, Group, GroupLink, Integration, IssueOperation,
    Organization, OrganizationIntegration, Project, Repository,
]  # fmt: skip


@pytest.fixture
def ours(app: Flask) -> Tenant:
    with app.app_context():
        tenant = fill(add_mapping(add_tenant("ours")))
        fill(add_mapping(add_tenant("theirs")))
        return tenant


def fill(tenant: Tenant) -> Tenant:
    """Add seven commits, a link, and an operation of the outbox."""
    author = CommitAuthor(organization_id=tenant.organization, name="Ann", email="ann@example.com")
    for number in range(7):
        commit = Commit(repository_id=tenant.repository, key=f"{number:040}", author=author)
        db.session.add_all([commit, CommitFileChange(commit=commit, filename="a", type="A")])
        db.session.flush()
    db.session.add(GroupLink(group_id=tenant.group, project_id=tenant.project, linked_id=tenant.issue))
    belonging = {"organization_id": tenant.organization, "integration_id": tenant.integration}
    now = sa.func.current_timestamp()
    marker = f"m{tenant.organization}"
    db.session.add(IssueOperation(**belonging, marker=marker, title="T", request_digest="d", claimed_until=now))
    db.session.get_one(Repository, tenant.repository).integration_id = tenant.integration
    db.session.commit()
    return tenant


def counts(app: Flask) -> dict[str, int]:
    with app.app_context():
        return {
            model.__tablename__.removeprefix("scm_"): number
            for model in TABLES
            if (number := db.session.scalar(sa.select(sa.func.count()).select_from(model)) or 0)
        }


NAMES = {
    "organization": ["ours"],
    "project": ["ours", "web"],
    "repository": ["ours", "ours/repository"],
    "integration": ["ours", "Jira"],
    "group": ["ours", "web", "1"],
}
PLURALS = {"repository": "repositories"}


@pytest.mark.parametrize("kind", NAMES)
def test_lists_and_rows_are_shown(app: Flask, ours: Tenant, kind: str) -> None:
    plural = PLURALS.get(kind, f"{kind}s")
    listed = add(app, "list", plural, *NAMES[kind][:-1])[plural]
    shown = add(app, "show", kind, *NAMES[kind])
    assert len(listed) == (2 if kind == "organization" else 1)
    assert listed[0].items() <= shown.items()
    for command in (["list", kind, *NAMES[kind][:-1]], ["show", plural, *NAMES[kind]]):
        result = run(app, *command)
        assert (result.exit_code, result.stderr) == (0, "")
        assert str(listed[0]["id"]) in result.stdout


def test_what_there_is_of_a_repository(app: Flask, ours: Tenant) -> None:
    facts = add(app, "show", "repository", "ours", str(ours.repository))
    assert (facts["commits"], facts["code_mappings"], facts["status"]) == (7, 1, "active")
    facts = add(app, "show", "organization", "ours")
    assert (facts["commits"], facts["file_changes"], facts["repositories"], facts["groups"]) == (7, 7, 1, 1)


def test_lists_come_page_by_page(app: Flask, ours: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_grpcweb_scm.scm.cli.kinds.PAGE_ROWS", 2)
    with app.app_context():
        for number in range(5):
            name = f"r\x1b[2J\u202e{number}"
            db.session.add(Repository(organization_id=ours.organization, name=name, external_id=str(number)))
        db.session.commit()
    result = run(app, "list", "repositories", "ours")
    lines = result.stdout.splitlines()
    assert len(lines) == 6
    assert lines[-1].endswith("r\\x1b[2J\\u202e4  active  -  4  -")
    assert run(app, "list", "groups", "theirs", "web").exit_code == 0


CONFLICT = "another {} has that name"


@pytest.mark.parametrize(
    ("kind", "new", "key"),
    [
        ("organization", "other", "slug"),
        ("project", "other", "slug"),
        ("repository", "other name", "name"),
        ("integration", "Other", "name"),
        ("group", "another title", "title"),
    ],
)
def test_rows_are_renamed(app: Flask, ours: Tenant, kind: str, new: str, key: str) -> None:
    before = add(app, "show", kind, *NAMES[kind])
    after = add(app, "rename", kind, *NAMES[kind], new)
    assert (after["id"], after[key]) == (before["id"], new)
    again = NAMES[kind][:-1] + ([new] if kind != "group" else ["1"])
    assert add(app, "show", kind, *again)[key] == new


def test_a_name_that_another_row_has_is_refused(app: Flask, ours: Tenant) -> None:
    result = run(app, "rename", "organization", "ours", "theirs")
    assert (result.exit_code, result.stderr) == (
        1, "Error: another organization has that name; see: flask scm list organizations\n"
    )  # fmt: skip


def test_a_repository_that_has_moved(app: Flask, ours: Tenant) -> None:
    new = add(app, "rename", "repository", "ours", "ours/repository", "--url", "git@github.com:ours/moved.git")
    assert new == {"id": ours.repository, "name": "ours/repository", "url": "git@github.com:ours/moved.git"}
    with app.app_context():
        row = db.session.get_one(Repository, ours.repository)
        assert (row.remote, row.external_id) == ("github.com/ours/moved", "github.com/ours/moved")
    again = run(app, "rename", "repository", "ours", "ours/repository", "--url", "https://github.com/ours/moved")
    assert again.stdout.endswith(", at https://github.com/ours/moved\n")
    other = add(app, "add-repository", "ours", "other")["id"]
    result = run(app, "rename", "repository", "ours", str(other), "--url", "https://github.com/Ours/moved")
    assert f"is repository {ours.repository} of 'ours' already" in result.stderr
    assert "give a new name, or --url URL" in run(app, "rename", "repository", "ours", str(other)).stderr


def test_a_disabled_repository_is_in_no_list_and_stays_served(app: Flask, scm: Scm, ours: Tenant) -> None:
    names = ["ours", "ours/repository"]

    def listed() -> list[Any]:
        return [*scm("ListRepositories", organization_id=ours.organization).repositories]

    assert len(listed()) == 1
    assert add(app, "disable", "repository", *names) == {"id": ours.repository, "status": "disabled"}
    assert listed() == []
    assert scm("GetCommit", repository_id=ours.repository, commit_sha=f"{0:040}").author.name == "Ann"
    assert "disabled" in run(app, "list", "repositories", "ours").stdout
    assert add(app, "enable", "repository", *names)["status"] == "active"
    assert len(listed()) == 1
    assert run(app, "disable", "organization", "ours").exit_code == 2


BELOW = {"commit": 7, "commit_file_change": 7, "code_mapping": 1}
DELETED: dict[str, dict[str, int]] = {
    "group": {"group": 1, "group_link": 1},
    "project": {"project": 1, "group": 1, "group_link": 1, "code_mapping": 1},
    "repository": {"repository": 1, **BELOW},
    "integration": {
        "integration": 1, "organization_integration": 1, "external_issue": 1, "issue_operation": 1, "group_link": 1
    },
    "organization": {
        "organization": 1, "project": 1, "group": 1, "group_link": 1, "repository": 1, **BELOW, "integration": 1,
        "organization_integration": 1, "external_issue": 1, "issue_operation": 1, "commit_author": 1,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", DELETED)
def test_a_row_is_deleted_with_what_depends_on_it_and_nothing_else(
    app: Flask, ours: Tenant, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "BATCH_ROWS", 3)
    before = counts(app)
    refused = run(app, "delete", kind, *NAMES[kind])
    assert refused.exit_code == 1
    assert refused.stderr.endswith("nothing is deleted; answer with y, or give --yes\n")
    assert counts(app) == before
    result = app.test_cli_runner().invoke(args=["scm", "delete", kind, *NAMES[kind]], input="y\n")
    assert result.exit_code == 0, result.output
    assert "that would be deleted with it" in result.stderr
    if "commit" in DELETED[kind]:
        assert "7 commits" in result.stderr
    assert counts(app) == {name: number - DELETED[kind].get(name, 0) for name, number in before.items()}
    again = run(app, "delete", kind, *NAMES[kind], "--yes")
    assert again.exit_code == 1
    assert "Traceback" not in again.output


def test_a_deletion_goes_on_where_it_was_interrupted(
    app: Flask, scm: Scm, ours: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletion, "BATCH_ROWS", 3)
    with app.app_context():
        row = db.session.get_one(Repository, ours.repository)
        sizes = deletion.delete_with(row, deletion.dependents_of(row))
        assert [next(sizes), next(sizes)] == [1, 3]
        sizes.close()
        assert row.status == RepositoryStatus.DELETION_IN_PROGRESS
    scm.error(StatusCode.NOT_FOUND, "GetRepository", repository_id=ours.repository)
    assert "deletion_in_progress" in run(app, "list", "repositories", "ours").stdout
    assert "is being deleted" in run(app, "enable", "repository", "ours", str(ours.repository)).stderr
    deleted = add(app, "delete", "repository", "ours", str(ours.repository), "--yes")["deleted"]
    assert deleted == {"file_changes": 4, "commits": 7}


def test_an_integration_that_others_have_stays(app: Flask, ours: Tenant) -> None:
    with app.app_context():
        theirs = sa.select(Organization.id).where(Organization.slug == "theirs")
        shared = OrganizationIntegration(
            organization_id=db.session.scalars(theirs).one(), integration_id=ours.integration
        )
        db.session.add(shared)
        db.session.commit()
    result = run(app, "delete", "integration", "ours", "Jira", "--yes")
    assert "1 repositories would stay, without it." in result.stderr
    with app.app_context():
        assert db.session.get(Integration, ours.integration) is not None
        assert db.session.get_one(Repository, ours.repository).integration_id is None


def test_a_row_that_others_refer_to_stays(app: Flask, ours: Tenant) -> None:
    with app.app_context():
        db.session.execute(sa.text("CREATE TABLE team (repository_id BIGINT REFERENCES scm_repository (id))"))
        db.session.execute(sa.text(f"INSERT INTO team VALUES ({ours.repository})"))
        db.session.commit()
    result = run(app, "delete", "repository", "ours", "ours/repository", "--yes")
    assert result.exit_code == 1
    assert "is not deleted, because other rows refer to it: " in result.stderr
    assert "Traceback" not in result.output


@ON_SQLITE
@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["list", "projects", "nobody"], "there is no organization 'nobody'"),
        (["show", "project", "ours", "x"], "'ours' has no project 'x'"),
        (["show", "repository", "ours", "x"], "'ours' has no repository 'x'; see: flask scm list repositories ours"),
        (["show", "repository", "ours", "9" * 30], "has no repository"),
        (["show", "integration", "ours", "x"], "'ours' has no integration 'x'; see: flask scm list integrations ours"),
        (["show", "group", "ours", "web", "x"], "'web' has no group 'x'; see: flask scm list groups ours web"),
        (["show", "group", "ours", "web", "²"], "'web' has no group '²'"),
        (["rename", "organization", "ours", "7"], "with at least one that is no digit"),
        (["list", "commits"], "No such command 'commits'"),
    ],
)
def test_a_mistake_says_the_way_out(app: Flask, ours: Tenant, command: list[str], text: str) -> None:
    result = run(app, *command)
    assert result.exit_code in {1, 2}
    assert text in result.stderr
    assert "Traceback" not in result.output


def test_a_row_of_another_organization_is_not_found_by_its_id(app: Flask, ours: Tenant) -> None:
    result = run(app, "delete", "repository", "theirs", str(ours.repository), "--yes")
    assert "'theirs' has no repository" in result.stderr


def test_several_rows_of_one_name_are_told_apart_by_their_ids(app: Flask, ours: Tenant) -> None:
    with app.app_context():
        row = Repository(organization_id=ours.organization, name="ours/repository", external_id="other")
        db.session.add(row)
        db.session.commit()
        row_id = row.id
    result = run(app, "show", "repository", "ours", "ours/repository")
    assert result.stderr == (
        f"Error: 'ours' has several repositories 'ours/repository'; give an id: {ours.repository}, {row_id}\n"
    )
    assert add(app, "show", "repository", "ours", str(row_id))["external_id"] == "other"
