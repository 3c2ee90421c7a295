"""External issues that exist only here, and the links of any to error groups."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import RpcError, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import ExternalIssue, Group, GroupLink, Project, db
from tests.combinations import ON_SQLITE
from tests.grpcweb import Answer, call
from tests.scm.support import SERVICE, Scm, Tenant


def fields_of(tenant: Tenant, **more: Any) -> dict[str, Any]:
    ids = {"organization_id": tenant.organization, "integration_id": tenant.integration}
    return {**ids, "title": "Bug", "description": "It breaks.", **more}


def count(app: Flask, model: Any) -> int:
    with app.app_context():
        return db.session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def test_a_local_issue_has_a_key_of_its_own_and_echoes_what_was_sent(scm: Scm, ours: Tenant) -> None:
    first, second = (scm("CreateExternalIssue", **fields_of(ours)) for _ in range(2))
    assert first.key.startswith("ISSUE-")
    assert first.key != second.key
    assert (first.title, first.description) == ("Bug", "It breaks.")
    assert (first.organization_id, first.integration_id) == (ours.organization, ours.integration)


@pytest.mark.parametrize(
    ("more", "text"), [({"title": ""}, "title"), ({"title": "  "}, "title"), ({"title": "a\0b"}, "title")]
)
def test_a_title_is_required(app: Flask, scm: Scm, ours: Tenant, more: dict[str, str], text: str) -> None:
    before = count(app, ExternalIssue)
    assert text in scm.error(StatusCode.INVALID_ARGUMENT, "CreateExternalIssue", **fields_of(ours, **more)).message
    assert count(app, ExternalIssue) == before


@ON_SQLITE
@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"title": "a" * 2**16}, ""),
        ({"title": "a" * (2**16 + 1)}, "title has 65537 bytes; the limit is 65536"),
        ({"title": "ü" * (2**15 + 1)}, "title has 65538 bytes"),
        ({"description": "a" * 2**20}, ""),
        ({"description": "a" * (2**20 + 1)}, "description has 1048577 bytes; the limit is 1048576"),
        ({"description": "😈" * (2**18 + 1)}, "description has 1048580 bytes"),
        ({"metadata": {str(number): "" for number in range(100)}}, ""),
        ({"metadata": {str(number): "" for number in range(101)}}, "metadata has 101 entries; the limit is 100"),
        ({"metadata": {str(number): "" for number in range(100_000)}}, "metadata has 100000 entries"),
        ({"metadata": {"k" * 256: ""}}, ""),
        ({"metadata": {"k" * 257: ""}}, "metadata has a key of 257 characters; the limit is 256"),
        ({"metadata": {"k": "v" * (2**16 - 1)}}, ""),
        ({"metadata": {"k": "v" * 2**16}}, "metadata has 65537 bytes; the limit is 65536"),
    ],
)
def test_an_issue_has_limits(app: Flask, ours: Tenant, more: dict[str, Any], problem: str) -> None:
    before = count(app, ExternalIssue)
    answer = create(app, ours, "", **more)
    assert answer.code == (StatusCode.INVALID_ARGUMENT if problem else StatusCode.OK)
    assert problem in answer.message
    assert count(app, ExternalIssue) == before + (not problem)


SIZES = [
    # The largest page has one row more than 2 MiB need.
    ("4 MB each", [4_000_000] * 4, 4),
    ("one large", [10, 10, 3_000_000, 10, 10], 2),
    ("a large one last", [10, 10, 3_000_000], 1),
    ("one of exactly 2 MiB", [2**21, 10], 2),
    ("small", [1000] * 30, 1),
]


@pytest.mark.needs("time")
@pytest.mark.parametrize(("sizes", "pages"), [row[1:] for row in SIZES], ids=[row[0] for row in SIZES])
@pytest.mark.parametrize(("column", "of_group"), [("description", False), ("metadata_", True)])
def test_pages_are_bounded_in_bytes(
    app: Flask, scm: Scm, ours: Tenant, sizes: list[int], pages: int, column: str, of_group: bool
) -> None:
    with app.app_context():
        db.session.execute(sa.delete(ExternalIssue))
        for number, size in enumerate(sizes):
            value: Any = {"k": "a" * (size - 9)} if column == "metadata_" else "a" * size
            ids = {"organization_id": ours.organization, "integration_id": ours.integration}
            issue = ExternalIssue(key=f"T-{number}", **ids, **{column: value})
            db.session.add(issue)
            db.session.flush()
            link = {"group_id": ours.group, "project_id": ours.project, "linked_id": issue.id}
            db.session.add(GroupLink(**link))
        db.session.commit()
    group = {"group_id": ours.group} if of_group else {}
    found, token = [], ""
    for number in range(1, pages + 1):
        page = scm("ListExternalIssues", organization_id=ours.organization, page_size=1000, page_token=token, **group)
        assert page.issues
        assert page.ByteSize() < 2**21 + max(sizes) + 10_000
        found += [issue.key for issue in page.issues]
        token = page.next_page_token
        assert bool(token) == (number < pages)
    assert found == [f"T-{number}" for number in range(len(sizes))]


def test_the_integration_must_be_installed_in_the_organization(scm: Scm, ours: Tenant, theirs: Tenant) -> None:
    for wrong in (theirs.integration, 999):
        scm.error(StatusCode.NOT_FOUND, "CreateExternalIssue", **fields_of(ours, integration_id=wrong))


def create(app: Flask, tenant: Tenant, key: str, **more: Any) -> Answer:
    """Over the wire, because the request has a field named metadata too."""
    request = scm_pb2.CreateExternalIssueRequest(**fields_of(tenant, **more))
    return call(app.test_client(), SERVICE + "CreateExternalIssue", request, headers={"idempotency-key": key})


def test_a_retry_with_the_same_idempotency_key_gets_the_first_result(app: Flask, ours: Tenant) -> None:
    before = count(app, ExternalIssue)
    first = create(app, ours, "k1").only(scm_pb2.ExternalIssue)
    assert create(app, ours, "k1").only(scm_pb2.ExternalIssue) == first
    assert create(app, ours, "k2").only(scm_pb2.ExternalIssue).id != first.id
    assert count(app, ExternalIssue) == before + 2


def test_an_idempotency_key_with_another_body_is_refused(app: Flask, ours: Tenant) -> None:
    create(app, ours, "k1")
    answer = create(app, ours, "k1", title="Another")
    assert answer.code == StatusCode.FAILED_PRECONDITION
    assert "'k1' was used for a different request" in answer.message


def test_unknown_metadata_is_echoed(app: Flask, ours: Tenant) -> None:
    issue = create(app, ours, "", metadata={"label": "x"}).only(scm_pb2.ExternalIssue)
    assert dict(issue.metadata) == {"label": "x"}


def test_idempotency_keys_of_organizations_do_not_meet(app: Flask, ours: Tenant, theirs: Tenant) -> None:
    mine = create(app, ours, "k1").only(scm_pb2.ExternalIssue)
    assert create(app, theirs, "k1").only(scm_pb2.ExternalIssue).id != mine.id


def test_retries_that_race_get_one_result(app: Flask, ours: Tenant) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: create(app, ours, "k1"), range(6)))
    assert len({answer.only(scm_pb2.ExternalIssue).id for answer in answers}) == 1


def test_eight_at_once_get_keys_of_their_own(scm: Scm, ours: Tenant) -> None:
    with ThreadPoolExecutor(8) as pool:
        issues = list(pool.map(lambda _: scm("CreateExternalIssue", **fields_of(ours)), range(8)))
    assert len({issue.key for issue in issues}) == 8


# LinkExternalIssue


def test_a_link_gives_the_issue_back(app: Flask, scm: Scm, ours: Tenant) -> None:
    issue = scm("LinkExternalIssue", group_id=ours.group, external_issue_id=ours.issue)
    assert (issue.id, issue.key) == (ours.issue, "T-1")
    with app.app_context():
        link = db.session.scalars(sa.select(GroupLink)).one()
        assert (link.group_id, link.project_id, link.linked_id) == (ours.group, ours.project, ours.issue)
        assert (int(link.linked_type), int(link.relationship)) == (3, 2)


def test_group_and_issue_must_be_of_one_organization_and_the_answer_never_tells_which_is_missing(
    app: Flask, scm: Scm, ours: Tenant, theirs: Tenant
) -> None:
    for group, issue in ((ours.group, theirs.issue), (theirs.group, ours.issue), (999, ours.issue), (ours.group, 999)):
        error = scm.error(StatusCode.NOT_FOUND, "LinkExternalIssue", group_id=group, external_issue_id=issue)
        assert error.message == f"no organization has both group {group} and external issue {issue}"
    assert count(app, GroupLink) == 0


def test_the_same_link_again_already_exists(app: Flask, scm: Scm, ours: Tenant) -> None:
    scm("LinkExternalIssue", group_id=ours.group, external_issue_id=ours.issue)
    scm.error(StatusCode.ALREADY_EXISTS, "LinkExternalIssue", group_id=ours.group, external_issue_id=ours.issue)
    assert count(app, GroupLink) == 1


def test_an_issue_may_be_linked_to_many_groups_and_back(app: Flask, scm: Scm, ours: Tenant) -> None:
    with app.app_context():
        group = Group(project=db.session.get_one(Project, ours.project), short_id=2, title="KeyError")
        db.session.add(group)
        db.session.commit()
        other_group = group.id
    other_issue = scm("CreateExternalIssue", **fields_of(ours)).id
    for group_id in (ours.group, other_group):
        for issue_id in (ours.issue, other_issue):
            assert scm("LinkExternalIssue", group_id=group_id, external_issue_id=issue_id).id == issue_id
    assert count(app, GroupLink) == 4


def test_of_links_that_race_one_wins(app: Flask, scm: Scm, ours: Tenant) -> None:
    def link(_: int) -> str:
        try:
            scm("LinkExternalIssue", group_id=ours.group, external_issue_id=ours.issue)
        except RpcError as error:
            return error.code.name
        return "OK"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(link, range(8))) == ["ALREADY_EXISTS"] * 7 + ["OK"]
    assert count(app, GroupLink) == 1


# UnlinkExternalIssue


def test_a_link_that_is_removed_is_gone_and_the_issue_is_not(app: Flask, scm: Scm, ours: Tenant) -> None:
    pair = {"group_id": ours.group, "external_issue_id": ours.issue}
    issues = count(app, ExternalIssue)
    scm("LinkExternalIssue", **pair)
    assert scm("UnlinkExternalIssue", **pair) == scm_pb2.UnlinkExternalIssueResponse()
    assert (count(app, GroupLink), count(app, ExternalIssue)) == (0, issues)
    scm("LinkExternalIssue", **pair)


def test_a_missing_link_is_answered_as_a_missing_group_or_issue(scm: Scm, ours: Tenant, theirs: Tenant) -> None:
    scm("LinkExternalIssue", group_id=theirs.group, external_issue_id=theirs.issue)
    for group, issue in ((ours.group, ours.issue), (ours.group, theirs.issue), (theirs.group, ours.issue), (999, 999)):
        error = scm.error(StatusCode.NOT_FOUND, "UnlinkExternalIssue", group_id=group, external_issue_id=issue)
        assert error.message == f"no organization has group {group} and external issue {issue} linked"


def test_of_calls_that_unlink_at_once_one_wins(app: Flask, scm: Scm, ours: Tenant) -> None:
    pair = {"group_id": ours.group, "external_issue_id": ours.issue}
    scm("LinkExternalIssue", **pair)

    def unlink(_: int) -> str:
        try:
            scm("UnlinkExternalIssue", **pair)
        except RpcError as error:
            return error.code.name
        return "OK"

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(unlink, range(8))) == ["NOT_FOUND"] * 7 + ["OK"]


# ListExternalIssues


def pages(scm: Scm, **fields: Any) -> list[list[int]]:
    found, token = [], ""
    while True:
        page = scm("ListExternalIssues", page_token=token, **fields)
        found.append([issue.id for issue in page.issues])
        token = page.next_page_token
        if not token:
            return found


def test_issues_are_listed_oldest_first_in_pages(scm: Scm, ours: Tenant, theirs: Tenant) -> None:
    ids = [ours.issue, *(scm("CreateExternalIssue", **fields_of(ours)).id for _ in range(4))]
    scm("CreateExternalIssue", **fields_of(theirs))
    in_organization = {"organization_id": ours.organization}
    assert pages(scm, **in_organization) == [ids]
    assert pages(scm, **in_organization, page_size=2) == [ids[:2], ids[2:4], ids[4:]]
    assert pages(scm, **in_organization, page_size=5) == [ids]


def test_a_page_is_not_moved_by_what_happens_meanwhile(app: Flask, scm: Scm, ours: Tenant) -> None:
    ids = [ours.issue, *(scm("CreateExternalIssue", **fields_of(ours)).id for _ in range(3))]
    first = scm("ListExternalIssues", organization_id=ours.organization, page_size=2)
    with app.app_context():
        db.session.delete(db.session.get_one(ExternalIssue, ids[1]))
        db.session.commit()
    new = scm("CreateExternalIssue", **fields_of(ours)).id
    second = scm("ListExternalIssues", organization_id=ours.organization, page_token=first.next_page_token)
    assert [issue.id for issue in second.issues] == [*ids[2:], new]


def test_issues_of_a_group_are_those_linked_to_it(scm: Scm, ours: Tenant) -> None:
    linked = [scm("CreateExternalIssue", **fields_of(ours)).id for _ in range(3)]
    for issue in linked:
        scm("LinkExternalIssue", group_id=ours.group, external_issue_id=issue)
    of_group = {"organization_id": ours.organization, "group_id": ours.group}
    assert pages(scm, **of_group, page_size=2) == [linked[:2], linked[2:]]
    scm("UnlinkExternalIssue", group_id=ours.group, external_issue_id=linked[1])
    assert pages(scm, **of_group) == [[linked[0], linked[2]]]


def test_a_page_token_is_good_for_its_own_list_only(scm: Scm, ours: Tenant, theirs: Tenant) -> None:
    for _ in range(2):
        scm("CreateExternalIssue", **fields_of(ours))
    token = scm("ListExternalIssues", organization_id=ours.organization, page_size=1).next_page_token
    for method, wrong in (
        ("ListExternalIssues", {"organization_id": theirs.organization}),
        ("ListExternalIssues", {"organization_id": ours.organization, "group_id": ours.group}),
        ("ListRepositories", {"organization_id": ours.organization}),
    ):
        error = scm.error(StatusCode.INVALID_ARGUMENT, method, page_token=token, **wrong)
        assert "page_token" in error.message
    scm.error(StatusCode.INVALID_ARGUMENT, "ListExternalIssues", organization_id=ours.organization, page_size=-1)


def test_an_organization_or_group_that_does_not_exist_is_not_found(scm: Scm, ours: Tenant, theirs: Tenant) -> None:
    for wrong in (
        {"organization_id": 999},
        {"organization_id": ours.organization, "group_id": 999},
        {"organization_id": ours.organization, "group_id": theirs.group},
        {"organization_id": 999, "group_id": ours.group},
    ):
        scm.error(StatusCode.NOT_FOUND, "ListExternalIssues", **wrong)
