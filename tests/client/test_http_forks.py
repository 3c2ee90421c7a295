"""A channel that is used before a fork: each process has connections of its own."""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flask_grpcweb_scm.client import CallError, Channel
from tests.client.scripted import CHUNKED, OK, Peer, chunk, http, serve
from tests.echo_pb2 import DESCRIPTOR, EchoReply, EchoRequest
from tests.forking import Child, alone
from tests.grpcweb import frame

ECHO = DESCRIPTOR.services_by_name["Echo"]
CERTIFICATE = Path(__file__).with_name("localhost.pem")
CALLS = 30
CHILDREN = 3


def echo(peer: Peer) -> None:
    """Unary and server streams, which go on when their peer has sent another request."""
    message = EchoRequest.FromString(peer.body[5:])
    reply = frame(EchoReply(text=message.text).SerializeToString())
    if not message.count:
        peer.send(http(reply + OK))
        return
    peer.send(CHUNKED)
    for _ in range(message.count):
        peer.send(chunk(reply))
        peer.server.stopped.wait(0.01)
    peer.send(chunk(OK) + b"0\r\n\r\n")


def wrong(stub: Any, who: str) -> list[str]:
    """What came of calls that was not meant for them."""
    texts = [f"{who} {number}" for number in range(CALLS)]
    outcomes = []
    for text in texts:
        try:
            outcomes.append(stub.unary(EchoRequest(text=text)).text)
        except CallError as error:
            outcomes.append(str(error))
    return [outcome for outcome, text in zip(outcomes, texts, strict=True) if outcome != text]


def call_in_all_processes(url: str, ca_certs: str | None) -> list[str]:
    with Channel(url, timeout=10, ca_certs=ca_certs) as channel:
        stub = channel.stub(ECHO)
        assert wrong(stub, "before") == []
        children = [Child(wrong, stub, f"child {number}") for number in range(CHILDREN)]
        return [text for outcome in [wrong(stub, "parent"), *(c.result() for c in children)] for text in outcome]


def fork_twice(url: str, ca_certs: str | None) -> list[str]:
    with Channel(url, timeout=10, ca_certs=ca_certs) as channel:
        stub = channel.stub(ECHO)
        assert wrong(stub, "parent") == []

        def child() -> list[str]:
            grandchild = Child(wrong, stub, "grandchild")
            return wrong(stub, "child") + list(grandchild.result())

        return list(Child(child).result()) + wrong(stub, "parent")


def read_on(stream: Any) -> str:
    """What comes after the responses that were received before the fork."""
    try:
        return f"{len(list(stream))} more"
    except CallError as error:
        return str(error)


def close(stream: Any) -> None:
    stream.close()


def cancel(stream: Any) -> None:
    stream.cancel()


def leave(stream: Any) -> None:
    """End the interpreter as scripts do: it collects what is left."""
    with contextlib.suppress(ChildProcessError):
        if os.fork() == 0:
            sys.exit()
        os.wait()


def fork_in_a_stream(url: str, ca_certs: str | None, work: Callable[[Any], Any]) -> tuple[Any, int]:
    with Channel(url, timeout=10, ca_certs=ca_certs) as channel:
        stream = channel.stub(ECHO).server_stream(EchoRequest(text="mine", count=CALLS))
        next(stream)
        outcome = Child(work, stream).result()
        return outcome, len(list(stream))


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest) -> Any:
    tls = None
    if request.param == "https":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(CERTIFICATE)
    with serve(echo, tls) as server:
        yield server.url, str(CERTIFICATE) if tls else None


@pytest.mark.parametrize("scenario", [call_in_all_processes, fork_twice])
def test_every_process_reads_its_own_responses(server: tuple[str, str | None], scenario: Callable[..., Any]) -> None:
    assert alone(scenario, *server) == []


@pytest.mark.parametrize("work", [close, cancel, leave])
def test_a_child_cannot_end_its_parents_stream(server: tuple[str, str | None], work: Callable[..., Any]) -> None:
    assert alone(fork_in_a_stream, *server, work) == (None, CALLS - 1)


def test_a_child_does_not_read_its_parents_stream(server: tuple[str, str | None]) -> None:
    outcome, rest = alone(fork_in_a_stream, *server, read_on)
    assert "the connection belongs to the process that this one was forked from" in outcome
    assert rest == CALLS - 1
