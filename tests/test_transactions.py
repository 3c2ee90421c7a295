"""A transaction for each call of a service of the app's own, in the app's own Flask-SQLAlchemy."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, abort
from flask.testing import FlaskClient
from flask_sqlalchemy import SQLAlchemy
from google.rpc.error_details_pb2 import RetryInfo
from sqlalchemy.exc import IntegrityError, NoResultFound, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from flask_grpcweb_scm import CallContext, GrpcWebScm, RpcError, Service, StatusCode, transaction
from flask_grpcweb_scm.client import ScmGrpcClient
from flask_grpcweb_scm.rpc import retry_info
from flask_grpcweb_scm.scm import db as scm_db
from flask_grpcweb_scm.testing import ScmFactory, channel_for
from tests import documents
from tests.apps import ECHO, echo_app, echo_service
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import PROTO, body_of, call
from tests.lanes import lane  # noqa: F401  # a fixture
from tests.tables import check_rows


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(unique=True)


db = SQLAlchemy(model_class=Base)


def outcome(text: str, context: CallContext) -> None:
    """Do what the text of a request says, after its note was written."""
    if text == "refuse":
        raise RpcError(StatusCode.FAILED_PRECONDITION, "refused")
    if text == "crash":
        raise LookupError("of the function")
    if text == "abort":
        abort(403)
    if text == "dawdle":
        context.deadline = time.monotonic() - 1


def write(text: str, context: CallContext) -> None:
    if text == "new session":
        db.session.remove()
    db.session.add(Note(text=text))
    db.session.flush()
    outcome(text, context)


def unary(request: EchoRequest, context: CallContext) -> Any:
    write(request.text, context)
    return "no message" if request.text == "wrong type" else EchoReply(text=request.text)


def server_stream(request: EchoRequest, context: CallContext) -> Iterator[Any]:
    yield EchoReply()
    write(request.text, context)
    yield "no message" if request.text == "wrong type" else EchoReply(text=request.text)


def client_stream(requests: Iterator[EchoRequest], context: CallContext) -> Any:
    return [unary(request, context) for request in requests][-1]


def bidi(requests: Iterator[EchoRequest], context: CallContext) -> Iterator[Any]:
    for request in requests:
        yield from server_stream(request, context)


async def async_unary(request: EchoRequest, context: CallContext) -> Any:
    await asyncio.sleep(0)
    try:
        return unary(request, context)
    finally:
        await asyncio.sleep(0)


async def async_server_stream(request: EchoRequest, context: CallContext) -> AsyncIterator[Any]:
    for response in server_stream(request, context):
        await asyncio.sleep(0)
        yield response


async def async_client_stream(requests: AsyncIterator[EchoRequest], context: CallContext) -> Any:
    return [await async_unary(request, context) async for request in requests][-1]


async def async_bidi(requests: AsyncIterator[EchoRequest], context: CallContext) -> AsyncIterator[Any]:
    async for request in requests:
        async for response in async_server_stream(request, context):
            yield response


FUNCTIONS = {
    "plain": (unary, server_stream, client_stream, bidi),
    "async": (async_unary, async_server_stream, async_client_stream, async_bidi),
}


def service_of_notes(kind: str = "plain") -> Service:
    service = echo_service(**dict(zip(METHODS, FUNCTIONS[kind], strict=True)))
    service.intercept(transaction)
    return service


def app_of_notes(uri: str, service: Service, **config: Any) -> Flask:
    def prepare(app: Flask) -> None:
        app.config["SQLALCHEMY_DATABASE_URI"] = uri
        app.config["PROPAGATE_EXCEPTIONS"] = False
        db.init_app(app)

    app = echo_app(extension=GrpcWebScm(services=[service]), prepare=prepare, **config)
    with app.app_context():
        db.create_all()
    return app


def dispose(app: Flask) -> None:
    with app.app_context():
        db.engine.dispose()


@pytest.fixture(params=FUNCTIONS)
def app(empty_database: str, request: pytest.FixtureRequest) -> Iterator[Flask]:
    app = app_of_notes(empty_database, service_of_notes(request.param))
    yield app
    dispose(app)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client(use_cookies=False)


def texts(app: Flask) -> list[str]:
    with app.app_context():
        return sorted(db.session.scalars(sa.select(Note.text)))


def delete_notes(app: Flask) -> None:
    with app.app_context():
        db.session.execute(sa.delete(Note))
        db.session.commit()


FAILURES = {"refuse": 9, "crash": 13, "abort": 7, "dawdle": 4, "wrong type": 13}
METHODS = ["Unary", "ServerStream", "ClientStream", "Bidi"]


def test_a_call_that_succeeds_is_committed(app: Flask, client: FlaskClient) -> None:
    def check(method: str) -> None:
        delete_notes(app)
        for text in ("a", "new session"):
            assert call(client, ECHO + method, EchoRequest(text=text)).code == 0
        assert texts(app) == ["a", "new session"]

    check_rows(check, ((method,) for method in METHODS))


def test_a_call_that_fails_leaves_nothing(app: Flask, client: FlaskClient) -> None:
    def check(method: str) -> None:
        delete_notes(app)
        for text, code in FAILURES.items():
            requests = [EchoRequest(text="a"), EchoRequest(text=text)][method in ("Unary", "ServerStream") :]
            assert (text, call(client, ECHO + method, *requests).code) == (text, code)
            assert texts(app) == []
        assert call(client, ECHO + method, EchoRequest(text="next")).code == 0
        assert texts(app) == ["next"]

    check_rows(check, ((method,) for method in METHODS))


def test_the_documents_show_how(empty_database: str) -> None:
    service = echo_service(Unary=unary)
    exec(
        documents.block(documents.PAGES["databases"], "python", "transaction"),
        {"greeter": service, "StatusCode": StatusCode},
    )
    app = app_of_notes(empty_database, service)
    assert [call(app.test_client(), ECHO + "Unary", EchoRequest(text="a")).code for _ in range(2)] == [0, 6]
    assert texts(app) == ["a"]
    dispose(app)


def test_a_stream_whose_client_goes_leaves_nothing(app: Flask, client: FlaskClient) -> None:
    requests = body_of(EchoRequest(text="a"), EchoRequest(text="b"))
    response = client.post(ECHO + "Bidi", data=requests, content_type=PROTO)
    pieces = response.iter_encoded()
    for _ in range(3):
        next(pieces)
    response.close()
    assert texts(app) == []


def test_without_it_a_function_has_to_commit(empty_database: str) -> None:
    app = app_of_notes(empty_database, echo_service(Unary=unary))
    assert call(app.test_client(), ECHO + "Unary", EchoRequest(text="a")).code == 0
    assert texts(app) == []
    dispose(app)


def test_a_constraint_that_fails_is_aborted_unless_the_service_declares_it(empty_database: str) -> None:
    codes = []
    for declare in (
        lambda service: None,
        lambda service: service.declare_error(IntegrityError, StatusCode.ALREADY_EXISTS),
    ):
        service = service_of_notes()
        declare(service)
        app = app_of_notes(empty_database, service)
        codes += [call(app.test_client(), ECHO + "Unary", EchoRequest(text="a")).code for _ in range(2)]
        assert texts(app) == ["a"]
        dispose(app)
    assert codes == [0, 10, 6, 6]


@pytest.mark.parametrize("declared", [IntegrityError, SQLAlchemyError])
def test_no_caller_reads_the_statement_of_a_declared_error(
    empty_database: str, declared: type[SQLAlchemyError]
) -> None:
    service = service_of_notes()
    service.declare_error(declared, StatusCode.ALREADY_EXISTS, details=lambda error: [retry_info(1)])
    app = app_of_notes(empty_database, service)
    call(app.test_client(), ECHO + "Unary", EchoRequest(text="a"))
    response = call(app.test_client(), ECHO + "Unary", EchoRequest(text="a"))
    expected = "a constraint of the database does not hold; nothing was stored"
    assert (response.code, response.message) == (6, expected)
    assert response.details(RetryInfo) == [retry_info(1)]
    dispose(app)


@pytest.mark.parametrize("change", ["DROP TABLE note", "ALTER TABLE note RENAME COLUMN text TO other"])
def test_the_log_says_how_tables_and_columns_that_are_missing_are_made(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    with app.app_context():
        db.session.execute(sa.text(change))
        db.session.commit()
    assert call(client, ECHO + "Unary", EchoRequest(text="a")).code == 13
    assert "run `flask db upgrade`, or `flask scm init-db` for the tables of ScmService" in caplog.text


def test_a_declared_error_without_a_statement_keeps_its_text(empty_database: str) -> None:
    def missing(request: EchoRequest, context: CallContext) -> EchoReply:
        raise NoResultFound("no such note")

    service = echo_service(Unary=missing)
    service.intercept(transaction)
    service.declare_error(NoResultFound, StatusCode.NOT_FOUND)
    app = app_of_notes(empty_database, service)
    response = call(app.test_client(), ECHO + "Unary", EchoRequest())
    assert (response.code, response.message) == (5, "no such note")
    dispose(app)


@pytest.mark.needs("PostgreSQL")
def test_the_deadline_of_a_call_is_the_limit_of_its_statements(postgresql_databases: Any) -> None:
    def sleep(request: EchoRequest, context: CallContext) -> EchoReply:
        db.session.execute(sa.select(sa.func.pg_sleep(20)))
        return EchoReply()

    uri = postgresql_databases.create(tables=False)
    service = echo_service(Unary=sleep)
    service.intercept(transaction)
    app = app_of_notes(uri, service)
    answer = call(app.test_client(), ECHO + "Unary", EchoRequest(), headers={"grpc-timeout": "200m"})
    assert (answer.code, answer.message) == (4, "the database did not respond before the deadline")
    dispose(app)
    postgresql_databases.drop(uri)


def test_it_may_stand_around_every_service(database: str) -> None:
    """ScmService has one already; its calls, and those of the app's own services, are committed once they are done."""

    def prepare(app: Flask) -> None:
        app.config["SQLALCHEMY_DATABASE_URI"] = database

    extension = GrpcWebScm(services=[echo_service(Unary=rename)])
    extension.intercept(transaction)
    app = echo_app(extension=extension, prepare=prepare, GRPC_SCM=True)
    make = ScmFactory(app)
    organization = make.organization(slug="before")
    integration = make.integration(organization)
    with channel_for(app) as channel:
        client = ScmGrpcClient.from_channel(channel)
        client.create_external_issue(organization_id=organization.id, integration_id=integration.id, title="x")
        assert len(client.list_external_issues(organization_id=organization.id)) == 1
    assert call(app.test_client(), ECHO + "Unary", EchoRequest(text="after")).code == 0
    with app.app_context():
        assert scm_db.session.scalars(sa.text("SELECT slug FROM scm_organization")).all() == ["after"]
    with app.app_context():
        scm_db.engine.dispose()


def rename(request: EchoRequest, context: CallContext) -> EchoReply:
    scm_db.session.execute(sa.text("UPDATE scm_organization SET slug = :slug"), {"slug": request.text})
    return EchoReply()


def test_an_app_without_a_database_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    app = echo_app(extension=GrpcWebScm(services=[service_of_notes()]), PROPAGATE_EXCEPTIONS=False)
    assert call(app.test_client(), ECHO + "Unary", EchoRequest()).code == 13
    assert "give the app one: SQLAlchemy(app)" in caplog.text
