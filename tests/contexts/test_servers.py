"""Contexts end with the request, whatever becomes of its response: with real servers, of one worker with one thread."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.apps import ECHO
from tests.contexts.aftermath import World
from tests.contexts.app import FLASK, LANES
from tests.contexts.callers import HttpCaller, Traces, call
from tests.contexts.faults import FAULTS, Fault
from tests.echo_pb2 import EchoRequest
from tests.grpcweb import PROTO, body_of
from tests.servers import command, free_port, running, wait_until_listening
from tests.sockets.http1 import Connection, request
from tests.tables import check_rows

pytestmark = pytest.mark.needs("server")

FACTORY = "tests.contexts.app:create_app"
GREENLETS = "gunicorn gevent"
SERVERS = ["gunicorn sync", "gunicorn gthread", GREENLETS, "granian", "waitress", "werkzeug"]
STOPPED_GRACEFULLY = ["gunicorn sync", "gunicorn gthread", GREENLETS, "granian"]

COMPLAINTS = re.compile(
    r"^.*(?:different Context|(?:Lookup|Value|Runtime)Error|ignored|panicked"
    r"|ResourceWarning: (?!unclosed <socket|Enable)).*$",
    re.MULTILINE,
)
"""None of them is a fault of the tests. At their end, servers leave sockets to the operating system."""

PATIENCE = 10.0


class Host:
    """A running server, started again after a test that has failed: what that has left is no matter of the next one."""

    def __init__(self, server: str, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._starts = 0
        self._running = contextlib.ExitStack()
        self._worlds: dict[str, World] = {}
        self.port = 0

    @contextlib.contextmanager
    def world(self, lane: str) -> Iterator[World]:
        if not self._worlds:
            self._start()
        world = self._worlds[lane]
        world.traces.new()
        try:
            yield world
        except BaseException:
            self._worlds.clear()
            self._running.close()
            raise

    def _start(self) -> None:
        self._starts += 1
        folder = self._folder / str(self._starts)
        folder.mkdir()
        self.log = folder / "log"
        self.port = self._running.enter_context(running(self._server, FACTORY, self.log, environ_of(folder), threads=1))
        is_threaded = self._server != GREENLETS
        for lane in LANES:
            caller = HttpCaller(self.port, lane, keeps=not is_threaded)
            self._running.enter_context(contextlib.closing(caller))
            # Once there is a response, the app is there too: gunicorn listens before that.
            caller.outside()
            # Flask's router sees the first call of each method.
            assert (call(caller, "Unary").code, call(caller, "ServerStream").code) == (0, 0)
            self._worlds[lane] = World(caller, Traces(folder / lane), lane, has_one_thread=is_threaded)

    def stop(self) -> None:
        """Check the whole life of a server without failures."""
        for world in self._worlds.values():
            world.traces.new()
            world.check_many_requests(100)
        self._running.close()
        if self._worlds:
            assert COMPLAINTS.findall(self.log.read_text(errors="replace")) == []


def environ_of(folder: Path) -> dict[str, str]:
    return {"FOLDER": str(folder), "PYTHONWARNINGS": "default::ResourceWarning"}


def require(server: str) -> None:
    module = server.split()[-1] if server == GREENLETS else server.split()[0]
    if importlib.util.find_spec(module) is None and "CI" not in os.environ:
        pytest.skip(f"{module} is not installed: pip install {module}")


@pytest.fixture(scope="module", params=SERVERS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    require(request.param)
    host = Host(request.param, tmp_path_factory.mktemp("contexts"))
    yield host
    host.stop()


@pytest.mark.parametrize("lane", LANES)
def test_nothing_is_left_of_a_lost_response(host: Host, lane: str) -> None:
    def check(fault: Fault) -> None:
        with host.world(lane) as world:
            world.lose(fault)

    check_rows(check, ((fault,) for fault in FAULTS if lane in fault.lanes))


# Clients that go away


def before_the_first_byte(connection: Connection, world: World) -> None:
    wait_for(world, "started")


def after_the_first_message(connection: Connection, world: World) -> None:
    connection.read_some(MESSAGE_CHARACTERS + 2000)


def in_the_middle_of_a_message(connection: Connection, world: World) -> None:
    connection.read_some(MESSAGE_CHARACTERS // 2)


AWAY = [before_the_first_byte, after_the_first_message, in_the_middle_of_a_message]
MESSAGE_CHARACTERS = 200_000
MESSAGES = 1000


@pytest.mark.parametrize("leave", AWAY)
@pytest.mark.parametrize("lane", LANES)
def test_nothing_is_left_of_a_client_that_goes_away(
    host: Host, lane: str, leave: Callable[[Connection, World], None]
) -> None:
    with host.world(lane) as world:
        with Connection(host.port) as connection:
            connection.send(endless_stream(lane))
            leave(connection, world)
            connection.reset()
        notes = world.check_end("NoneType")
        assert all(int(note[2]) < MESSAGES for note in notes if note[0] == "closed")


def endless_stream(lane: str) -> bytes:
    # Longer than any buffer is large.
    message = EchoRequest(text="x" * MESSAGE_CHARACTERS, count=MESSAGES)
    return request(ECHO + "ServerStream", body_of(message), {**HEADERS, "x-lane": lane, "x-pause": "0.005"}.items())


HEADERS = {"content-type": PROTO, "x-name": "away"}


def wait_for(world: World, word: str) -> None:
    stop = time.monotonic() + PATIENCE
    while f"\n{word}" not in "\n" + world.traces.text():
        assert time.monotonic() < stop, f"nothing has {word}"
        time.sleep(0.01)


# Workers that are told to stop


@pytest.mark.parametrize("server", STOPPED_GRACEFULLY)
def test_a_stream_ends_once_when_its_worker_is_told_to_stop(server: str, tmp_path: Path) -> None:
    require(server)
    port, log = free_port(), tmp_path / "log"
    stream = request(
        ECHO + "ServerStream",
        body_of(EchoRequest(count=20)),
        {**HEADERS, "x-lane": FLASK, "x-pause": "0.02", "connection": "close"}.items(),
    )
    with log.open("w") as output:
        process = subprocess.Popen(
            command(server, FACTORY, port, threads=1),
            env={**os.environ, **environ_of(tmp_path)},
            stdout=output,
            stderr=output,
        )
    try:
        wait_until_listening(port, process, log)
        with Connection(port) as connection:
            connection.send(stream)
            connection.read_some(10)
            process.send_signal(signal.SIGTERM)
            # As much as comes of it: this is up to the server.
            connection.read_to_end()
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
    words = [line.split()[0] for line in (tmp_path / FLASK / "notes").read_text().splitlines()]
    assert words == ["started", "closed", "teardown_request", "teardown_appcontext"]
    assert Traces(tmp_path / FLASK).rows() == []
    assert COMPLAINTS.findall(log.read_text()) == []
