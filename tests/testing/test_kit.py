"""The test kit: errors to expect, calls to look at, rows to call about."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from flask_grpcweb_scm import CallContext, GrpcWebScm, RpcError, StatusCode
from flask_grpcweb_scm.client import CallError, ScmGrpcClient
from flask_grpcweb_scm.scm import CommitFileChange, GroupLink, OrganizationIntegration, db
from flask_grpcweb_scm.testing import RecordingInterceptor, ScmFactory, assert_rpc_error, channel_for, recording
from tests.apps import echo_app, echo_service
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest
from tests.scm.support import make_app

ECHO = DESCRIPTOR.services_by_name["Echo"]

# Errors


def test_an_expected_error_is_caught() -> None:
    with assert_rpc_error(StatusCode.NOT_FOUND, match="no .* 7") as caught:
        raise RpcError(StatusCode.NOT_FOUND, "no row 7")
    assert caught.value.message == "no row 7"


def test_the_error_of_a_client_has_its_metadata() -> None:
    with assert_rpc_error(12) as caught:
        channel_for(echo_app()).stub(ECHO).missing(EchoRequest())
    assert isinstance(caught.value, CallError)
    assert len(caught.value.trailing_metadata) == 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (None, "expected NOT_FOUND, got no error"),
        (RpcError(StatusCode.ABORTED, "why"), "expected NOT_FOUND, got ABORTED (10): why"),
        (RpcError(StatusCode.NOT_FOUND, "row 8"), "the message 'row 8' does not match 'row 7'"),
    ],
)
def test_anything_else_fails_the_test(error: RpcError | None, message: str) -> None:
    def block() -> None:
        with assert_rpc_error(StatusCode.NOT_FOUND, match="row 7"):
            if error:
                raise error

    with pytest.raises(AssertionError) as caught:
        block()
    assert str(caught.value) == message


def test_other_exceptions_pass() -> None:
    with pytest.raises(ZeroDivisionError), assert_rpc_error(StatusCode.NOT_FOUND):
        1 / 0  # noqa: B018


def test_the_error_is_there_after_the_block() -> None:
    with pytest.raises(AssertionError, match="not ended yet"), assert_rpc_error(5) as caught:
        assert caught.value


# Calls


def test_every_kind_of_call_is_recorded() -> None:
    app = echo_app()
    stub = channel_for(app, metadata={"x-a": "1"}).stub(ECHO)
    one, two = EchoRequest(text="a", count=2), EchoRequest(text="b")
    with recording(app) as recorder:
        stub.unary(one)
        list(stub.server_stream(one))
        stub.client_stream([one, two])
        list(stub.bidi([one, two]))
    assert [call.path for call in recorder.calls] == [
        f"/tests.echo.v1.Echo/{name}" for name in ("Unary", "ServerStream", "ClientStream", "Bidi")
    ]
    unary, server_stream, client_stream, bidi = recorder.calls
    assert (unary.request, unary.response) == (one, EchoReply(text="A"))
    assert (server_stream.request, len(server_stream.responses)) == (one, 2)
    assert (client_stream.requests, client_stream.response) == ([one, two], EchoReply(text="a,b"))
    assert (bidi.requests, len(bidi.responses)) == ([one, two], 2)
    assert [call.context.metadata.get("x-a") for call in recorder.calls] == ["1"] * 4
    assert [call.error for call in recorder.calls] == [None] * 4
    stub.unary(one)
    assert len(recorder.calls) == 4


def torn(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
    yield EchoReply(number=1)
    raise RpcError(StatusCode.DATA_LOSS, "torn")


def fail(request: EchoRequest, context: CallContext) -> EchoReply:
    raise RpcError(StatusCode.ABORTED, "no")


@pytest.mark.parametrize(
    ("method", "code", "responses"),
    [("unary", StatusCode.ABORTED, []), ("server_stream", StatusCode.DATA_LOSS, [EchoReply(number=1)])],
)
def test_an_error_is_recorded_with_what_came_before_it(method: str, code: StatusCode, responses: list[Any]) -> None:
    app = echo_app(Unary=fail, ServerStream=torn)
    with recording(app) as recorder, assert_rpc_error(code):
        list(getattr(channel_for(app).stub(ECHO), method)(EchoRequest()))
    (call,) = recorder.calls
    assert isinstance(call.error, RpcError)
    assert (call.error.code, call.responses) == (code, responses)


def test_a_recorded_stream_is_closed_with_the_call() -> None:
    closed = []

    def endless(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        try:
            while True:
                yield EchoReply()
        finally:
            closed.append(True)

    app = echo_app(ServerStream=endless)
    with recording(app), channel_for(app).stub(ECHO).server_stream(EchoRequest()) as replies:
        next(replies)
    assert closed == [True]


def test_it_is_an_interceptor_like_any_other() -> None:
    recorder = RecordingInterceptor()
    extension = GrpcWebScm(services=[echo_service()])
    assert extension.intercept(recorder) is recorder
    channel_for(echo_app(extension=extension)).stub(ECHO).unary(EchoRequest())
    assert len(recorder.calls) == 1


def test_other_apps_of_the_extension_are_not_recorded() -> None:
    extension = GrpcWebScm(services=[echo_service()])
    app, other = echo_app(extension=extension), echo_app(extension=extension)
    with recording(app) as recorder:
        channel_for(other).stub(ECHO).unary(EchoRequest())
    assert recorder.calls == []


# Rows


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path}/scm.db")
    yield app
    with app.app_context():
        db.engine.dispose()


ROWS = [name for name, _ in inspect.getmembers(ScmFactory, inspect.isfunction) if not name.startswith("_")]


@pytest.mark.parametrize("name", [name for name in ROWS if name != "link"])
def test_a_row_needs_nothing_and_can_be_made_again(app: Flask, scm_factory: ScmFactory, name: str) -> None:
    rows = [getattr(scm_factory, name)() for _ in range(2)]
    rows.append(getattr(ScmFactory(app), name)())
    assert len({row.id for row in rows}) == 3
    with app.app_context():
        assert db.session.get(type(rows[0]), rows[0].id) is not None


def test_rows_belong_together(app: Flask, scm_factory: ScmFactory) -> None:
    organization = scm_factory.organization(slug="ours")
    project = scm_factory.project(organization)
    group = scm_factory.group(project, title="ValueError")
    repository = scm_factory.repository(organization, name="app")
    integration = scm_factory.integration(organization, provider="jira")
    mapping = scm_factory.code_mapping(project, repository, stack_root="a/")
    issue = scm_factory.external_issue(organization, integration, key="A-1")
    link = scm_factory.link(group, issue)
    assert {project.organization_id, repository.organization_id, issue.organization_id} == {organization.id}
    assert (group.project_id, mapping.project_id, mapping.repository_id) == (project.id, project.id, repository.id)
    assert (issue.integration_id, issue.key, link.linked_id) == (integration.id, "A-1", issue.id)
    with app.app_context():
        assert db.session.query(OrganizationIntegration).count() == 1
        assert db.session.query(GroupLink).count() == 1


def test_a_commit_has_file_changes_and_an_author_of_the_organization(app: Flask, scm_factory: ScmFactory) -> None:
    repository = scm_factory.repository()
    commit = scm_factory.commit(repository, files={"a.py": "A", "b.py": "D"}, message="first")
    nobodys = scm_factory.commit(repository, author_id=None)
    anns = scm_factory.commit(repository, author=scm_factory.author(name="Ann"))
    client = ScmGrpcClient.from_channel(channel_for(app))
    answers = [client.get_commit(repository_id=repository.id, commit_sha=c.key) for c in (commit, nobodys, anns)]
    assert answers[0].message == "first"
    assert [answer.author and answer.author.name[:3] for answer in answers] == ["Aut", None, "Ann"]
    with app.app_context():
        changes = db.session.query(CommitFileChange).filter_by(commit_id=commit.id).order_by("filename")
        assert [(change.filename, change.type) for change in changes] == [("a.py", "A"), ("b.py", "D")]


def test_the_database_may_be_the_apps_own(tmp_path: Path) -> None:
    host_db = SQLAlchemy()
    app = Flask(__name__)
    app.testing = True
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path}/host.db"
    GrpcWebScm(app, db=host_db)
    repository = ScmFactory(app).repository(name="one")
    assert ScmGrpcClient.from_channel(channel_for(app)).get_repository(repository_id=repository.id).name == "one"
    with app.app_context():
        host_db.engine.dispose()


def test_the_context_of_a_test_does_not_matter(app: Flask, scm_factory: ScmFactory) -> None:
    with app.test_request_context("/"):
        repository = scm_factory.repository()
        assert ScmGrpcClient.from_channel(channel_for(app)).get_repository(repository_id=repository.id)
