"""Calls in process are apart from the test and from each other, as calls over a socket are: the same tests for both."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, current_app, g, has_app_context, has_request_context, request, session
from flask_sqlalchemy import SQLAlchemy

from flask_grpcweb_scm import CallContext, current_rpc
from flask_grpcweb_scm.client import Channel
from flask_grpcweb_scm.testing import channel_for
from tests.apps import echo_app, know_routes
from tests.client.support import ECHO
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.servers import serving

OWNER: ContextVar[str] = ContextVar("owner", default="nobody")
"""A context variable of somebody else's, beside Flask's."""
DEEP = "unary > server_stream > unary > bidi > client_stream > server_stream > unary"


class World:
    """An app whose functions check that they see what is theirs alone, and its caller.

    The text of a request names the methods that the function calls itself, the first of them first.
    """

    def __init__(self, folder: Path, *, fast: bool) -> None:
        self.db = SQLAlchemy()
        self.app = echo_app(
            prepare=self.prepare,
            SQLALCHEMY_DATABASE_URI=f"sqlite:///{folder}/test.db",
            SECRET_KEY="of the tests",
            Unary=self.unary,
            ServerStream=self.server_stream,
            ClientStream=self.client_stream,
            Bidi=self.bidi,
        )
        if fast:
            know_routes(self.app)
        self.channel: Channel
        self.sessions: list[object] = []
        """Of the database, one of each call."""
        self.open: list[str] = []
        """Texts of the calls whose contexts have not ended."""

    def prepare(self, app: Flask) -> None:
        self.db.init_app(app)

        @app.teardown_appcontext
        def note_end(error: BaseException | None) -> None:
            if "call" in g:
                self.open.remove(g.call)

    @property
    def stub(self) -> Any:
        return self.channel.stub(ECHO)

    # In a call

    def begin(self, text: str) -> Callable[[], None]:
        """Find nothing of others, and leave something; gives the check that nothing else has come in its place."""
        method, request_id = current_rpc.method.path, session.setdefault("id", str(len(self.sessions)))
        own = self.db.session()
        assert ([*g], OWNER.get(), [*session]) == ([], "nobody", ["id"])
        assert own not in self.sessions
        self.sessions.append(own)
        self.open.append(text)
        g.call = text
        OWNER.set(request_id)

        def check() -> None:
            assert (g.call, OWNER.get(), session["id"]) == (text, request_id, request_id)
            assert (current_app, request.path, current_rpc.method.path) == (self.app, method, method)
            assert self.db.session() is own

        return check

    def nested(self, text: str) -> int:
        """Make the next call of a text; gives the number of calls that it has led to."""
        method, _, rest = text.partition(" > ")
        return sum(reply.number for reply in replies_of(self.stub, method, rest)) if method else 0

    def unary(self, request: EchoRequest, context: CallContext) -> EchoReply:
        check = self.begin(request.text)
        number = 1 + self.nested(request.text)
        check()
        return EchoReply(number=number)

    def server_stream(self, request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        check = self.begin(request.text)
        try:
            yield EchoReply(number=1)
            for _ in range(request.count):
                check()
                yield EchoReply(text="x" * 100)
            check()
            yield EchoReply(number=self.nested(request.text))
        finally:
            check()

    def client_stream(self, requests: Iterator[EchoRequest], context: CallContext) -> EchoReply:
        (request,) = requests
        return self.unary(request, context)

    def bidi(self, requests: Iterator[EchoRequest], context: CallContext) -> Iterator[EchoReply]:
        (request,) = requests
        yield from self.server_stream(request, context)

    def check_end(self, *still_open: str) -> None:
        """A server ends a stream when it finds that nobody reads it."""
        until = time.monotonic() + 20
        while sorted(self.open) != sorted(still_open) and time.monotonic() < until:
            time.sleep(0.01)
        assert sorted(self.open) == sorted(still_open)


def replies_of(stub: Any, method: str, text: str) -> Any:
    message = EchoRequest(text=text)
    sent = [message] if method in {"client_stream", "bidi"} else message
    replies = getattr(stub, method)(sent)
    return replies if method in {"server_stream", "bidi"} else [replies]


@pytest.fixture(params=["through Flask", "fast lane"])
def lane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["in process", "over a socket"])
def world(tmp_path: Path, request: pytest.FixtureRequest, lane: str) -> Iterator[World]:
    world = World(tmp_path, fast=lane == "fast lane")
    if request.param == "in process":
        with channel_for(world.app) as world.channel:
            yield world
    else:
        with serving(world.app) as url, Channel(url, timeout=20) as world.channel:
            yield world
    world.check_end()
    with world.app.app_context():
        world.db.engine.dispose()


# The test's own contexts

HERE: dict[str, Callable[[World], AbstractContextManager[Any]]] = {
    "no context": lambda world: nullcontext(),
    "an application context": lambda world: world.app.app_context(),
    # pytest-flask has one around every test.
    "a request context": lambda world: world.app.test_request_context("/page"),
    "a context of another app": lambda world: other_app().test_request_context("/other"),
}


def other_app() -> Flask:
    return Flask("another")


def sights(world: World) -> list[object]:
    """What a test sees, by identity."""
    found: list[object] = [OWNER.get(), bool(current_rpc)]
    if has_app_context():
        found += [current_app._get_current_object(), g._get_current_object(), vars(g._get_current_object())]
        if current_app == world.app:
            found.append(world.db.session())
    if has_request_context():
        found += [request._get_current_object(), session._get_current_object(), dict(session)]
    return found


@pytest.mark.parametrize("here", HERE.values(), ids=HERE)
@pytest.mark.parametrize("method", ["unary", "server_stream", "client_stream", "bidi"])
def test_a_call_sees_nothing_of_the_test_and_leaves_nothing_there(
    world: World, here: Callable[[World], AbstractContextManager[Any]], method: str
) -> None:
    with here(world):
        if has_app_context():
            g.of_the_test = object()
        token = OWNER.set("the test")
        before = sights(world)
        if current_app and current_app == world.app:
            world.sessions.append(world.db.session())
        for text in ("", "unary", "server_stream > unary"):
            for _ in replies_of(world.stub, method, text):
                assert sights(world) == before
            assert sights(world) == before
            world.check_end()
        OWNER.reset(token)
    assert (has_app_context(), has_request_context(), bool(current_rpc)) == (False, False, False)


# Calls of each other


@pytest.mark.parametrize("method", ["unary", "server_stream", "client_stream", "bidi"])
def test_a_function_may_call_its_own_app(world: World, method: str) -> None:
    assert sum(reply.number for reply in replies_of(world.stub, method, DEEP)) == 8
    assert len(world.sessions) == 8


ORDERS = {"first in, first out": [0, 1, 2], "last in, first out": [2, 1, 0], "the middle first": [1, 0, 2]}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("count", [0, 3])
def test_several_streams_are_open_at_once(world: World, order: list[int], count: int) -> None:
    names = ["a", "b", "c"]
    calls = [world.stub.server_stream(EchoRequest(text="", count=count)) for _ in names]
    for call in calls:
        next(call)
    for _ in range(count):
        for call in calls:
            next(call)
            assert world.stub.unary(EchoRequest()).number == 1
    for index in order:
        assert [reply.number for reply in calls[index]] == [0]
    assert len(world.sessions) == 3 + 3 * count
    world.check_end()


# Streams that are not read to their end

ENDLESS = EchoRequest(count=2**30)


def never_read(world: World) -> None:
    with world.stub.server_stream(ENDLESS):
        pass
    world.stub.server_stream(ENDLESS)


def closed(world: World) -> None:
    with world.stub.server_stream(ENDLESS) as replies:
        next(replies)


def cancelled(world: World) -> None:
    replies = world.stub.server_stream(ENDLESS)
    next(replies)
    replies.cancel()
    with pytest.raises(Exception, match="cancelled"):
        next(replies)


def dropped(world: World) -> None:
    next(world.stub.server_stream(ENDLESS))


def several(world: World) -> None:
    calls = [world.stub.server_stream(ENDLESS) for _ in range(4)]
    for call in calls[:3]:
        next(call)
    calls[1].close()
    next(calls[2])
    calls[0].close()
    del calls, call


def in_another_thread(world: World) -> None:
    replies = world.stub.server_stream(ENDLESS)
    next(replies)
    for use in (lambda: next(replies), replies.close):
        thread = threading.Thread(target=use)
        thread.start()
        thread.join()


@pytest.mark.parametrize("here", HERE.values(), ids=HERE)
@pytest.mark.parametrize(
    "leave", [never_read, closed, cancelled, dropped, several, in_another_thread], ids=lambda leave: leave.__name__
)
def test_nothing_is_left_of_a_stream_that_is_not_read(
    world: World, here: Callable[[World], AbstractContextManager[Any]], leave: Callable[[World], None]
) -> None:
    with here(world):
        leave(world)
        world.check_end()
        assert world.stub.unary(EchoRequest()).number == 1
    assert (has_app_context(), has_request_context(), bool(current_rpc)) == (False, False, False)
