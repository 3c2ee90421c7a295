"""ScmGrpcClient against the real service, in process and over a socket."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from flask_grpcweb_scm import CallContext, GrpcWebScm, Service
from flask_grpcweb_scm.client import (
    CallError,
    Repository,
    ScmGrpcClient,
    ScmStub,
    StatusCode,
)
from flask_grpcweb_scm.client.channel import snake_case
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Organization, db
from flask_grpcweb_scm.scm import Repository as RepositoryRow
from flask_grpcweb_scm.testing import ScmFactory, assert_rpc_error, channel_for
from tests.scm.support import Tenant, add_tenant, make_app
from tests.servers import serving

SHA = "0123456789" * 4
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
SECRETS = ["old", "new"]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    app = make_app(
        f"sqlite:///{tmp_path_factory.mktemp('client')}/scm.db",
        GRPC_AUTH_TOKENS="your-auth-token",
        GRPC_HMAC_SECRETS=SECRETS,
    )
    with app.app_context():
        db.create_all()
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture(scope="module")
def tenant(app: Flask) -> Tenant:
    with app.app_context():
        tenant = add_tenant("ours")
        organization = db.session.get_one(Organization, tenant.organization)
        repository = db.session.get_one(RepositoryRow, tenant.repository)
    make = ScmFactory(app)
    for number in range(11):
        provider = "github" if number % 2 else "integrations:gitlab"
        make.repository(organization, name=f"r{number:02}", provider=provider, external_id=str(number))
    author = make.author(organization, name="Ann", email="ann@example.com")
    make.commit(repository, author=author, key=SHA, message="first", date_added=WHEN)
    return tenant


@pytest.fixture(scope="module")
def url(app: Flask) -> Iterator[str]:
    with serving(app) as url:
        yield url


@pytest.fixture(params=["token", "signature", "Connect", "in process"])
def client(request: pytest.FixtureRequest, app: Flask, url: str) -> Iterator[ScmGrpcClient]:
    if request.param == "token":
        client = ScmGrpcClient(base_url=url, auth_token="your-auth-token")
    elif request.param == "signature":
        client = ScmGrpcClient(url, hmac_secrets=SECRETS)
    elif request.param == "Connect":
        client = ScmGrpcClient(url, "your-auth-token", protocol="connect")
    else:
        client = ScmGrpcClient.from_channel(channel_for(app, token="your-auth-token"))
    with client:
        yield client


def test_the_arguments_and_results_of_the_first_version(url: str, tenant: Tenant) -> None:
    client = ScmGrpcClient(
        base_url=url,
        auth_token="your-auth-token",
    )
    repos = client.list_repositories(organization_id=tenant.organization, page_size=10)
    issue = client.create_external_issue(
        organization_id=tenant.organization,
        integration_id=tenant.integration,
        title="Bug Report",
        description="Issue description",
    )
    assert len(repos) == 10
    assert issue["key"].startswith("ISSUE-")
    client.close()


def test_pages(client: ScmGrpcClient, tenant: Tenant) -> None:
    page = client.list_repositories(organization_id=tenant.organization, page_size=5)
    assert len(page) == 5
    following = client.list_repositories(
        organization_id=tenant.organization, page_size=5, page_token=page.next_page_token
    )
    assert not {repository.id for repository in page} & {repository.id for repository in following}
    names = [r.name for r in client.iter_repositories(organization_id=tenant.organization, page_size=5)]
    assert names == ["ours/repository", *(f"r{number:02}" for number in range(11))]
    assert client.list_repositories(organization_id=tenant.organization).next_page_token == ""


def test_a_stream_has_all_pages(client: ScmGrpcClient, tenant: Tenant) -> None:
    streamed = list(client.stream_repositories(organization_id=tenant.organization))
    assert streamed == list(client.iter_repositories(organization_id=tenant.organization, page_size=5))
    assert len(streamed) == 12


@pytest.mark.parametrize("provider", ["github", scm_pb2.PROVIDER_GITHUB])
def test_filters(client: ScmGrpcClient, tenant: Tenant, provider: str | int) -> None:
    found = client.list_repositories(organization_id=tenant.organization, provider=provider, query="R0")
    assert [(r.name, r["provider"]) for r in found] == [(f"r{number:02}", "github") for number in (1, 3, 5, 7, 9)]
    assert len(list(client.iter_repositories(organization_id=tenant.organization, provider="gitlab"))) == 6


def test_an_unknown_provider_gets_a_hint(client: ScmGrpcClient) -> None:
    with pytest.raises(ValueError, match=r"no provider 'githib'; did you mean 'github'\?"):
        client.list_repositories(organization_id=1, provider="githib")


def test_repository(client: ScmGrpcClient, tenant: Tenant) -> None:
    repository = client.get_repository(repository_id=tenant.repository)
    assert isinstance(repository, Repository)
    assert (repository.name, repository.provider, repository.status) == ("ours/repository", "", "active")
    assert repository.date_added is not None
    assert repository.date_added.tzinfo is timezone.utc
    with pytest.raises(CallError, match=r"NOT_FOUND \(5\): .*999"):
        client.get_repository(repository_id=999)


def test_commit(client: ScmGrpcClient, tenant: Tenant) -> None:
    commit = client.get_commit(repository_id=tenant.repository, commit_sha=SHA[:7])
    assert (commit.key, commit["message"], commit.date_added) == (SHA, "first", WHEN)
    assert commit.author is not None
    assert (commit.author.name, commit["author"]["email"]) == ("Ann", "ann@example.com")


def test_commit_context(client: ScmGrpcClient, tenant: Tenant) -> None:
    with assert_rpc_error(StatusCode.FAILED_PRECONDITION):
        client.get_commit_context(repository_id=tenant.repository, commit_sha=SHA, filepath="README", line_number=1)


def test_code_mappings(client: ScmGrpcClient, tenant: Tenant, request: pytest.FixtureRequest) -> None:
    root = f"app/{request.node.name}/".replace("[", "").replace("]", "").replace(" ", "")
    made = client.create_code_mapping(
        organization_id=tenant.organization,
        project_id=tenant.project,
        repository_id=tenant.repository,
        stack_root=root,
        source_root="src/",
    )
    found = client.derive_code_mappings(
        organization_id=tenant.organization, project_id=tenant.project, stacktrace_paths=[root + "a.py"]
    )
    assert found == [made]


def test_issues(client: ScmGrpcClient, tenant: Tenant, request: pytest.FixtureRequest) -> None:
    made = [
        client.create_external_issue(
            organization_id=tenant.organization,
            integration_id=tenant.integration,
            title="Bug",
            metadata={"labels": "a"},
            idempotency_key=request.node.name,
        )
        for _ in range(2)
    ]
    assert made[0] == made[1]
    assert made[0].metadata == made[0]["metadata"] == {"labels": "a"}
    assert client.link_external_issue(group_id=tenant.group, external_issue_id=made[0].id).key == made[0]["key"]
    with assert_rpc_error(StatusCode.ALREADY_EXISTS):
        client.link_external_issue(group_id=tenant.group, external_issue_id=made[0].id)


def test_wrong_credentials(url: str) -> None:
    for client in (ScmGrpcClient(url, "wrong"), ScmGrpcClient(url, hmac_secrets=["wrong"]), ScmGrpcClient(url)):
        with client, assert_rpc_error(StatusCode.UNAUTHENTICATED):
            client.get_repository(repository_id=1)


def test_one_text_is_no_list_of_secrets() -> None:
    with pytest.raises(TypeError, match="newest first; got a str"):
        ScmGrpcClient("http://example.test", hmac_secrets="secret")


@pytest.mark.parametrize(
    ("method", "values", "message"),
    [
        ("list_repositories", {"organization_id": "1"}, "^ListRepositoriesRequest.organization_id cannot be '1': "),
        ("list_repositories", {"organization_id": 1.5}, "organization_id cannot be 1.5: "),
        ("list_repositories", {"organization_id": 2**63}, "organization_id cannot be 9223372036854775808: "),
        ("list_repositories", {"organization_id": 1, "query": 5}, "query cannot be 5: "),
        ("list_repositories", {"organization_id": 1, "query": "\ud800"}, r"query cannot be '\\ud800': "),
        ("get_commit", {"repository_id": 1, "commit_sha": 1234567}, "commit_sha cannot be 1234567: "),
        (
            "batch_get_commit_context",
            {"repository_id": 1, "lines": [("a.py", 1), ("b.py", "2")]},
            "LineOfFile.line_number cannot be '2': ",
        ),
        (
            "derive_code_mappings",
            {"organization_id": 1, "project_id": 1, "stacktrace_paths": "src/app.py"},
            "^DeriveCodeMappingsRequest.stacktrace_paths is a list, got 'src/app.py'$",
        ),
        (
            "derive_code_mappings",
            {"organization_id": 1, "project_id": 1, "stacktrace_paths": iter(["a", 5])},
            r"stacktrace_paths cannot be \['a', 5\]: ",
        ),
        (
            "derive_code_mappings",
            {"organization_id": 1, "project_id": 1, "frames": [{"path": None}, {"path": 7}]},
            "StackFrame.path cannot be 7: ",
        ),
        ("derive_code_mappings", {"organization_id": 1, "project_id": 1, "frames": [{"pth": ""}]}, "pth"),
        (
            "create_external_issue",
            {"organization_id": 1, "integration_id": 1, "title": "Bug", "metadata": {"a": 1}},
            r"CreateExternalIssueRequest.metadata cannot be \{'a': 1\}: ",
        ),
    ],
)
def test_a_wrong_value_is_told_with_its_field(method: str, values: dict[str, Any], message: str) -> None:
    with ScmGrpcClient("http://example.test") as client, pytest.raises((TypeError, ValueError), match=message):
        getattr(client, method)(**values)


# Methods that need rows of their own to be served are called where their messages are seen.


def scripted(method: str, response: Any) -> tuple[ScmGrpcClient, list[Any]]:
    """A client of an app that answers one method with one or more responses, and the requests that it gets."""
    requests: list[Any] = []
    service = Service(scm_pb2.DESCRIPTOR.services_by_name["ScmService"])

    def answer(request: Any, context: CallContext) -> Any:
        requests.append(request)
        return response

    def stream(request: Any, context: CallContext) -> Any:
        requests.append(request)
        yield from response

    service.add_rpc(method, stream if isinstance(response, list) else answer)
    service.unimplemented(*(name for name in service.descriptor.methods_by_name if name != method))
    app = Flask(__name__)
    app.testing = True
    app.config["GRPC_SCM"] = False
    GrpcWebScm(app, services=[service])
    return ScmGrpcClient.from_channel(channel_for(app)), requests


MAPPING = scm_pb2.CodeMapping(id=1, stack_root="a/", automatically_generated=True)
SUSPECT = scm_pb2.SuspectCommit(
    commit_id=SHA, frames=[1, 0], score=0.5, age=Duration(seconds=90), date=Timestamp(seconds=1767304800)
)
FRAME_OUTCOME = scm_pb2.FrameOutcome(
    frame=scm_pb2.StackFrame(path="a.py", in_app=False),
    path=scm_pb2.PathOutcome(outcome="OUTCOME_UNSUPPORTED"),
    no_suspect_reason="a library",
)
COMMIT_CONTEXT = scm_pb2.CommitContext(blame_commit_id=SHA, blame_author=scm_pb2.CommitAuthor(name="Ann"))


def test_an_issue_is_linked_by_its_key() -> None:
    client, requests = scripted("LinkExternalIssue", scm_pb2.ExternalIssue(key="ABC-1"))
    assert client.link_external_issue(group_id=1, integration_id=2, external_key="ABC-1").key == "ABC-1"
    assert requests == [scm_pb2.LinkExternalIssueRequest(group_id=1, integration_id=2, external_key="ABC-1")]


@pytest.mark.parametrize(
    ("method", "arguments", "request_message", "response"),
    [
        (
            "StreamRepositories",
            {"organization_id": 1, "provider": "gitlab", "query": "q"},
            scm_pb2.StreamRepositoriesRequest(organization_id=1, provider=scm_pb2.PROVIDER_GITLAB, query="q"),
            [scm_pb2.Repository(id=1), scm_pb2.Repository(id=2, name="b")],
        ),
        (
            "BatchGetCommitContext",
            {"repository_id": 1, "commit_sha": SHA, "lines": [("a.py", 1), ("b.py", 2, "c" * 40)]},
            scm_pb2.BatchGetCommitContextRequest(
                repository_id=1,
                commit_sha=SHA,
                lines=[
                    scm_pb2.LineOfFile(filepath="a.py", line_number=1),
                    scm_pb2.LineOfFile(filepath="b.py", line_number=2, commit_sha="c" * 40),
                ],
            ),
            scm_pb2.BatchGetCommitContextResponse(
                outcomes=[
                    scm_pb2.CommitContextOutcome(context=COMMIT_CONTEXT),
                    scm_pb2.CommitContextOutcome(code=5, message="no such file"),
                ]
            ),
        ),
        (
            "ListCodeMappings",
            {"organization_id": 1, "project_id": 2, "page_size": 3, "page_token": "t"},
            scm_pb2.ListCodeMappingsRequest(organization_id=1, project_id=2, page_size=3, page_token="t"),
            scm_pb2.ListCodeMappingsResponse(mappings=[MAPPING], next_page_token="u"),
        ),
        (
            "DeleteCodeMapping",
            {"organization_id": 1, "code_mapping_id": 2},
            scm_pb2.DeleteCodeMappingRequest(organization_id=1, code_mapping_id=2),
            scm_pb2.DeleteCodeMappingResponse(),
        ),
        (
            "DeriveCodeMappings",
            {"organization_id": 1, "project_id": 2, "frames": [{"module": "a.B", "path": "B.java"}], "dry_run": True},
            scm_pb2.DeriveCodeMappingsRequest(
                organization_id=1,
                project_id=2,
                frames=[scm_pb2.StackFrame(module="a.B", path="B.java")],
                dry_run=True,
            ),
            scm_pb2.DeriveCodeMappingsResponse(
                mappings=[MAPPING], outcomes=[scm_pb2.PathOutcome(path="a", outcome="OUTCOME_NO_MATCH")]
            ),
        ),
        (
            "FindSuspectCommits",
            {
                "organization_id": 1,
                "project_id": 2,
                "frames": [{"path": "a.py", "line": 3, "in_app": True}],
                "release_commits": {7: SHA},
                "first_seen": datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))),
                "max_age": timedelta(days=30),
                "blame_options": {"detect_moves": True},
                "dry_run": True,
            },
            scm_pb2.FindSuspectCommitsRequest(
                organization_id=1,
                project_id=2,
                frames=[scm_pb2.StackFrame(path="a.py", line=3, in_app=True)],
                release_commits=[scm_pb2.ReleaseCommit(repository_id=7, commit_sha=SHA)],
                first_seen=Timestamp(seconds=1767304800),
                max_age=Duration(seconds=30 * 86400),
                blame_options=scm_pb2.BlameOptions(detect_moves=True),
                dry_run=True,
            ),
            scm_pb2.FindSuspectCommitsResponse(suspects=[SUSPECT], frames=[FRAME_OUTCOME]),
        ),
        (
            "ListExternalIssues",
            {"organization_id": 1, "group_id": 2, "page_size": 3, "page_token": "t"},
            scm_pb2.ListExternalIssuesRequest(organization_id=1, group_id=2, page_size=3, page_token="t"),
            scm_pb2.ListExternalIssuesResponse(issues=[scm_pb2.ExternalIssue(key="A-1")]),
        ),
        (
            "ListProjects",
            {"organization_id": 1, "page_size": 3, "page_token": "t"},
            scm_pb2.ListProjectsRequest(organization_id=1, page_size=3, page_token="t"),
            scm_pb2.ListProjectsResponse(projects=[scm_pb2.Project(slug="web")], next_page_token="u"),
        ),
        (
            "ListIntegrations",
            {"organization_id": 1, "page_size": 3, "page_token": "t"},
            scm_pb2.ListIntegrationsRequest(organization_id=1, page_size=3, page_token="t"),
            scm_pb2.ListIntegrationsResponse(integrations=[scm_pb2.Integration(provider="jira", has_tracker=True)]),
        ),
        (
            "ListCommits",
            {
                "repository_id": 1,
                "branch": "main",
                "path": "a.py",
                "author": "ann@example.com",
                "since": datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))),
                "until": datetime(2026, 1, 1, 22, tzinfo=timezone.utc),
                "page_size": 3,
                "page_token": "t",
            },
            scm_pb2.ListCommitsRequest(
                repository_id=1,
                branch="main",
                path="a.py",
                author="ann@example.com",
                since=Timestamp(seconds=1767304800),
                until=Timestamp(seconds=1767304800),
                page_size=3,
                page_token="t",
            ),
            scm_pb2.ListCommitsResponse(commits=[scm_pb2.Commit(key=SHA)], next_page_token="u"),
        ),
        (
            "UnlinkExternalIssue",
            {"group_id": 1, "external_issue_id": 2},
            scm_pb2.UnlinkExternalIssueRequest(group_id=1, external_issue_id=2),
            scm_pb2.UnlinkExternalIssueResponse(),
        ),
        (
            "DescribeTrackerFields",
            {"organization_id": 1, "integration_id": 2, "metadata": {"project": "ABC"}},
            scm_pb2.DescribeTrackerFieldsRequest(organization_id=1, integration_id=2, metadata={"project": "ABC"}),
            scm_pb2.DescribeTrackerFieldsResponse(fields=[scm_pb2.TrackerField(name="labels", required=True)]),
        ),
        (
            "SearchExternalIssues",
            {"organization_id": 1, "integration_id": 2, "query": "x"},
            scm_pb2.SearchExternalIssuesRequest(organization_id=1, integration_id=2, query="x"),
            scm_pb2.SearchExternalIssuesResponse(issues=[scm_pb2.FoundExternalIssue(key="ABC-1", status="open")]),
        ),
    ],
)
def test_a_method_sends_its_arguments_and_returns_records(
    method: str, arguments: dict[str, Any], request_message: Any, response: Any
) -> None:
    client, requests = scripted(method, response)
    result = getattr(client, snake_case(method))(**arguments)
    if result is None:
        assert not response.DESCRIPTOR.fields
    else:
        (rows,) = [response] if isinstance(response, list) else [list(getattr(response, records_field(response)))]
        kept = list(result)
        assert kept == [type(kept[0]).from_message(row) for row in rows]
    assert requests == [request_message]
    assert getattr(result, "next_page_token", "") == getattr(response, "next_page_token", "")


def records_field(response: Any) -> str:
    name: str = response.DESCRIPTOR.fields[0].name
    return name


def test_outcomes_say_what_became_of_each_path() -> None:
    outcome = scm_pb2.PathOutcome(path="a", outcome="OUTCOME_NO_MATCH")
    client, _ = scripted("DeriveCodeMappings", scm_pb2.DeriveCodeMappingsResponse(outcomes=[outcome]))
    derived = client.derive_code_mappings(organization_id=1, project_id=1, stacktrace_paths=["a"])
    assert [(row.path, row.outcome) for row in derived.outcomes] == [("a", "no_match")]


def test_the_context_of_an_outcome_is_a_record_too() -> None:
    response = scm_pb2.BatchGetCommitContextResponse(
        outcomes=[scm_pb2.CommitContextOutcome(context=COMMIT_CONTEXT), scm_pb2.CommitContextOutcome(code=5)]
    )
    client, _ = scripted("BatchGetCommitContext", response)
    found, missing = client.batch_get_commit_context(repository_id=1, lines=[("a.py", 1), ("b.py", 1)])
    assert found.context is not None
    assert found.context.blame_author is not None
    assert (found.context.blame_commit_id, found.context.blame_author.name, found.code) == (SHA, "Ann", 0)
    assert (missing.context, missing.code) == (None, 5)


def test_a_sha_and_options_of_blame_may_be_left_out() -> None:
    options = scm_pb2.BlameOptions(detect_moves=True)
    context = scm_pb2.CommitContext(approximate=True, approximate_reason="shallow")
    context.blame_date.FromJsonString("2026-01-01T22:00:00Z")
    for method, call in {
        "GetCommitContext": lambda client, **more: client.get_commit_context(
            repository_id=1, filepath="a.py", line_number=1, **more
        ),
        "BatchGetCommitContext": lambda client, **more: (
            client.batch_get_commit_context(repository_id=1, lines=[("a.py", 1)], **more)[0].context
        ),
    }.items():
        outcomes = scm_pb2.BatchGetCommitContextResponse(outcomes=[scm_pb2.CommitContextOutcome(context=context)])
        client, requests = scripted(method, outcomes if method.startswith("Batch") else context)
        for more in ({}, {"blame_options": {"detect_moves": True}}):
            found = call(client, **more)
            assert (found.approximate, found.approximate_reason) == (True, "shallow")
            assert found.blame_date == datetime(2026, 1, 1, 22, tzinfo=timezone.utc)
            assert requests[-1].commit_sha == ""
            assert requests[-1].blame_options == (options if more else scm_pb2.BlameOptions())
        with pytest.raises(ValueError, match="blame_options cannot be"):
            call(client, blame_options={"moves": True})


def test_suspects_come_with_the_outcomes_of_frames() -> None:
    response = scm_pb2.FindSuspectCommitsResponse(suspects=[SUSPECT], frames=[FRAME_OUTCOME, scm_pb2.FrameOutcome()])
    client, requests = scripted("FindSuspectCommits", response)
    found = client.find_suspect_commits(organization_id=1, project_id=1, stacktrace="x")
    [suspect], [told, empty] = found, found.frames
    assert (suspect.frames, suspect.age, suspect.date) == (
        [1, 0], timedelta(seconds=90), datetime(2026, 1, 1, 22, tzinfo=timezone.utc),
    )  # fmt: skip
    assert suspect.author is None
    assert told.frame is not None
    assert told.path is not None
    assert (told.frame.in_app, told.path.outcome, told.blame) == (False, "unsupported", None)
    assert empty.frame is None
    assert not requests[0].HasField("first_seen")
    assert not requests[0].HasField("blame_options")
    with pytest.raises(ValueError, match="first_seen needs a time zone, got datetime"):
        client.find_suspect_commits(organization_id=1, project_id=1, first_seen=datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("method", "arguments", "pages"),
    [
        (
            "ListCodeMappings",
            {"organization_id": 1, "project_id": 2},
            scm_pb2.ListCodeMappingsResponse(mappings=[MAPPING], next_page_token=""),
        ),
        (
            "ListExternalIssues",
            {"organization_id": 1, "group_id": 2},
            scm_pb2.ListExternalIssuesResponse(issues=[scm_pb2.ExternalIssue(key="A-1")]),
        ),
        (
            "ListProjects",
            {"organization_id": 1},
            scm_pb2.ListProjectsResponse(projects=[scm_pb2.Project(slug="web")]),
        ),
        (
            "ListIntegrations",
            {"organization_id": 1},
            scm_pb2.ListIntegrationsResponse(integrations=[scm_pb2.Integration(id=1)]),
        ),
        (
            "ListCommits",
            {"repository_id": 1, "author": "Ann"},
            scm_pb2.ListCommitsResponse(commits=[scm_pb2.Commit(key=SHA)]),
        ),
    ],
)
def test_every_list_can_page_by_itself(method: str, arguments: dict[str, Any], pages: Any) -> None:
    client, requests = scripted(method, pages)
    iterate = getattr(client, snake_case(method).replace("list_", "iter_"))
    rows = iterate(**arguments, page_size=1)
    assert requests == []
    pages.next_page_token = "more"
    next(rows)
    assert requests[0].page_token == ""
    next(rows)
    assert requests[1].page_token == "more"
    pages.next_page_token = ""
    assert len(list(rows)) == 1
    assert [request.page_size for request in requests] == [1, 1, 1]


def test_a_group_is_upserted_and_a_repository_synced() -> None:
    group = scm_pb2.Group(id=1, short_id=7, title="x", first_seen=Timestamp(seconds=1767304800))
    client, requests = scripted("UpsertGroup", group)
    fields = {"organization_id": 1, "project_id": 2, "short_id": 7}
    seen = datetime(2026, 1, 1, 22, tzinfo=timezone.utc)
    for more in ({}, {"title": "x", "first_seen": seen}):
        assert client.upsert_group(**fields, **more).first_seen == seen
    first = Timestamp(seconds=1767304800)
    changed = scm_pb2.UpsertGroupRequest(**fields, title="x", first_seen=first)
    assert requests == [scm_pb2.UpsertGroupRequest(**fields), changed]
    with pytest.raises(ValueError, match="first_seen needs a time zone, got datetime"):
        client.upsert_group(**fields, first_seen=datetime(2026, 1, 1))  # noqa: DTZ001
    for synced_at, synced in ((None, None), (first, seen)):
        client, requests = scripted("SyncRepository", scm_pb2.SyncRepositoryResponse(synced_at=synced_at))
        assert client.sync_repository(repository_id=3) == synced
        assert requests == [scm_pb2.SyncRepositoryRequest(repository_id=3)]


# What is written out for type checkers is what the descriptors say.


def test_the_stub_has_the_methods_of_the_proto() -> None:
    declared = typing.get_type_hints(ScmStub)
    for method in scm_pb2.DESCRIPTOR.services_by_name["ScmService"].methods:
        messages = typing.get_args(declared.pop(snake_case(method.name)))
        assert [message.DESCRIPTOR for message in messages] == [method.input_type, method.output_type]
        assert callable(getattr(ScmGrpcClient, snake_case(method.name)))
    assert declared == {}


def test_a_missing_file_of_certificates_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ScmGrpcClient("https://example.test", ca_certs=str(tmp_path / "none.pem"))
