"""StreamRepositories."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from flask_grpcweb_scm import CallContext, StatusCode
from flask_grpcweb_scm.pb import scm_pb2
from flask_grpcweb_scm.scm import Repository, RepositoryStatus, db
from flask_grpcweb_scm.scm.queries.repositories import STREAM_ROWS
from tests.grpcweb import PROTO, body_of, call, read
from tests.scm.support import SERVICE, Scm

MANY = 3 * STREAM_ROWS + 1


def fill(app: Flask, organization: int, number: int = MANY) -> None:
    # Names that sort neither as they were added nor by their ids.
    rows = [{"organization_id": organization, "name": f"r{n * 7919 % number:07d}"} for n in range(number)]
    with app.app_context():
        db.session.execute(sa.insert(Repository), rows)
        db.session.commit()


def stream(app: Flask, organization: int) -> Iterator[scm_pb2.Repository]:
    """The messages as they come; needs an app context."""
    dispatcher = app.extensions["grpcweb_scm"].dispatcher
    rpc = dispatcher.methods[SERVICE + "StreamRepositories"]
    request = scm_pb2.StreamRepositoriesRequest(organization_id=organization)
    messages: Iterator[scm_pb2.Repository] = dispatcher.call(rpc, request, CallContext(rpc))
    return messages


def connections(app: Flask) -> int:
    """How many the pool has given out; needs an app context."""
    return db.engine.pool.checkedout()  # type: ignore[attr-defined]


def test_it_sends_what_the_pages_have(app: Flask, scm: Scm, organization: int) -> None:
    fill(app, organization, 120)
    with app.app_context():
        db.session.add(Repository(organization_id=organization, name="hidden", status=RepositoryStatus.HIDDEN))
        db.session.add(
            Repository(organization_id=organization, name="ÄB", provider="github", config={"a": "b", "c": [1]})
        )
        db.session.commit()
    for fields in ({}, {"query": "äb"}, {"provider": "PROVIDER_GITHUB"}, {"query": "absent"}):
        page = scm("ListRepositories", organization_id=organization, page_size=1000, **fields)
        assert scm("StreamRepositories", organization_id=organization, **fields) == list(page.repositories), fields
    assert page.repositories == []


def test_it_sends_every_row_once_over_the_wire(app: Flask, organization: int) -> None:
    fill(app, organization)
    request = scm_pb2.StreamRepositoriesRequest(organization_id=organization)
    answer = call(app.test_client(), SERVICE + "StreamRepositories", request)
    assert answer.code == 0
    names = [scm_pb2.Repository.FromString(payload).name for payload in answer.payloads]
    assert names == [f"r{n:07d}" for n in range(MANY)]
    with app.app_context():
        assert connections(app) == 0


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"organization_id": 77}, StatusCode.NOT_FOUND),
        ({"organization_id": 1, "provider": 99}, StatusCode.INVALID_ARGUMENT),
        ({"organization_id": 1, "query": "a\0b"}, StatusCode.INVALID_ARGUMENT),
    ],
)
@pytest.mark.usefixtures("organization")
def test_a_refusal_comes_before_the_first_message(scm: Scm, fields: dict[str, Any], code: StatusCode) -> None:
    scm.error(code, "StreamRepositories", **fields)


def test_changes_made_meanwhile_neither_repeat_nor_hide_a_row(app: Flask, organization: int) -> None:
    fill(app, organization)
    with app.app_context():
        messages = stream(app, organization)
        seen = [next(messages).name for _ in range(10)]
        assert connections(app) == 0
        with db.engine.begin() as other:
            other.execute(sa.update(Repository).where(Repository.name == seen[0]).values(name="z"))
            other.execute(sa.insert(Repository).values(organization_id=organization, name="zz"))
        seen += [message.name for message in messages]
    # What is renamed may come under both names; what has stayed comes once.
    assert [name for name in seen if name not in {"z", "zz"}] == [f"r{n:07d}" for n in range(MANY)]


def test_no_connection_is_in_use_while_a_message_is_read(app: Flask, organization: int) -> None:
    fill(app, organization)
    with app.app_context():
        messages = stream(app, organization)
        assert {connections(app) for _ in messages} == {0}


@pytest.mark.needs("time")
def test_a_stream_ends_at_its_deadline_and_frees_the_connection(app: Flask, organization: int) -> None:
    fill(app, organization)
    body = body_of(scm_pb2.StreamRepositoriesRequest(organization_id=organization))
    headers = {"content-type": PROTO, "grpc-timeout": "3S"}
    pieces = []
    for piece in app.test_client().post(SERVICE + "StreamRepositories", data=body, headers=headers).iter_encoded():
        pieces.append(piece)
        time.sleep(0.05)
    answer = read(200, headers.items(), b"".join(pieces))
    assert (answer.code, len(answer.payloads)) == (StatusCode.DEADLINE_EXCEEDED, len(pieces) - 1)
    with app.app_context():
        assert connections(app) == 0


@pytest.mark.needs("time")
def test_memory_does_not_grow_with_the_rows(app: Flask, organization: int) -> None:
    fill(app, organization, 20 * STREAM_ROWS)
    with app.app_context():
        messages = stream(app, organization)
        next(messages)
        tracemalloc.start()
        for _ in range(2 * STREAM_ROWS):
            next(messages)
        tracemalloc.reset_peak()
        early, _ = tracemalloc.get_traced_memory()
        number = sum(1 for _ in messages)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert number == 18 * STREAM_ROWS - 1
    assert peak - early < 2 * 2**20
