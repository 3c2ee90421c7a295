"""``current_rpc``: where it is, and where it is not."""

from __future__ import annotations

import contextvars
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import Any

import pytest
from flask import Flask, copy_current_request_context, current_app, stream_with_context
from flask.signals import appcontext_pushed
from werkzeug.test import EnvironBuilder

from flask_grpcweb_scm import CallContext, current_rpc
from flask_grpcweb_scm.web.flask_internals import HAS_SEPARATE_CONTEXTS
from tests.apps import ECHO, echo_app
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import PROTO, frame
from tests.lanes import lane  # noqa: F401  # a fixture
from tests.protocols import call, every_protocol, protocol  # noqa: F401  # a fixture

HI = EchoRequest(text="hi")


def call_id() -> str:
    return current_rpc.call_id


def in_a_thread(function: Callable[[], str]) -> str:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def in_an_app_context() -> str:
    with current_app.app_context():
        return call_id()


def in_contexts(*contexts: AbstractContextManager[object]) -> str:
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        return call_id()


PLACES: dict[str, Callable[[], str]] = {
    "here": call_id,
    "copy_current_request_context": lambda: in_a_thread(copy_current_request_context(call_id)),
    "copied context": lambda: in_a_thread(functools.partial(contextvars.copy_context().run, call_id)),
    "stream_with_context": lambda: next(stream_with_context(call_id() for _ in range(1))),
    "app context": in_an_app_context,
    "another request": lambda: in_contexts(current_app.test_request_context("/page")),
    "a request of another app": lambda: in_contexts(Flask("other").test_request_context("/page")),
    "app context, then request": lambda: in_contexts(
        current_app.app_context(), current_app.test_request_context("/page")
    ),
    "request, then app context twice": lambda: in_contexts(
        current_app.test_request_context("/page"), *[current_app.app_context()] * 2
    ),
}


@every_protocol
@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
@pytest.mark.parametrize("place", PLACES)
def test_it_is_the_call_that_is_being_served(place: str, method: str) -> None:
    def unary(request: EchoRequest, context: CallContext) -> EchoReply:
        return EchoReply(text="same" if PLACES[place]() == context.call_id else "another")

    def stream(request: EchoRequest, context: CallContext) -> Iterator[EchoReply]:
        for _ in range(3):
            yield unary(request, context)

    app = echo_app(Unary=unary, ServerStream=stream)
    replies = call(app.test_client(), ECHO + method, HI).messages(EchoReply)
    assert {reply.text for reply in replies} == {"same"}


def is_there() -> bool:
    try:
        return bool(current_rpc.call_id)
    except RuntimeError as error:
        assert "no RPC is being served" in str(error)
        return False


@pytest.mark.parametrize("method", ["Unary", "ServerStream", "Missing", "Misspelt"])
def test_it_ends_with_the_request(method: str) -> None:
    seen: list[bool] = []
    app = echo_app()
    app.add_url_rule("/page", "page", lambda: str(is_there()))
    app.after_request(lambda response: (seen.append(is_there()), response)[1])
    client = app.test_client()
    response = client.post(ECHO + method, data=b"\0\0\0\0\0", content_type="application/grpc-web")
    assert not is_there()
    response.close()
    assert not is_there()
    assert client.get("/page").text == "False"
    assert seen == [method != "Misspelt", False]


def test_it_ends_with_the_context_of_a_request_that_is_dispatched_by_hand() -> None:
    seen = []
    app = echo_app(Unary=lambda request, context: seen.append(bool(current_rpc)) or EchoReply())
    dispatch: Callable[..., Any] = app.full_dispatch_request
    with app.test_request_context(ECHO + "Unary", method="POST", data=frame(b""), content_type=PROTO) as context:
        dispatch(*([] if HAS_SEPARATE_CONTEXTS else [context]))
    assert seen == [True]
    assert not current_rpc


def test_it_is_not_the_call_whose_context_a_receiver_has_left_on_the_thread() -> None:
    app = echo_app(Unary=lambda request, context: EchoReply())
    app.add_url_rule("/page", "page", lambda: str(is_there()))
    client = app.test_client()
    environ = EnvironBuilder(ECHO + "Unary", method="POST", data=frame(b""), content_type=PROTO).get_environ()

    def fail(sender: Flask) -> None:
        raise RuntimeError("no database")

    def in_thread() -> str:
        app.wsgi_app(dict(environ), lambda *given: [].append)
        with appcontext_pushed.connected_to(fail, app), suppress(RuntimeError, LookupError):  # the latter of Flask
            app.wsgi_app(dict(environ), lambda *given: [].append)
        return client.get("/page").text

    assert in_a_thread(in_thread) == "False"


def test_a_new_thread_without_a_context_has_none() -> None:
    def unary(request: EchoRequest, context: CallContext) -> EchoReply:
        seen: list[Any] = []
        thread = threading.Thread(target=lambda: seen.append(is_there()))
        thread.start()
        thread.join()
        return EchoReply(text=str(seen))

    assert call(echo_app(Unary=unary).test_client(), ECHO + "Unary", HI).only(EchoReply).text == "[False]"


def test_a_call_inside_a_call_is_another_one() -> None:
    def unary(request: EchoRequest, context: CallContext) -> EchoReply:
        if request.text == "inner":
            return EchoReply(text=call_id())
        inner = call(current_app.test_client(), ECHO + "Unary", EchoRequest(text="inner")).only(EchoReply)
        return EchoReply(text=str(inner.text != context.call_id == call_id()))

    assert call(echo_app(Unary=unary).test_client(), ECHO + "Unary", HI).only(EchoReply).text == "True"
