"""Contexts end with the request, whatever becomes of its response: called in process, where nothing hides."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import io
import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Response, after_this_request
from werkzeug.test import TestResponse

from tests.apps import ECHO, echo_app, know_routes
from tests.contexts.aftermath import ANY_ERROR, ANY_HOOKED, ANY_LANE, World
from tests.contexts.app import FAST, FLASK, HOOKED, LANES, build
from tests.contexts.callers import BareCaller, Traces, Use, call, close, complete
from tests.contexts.faults import AS_FLASK, FATAL_FAULTS, FAULTS, Fault
from tests.echo_pb2 import EchoReply, EchoRequest
from tests.grpcweb import PROTO, body_of
from tests.tables import check_rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the app writes."""
    return tmp_path


@pytest.fixture(scope="module", autouse=True)
def thaw() -> Iterator[None]:
    """What the apps have frozen is garbage afterwards."""
    yield
    # Not after each test: the next collection looks at all objects of pytest.
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged, as text: pytest would keep exceptions, and with them the generators that they went through."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    loggers = [logging.getLogger(name) for name in ("flask_grpcweb_scm", "tests.contexts.app")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.propagate = False
    yield text
    for logger in loggers:
        logger.removeHandler(handler)
        logger.propagate = True
    assert "different Context" not in text.getvalue()


def world(folder: Path, lane: str, use: Use = complete, *, is_async: bool = False) -> World:
    """The app, called as a server does."""
    return World(BareCaller(build(lane, folder, is_async=is_async), use), Traces(folder), lane)


class Worlds:
    """An app for a table of faults, made anew after one that fails: what that has left is no matter of the next one."""

    def __init__(self, folder: Path, lane: str, *, is_async: bool = False) -> None:
        self._folder = folder
        self._lane = lane
        self._is_async = is_async
        self._starts = 0
        self._world: World | None = None

    @contextlib.contextmanager
    def world(self) -> Iterator[World]:
        here, self._world = self._world or self._start(), None
        here.traces.new()
        yield here
        here.check_many_requests(8)
        self._world = here

    def _start(self) -> World:
        self._starts += 1
        folder = self._folder / str(self._starts)
        folder.mkdir()
        return world(folder, self._lane, is_async=self._is_async)

    def check(self, faults: Iterable[Fault]) -> None:
        """Lose a response in each of these ways that there are in the lane."""

        def check(fault: Fault) -> None:
            with self.world() as here:
                here.lose(fault)

        check_rows(check, ((fault,) for fault in faults if self._lane in fault.lanes))
        with self.world() as here:
            here.check_many_requests()


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.needs("time")
def test_nothing_is_left_of_a_lost_response(folder: Path, log: io.StringIO, lane: str) -> None:
    Worlds(folder, lane).check(FAULTS)


@pytest.mark.parametrize("lane", LANES)
def test_nothing_is_left_of_a_worker_that_is_told_to_stop(folder: Path, log: io.StringIO, lane: str) -> None:
    Worlds(folder, lane).check(FATAL_FAULTS)


@pytest.mark.needs("time")
def test_nothing_is_left_of_an_async_function(folder: Path, log: io.StringIO) -> None:
    Worlds(folder, LANES[-1], is_async=True).check([*FAULTS, *FATAL_FAULTS])


def test_a_hook_that_answers_keeps_its_headers(folder: Path) -> None:
    answer = world(folder, FLASK).lose(next(fault for fault in FAULTS if "answers 401" in fault.name)).answer
    assert answer is not None
    assert (answer.http_status, answer.message, answer.headers["x-hook"]) == (200, "log in first", "yes")


HANDLED = [
    *(fault for fault in FAULTS if fault.name.endswith("raises") and fault.code == 13),
    *(fault for fault in FAULTS if fault.name.startswith("the function raises")),
]


@pytest.mark.parametrize("lane", LANES)
def test_an_error_handler_that_fails_itself_is_13_too(folder: Path, log: io.StringIO, lane: str) -> None:
    worlds = Worlds(folder, lane)

    def check(fault: Fault) -> None:
        with worlds.world() as here:
            if fault.error == AS_FLASK:
                fault = dataclasses.replace(fault, error=here.error_of_flask(fault, x_handler_fails="1"))
            # What Flask has logged is no matter here.
            log.seek(0)
            log.truncate()
            here.lose(fault, x_handler_fails="1")
            check_tracebacks(log, fault.error, "HandlerFault")

    check_rows(check, ((fault,) for fault in HANDLED if lane in fault.lanes))


@pytest.mark.parametrize("lane", LANES)
def test_so_it_is_in_a_unary_call(folder: Path, log: io.StringIO, lane: str) -> None:
    here = world(folder, lane)
    assert call(here.caller, "Unary", x_fault="the function raises", x_handler_fails="1").code == 13
    check_tracebacks(log, "Fault", "HandlerFault")
    here.notes()
    here.check_next_requests()


def check_tracebacks(log: io.StringIO, *names: str) -> None:
    for name in names:
        pattern = r"\w+" if name == ANY_ERROR else name
        assert re.search(rf"^(?:tests\.contexts\.app\.)?{pattern}: ", log.getvalue(), re.MULTILINE), name


# What a caller of WSGI makes of the iterable


def in_a_thread(use: Use) -> Use:
    def use_there(iterable: Iterable[bytes]) -> list[bytes]:
        pieces: list[bytes] = []
        thread = threading.Thread(target=lambda: pieces.extend(use(iterable)))
        thread.start()
        thread.join()
        return pieces

    return use_there


def one_piece(iterable: Iterable[bytes]) -> list[bytes]:
    return [next(iter(iterable))]


def nothing(iterable: Iterable[bytes]) -> list[bytes]:
    return []


def then(*uses: Callable[[Iterable[bytes]], Any]) -> Use:
    def use_all(iterable: Iterable[bytes]) -> list[bytes]:
        return [piece for use in uses for piece in use(iterable) or []]

    return use_all


USES: dict[str, Use] = {
    "drops it": nothing,
    "closes it": then(close),
    "closes it twice": then(close, close),
    "drops it after a piece": one_piece,
    "closes it after a piece": then(one_piece, close),
    "goes on after closing it": then(one_piece, close, list),
    "iterates it": list,
    "closes it twice after iterating it": then(complete, close),
    "uses it in another thread": in_a_thread(complete),
    "closes it in another thread": then(one_piece, in_a_thread(then(close))),
    "drops it in another thread": in_a_thread(one_piece),
    "iterates it in a thread for each piece": then(*[in_a_thread(one_piece)] * 3, complete),
}


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_nothing_is_left_by_a_caller_that(folder: Path, lane: str, use: Use) -> None:
    here = world(folder, lane)
    lose_by(here, use)
    here.check_end("NoneType")
    here.check_many_requests(20)


def lose_by(here: World, use: Use) -> None:
    caller = here.caller
    assert isinstance(caller, BareCaller)
    here.traces.new()
    caller.use = use
    call(caller, "ServerStream")
    assert caller.error is None
    caller.use = complete


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("pieces", [nothing, one_piece])
def test_garbage_that_is_collected_in_another_request_ends_outside_of_it(folder: Path, lane: str, pieces: Use) -> None:
    def make_garbage(iterable: Iterable[bytes]) -> list[bytes]:
        cycle: list[Any] = [iterable]
        cycle.append(cycle)
        return pieces(iterable)

    here = world(folder, lane)
    gc.disable()
    try:
        lose_by(here, make_garbage)
        here.check_outside()
        # It still waits for the lock of SQLite that the other has.
        assert call(here.caller, "Unary", x_collect="1").code == 0
    finally:
        gc.enable()
    notes = here.notes()
    assert [note[3:] for note in notes if note[0] == "closed"] == [[]]
    ends = [note[2] for note in notes if note[0] == "teardown_appcontext"]
    assert len(ends) == len({*ends}) == 2
    here.check_next_requests()
    here.check_many_requests()


# Flask's test client


def read(response: TestResponse) -> None:
    assert response.get_data()


CLIENT_USES: dict[str, Callable[[TestResponse], object]] = {
    "reads it": read,
    "closes it": lambda response: response.close(),
    "closes it after reading it": lambda response: (read(response), response.close()),
    "drops it": lambda response: None,
    "drops it after a piece": lambda response: next(response.iter_encoded()),
}


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("use", CLIENT_USES.values(), ids=CLIENT_USES)
@pytest.mark.parametrize("is_kept", [False, True], ids=["", "keeping contexts"])
def test_nothing_is_left_by_a_test_client_that(
    folder: Path, lane: str, use: Callable[[TestResponse], object], is_kept: bool
) -> None:
    app = build(lane, folder)
    caller = BareCaller(app)
    here = World(caller, Traces(folder), {HOOKED: ANY_HOOKED, FAST: ANY_LANE}.get(lane, lane))
    client = app.test_client()

    def post() -> None:
        headers = {"content-type": PROTO, "x-name": "by the client"}
        use(client.post(ECHO + "ServerStream", data=body_of(EchoRequest(count=3)), headers=headers))

    def post_keeping_contexts() -> None:
        with client:
            post()

    caller.run(post_keeping_contexts if is_kept else post)
    here.check_end("NoneType")
    here.check_many_requests(20)


@pytest.mark.parametrize("hook", [lambda response: {}["after"], lambda response: Response("no", 403)])
@pytest.mark.parametrize("is_fast", [False, True])
def test_a_stream_ends_when_the_app_responds_in_its_place(hook: Callable[[Response], Response], is_fast: bool) -> None:
    def stream(request: EchoRequest, context: object) -> Iterator[EchoReply]:
        after_this_request(hook)
        yield EchoReply()

    ended: list[str] = []
    app = echo_app(ServerStream=stream, PROPAGATE_EXCEPTIONS=False)
    app.teardown_appcontext(lambda error: ended.append("app"))
    if is_fast:
        know_routes(app)
    # Test clients close no response, and the traceback of the hook's error has the frames that know of it.
    response = app.test_client().post(ECHO + "ServerStream", data=body_of(EchoRequest(count=3)), content_type=PROTO)
    assert response.headers["grpc-status"] in {"7", "13"}
    assert ended == ["app"]
