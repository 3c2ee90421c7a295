"""Streams in process: many small messages."""

from __future__ import annotations

import io
import resource
from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.apps import STREAM, all_ways, fast_lane, repositories
from benchmarks.calls import call_variants
from benchmarks.harness import Goal, Variants, load, observation
from benchmarks.wsgi import BINARY, TEXT, environ_of, frames
from tests.echo_pb2 import EchoReply, EchoRequest

COUNT = 10_000
REFERENCE = "Flask view"


def replies(request: EchoRequest, context: object) -> Iterator[EchoReply]:
    """A generator function, whose messages may be joined."""
    for number in range(request.count):
        yield EchoReply(number=number)


def variants(content_type: str) -> Variants:
    """All ways to send a stream."""
    answer = repositories(1)
    ready = [EchoReply(number=number) for number in range(COUNT)]
    apps = {
        **all_ways(answer),
        "fast lane, batch": fast_lane(answer, stream=replies, batch=True).wsgi_app,
        "fast lane, ready sequence": fast_lane(answer, stream=lambda *_: ready, batch=True).wsgi_app,
    }
    return call_variants(apps, STREAM, EchoRequest(count=COUNT).SerializeToString(), content_type)


def _goals() -> list[Goal]:
    lanes = ("blueprint", "fast lane", "fast lane, batch", "fast lane, ready sequence")
    return [Goal(lane, REFERENCE, at_most=0.75) for lane in lanes]


@load("stream of 10 000 binary", reference=REFERENCE, goals=_goals(), clock="cpu")
def stream_binary(stack: ExitStack) -> Variants:
    """Frames as they are."""
    return variants(BINARY)


@load("stream of 10 000 text", reference=REFERENCE, goals=_goals(), clock="cpu")
def stream_text(stack: ExitStack) -> Variants:
    """Frames in base64."""
    return variants(TEXT)


def _growth(count: int, *, batch: bool) -> float:
    """Growth of the process's peak memory, in MiB, after a stream of `count` messages."""
    wsgi = fast_lane(repositories(1), stream=replies, batch=batch).wsgi_app
    body = frames(EchoRequest(count=count).SerializeToString())
    environ = {**environ_of(STREAM, body, BINARY), "wsgi.input": io.BytesIO(body)}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in wsgi(environ, lambda status, headers: None):
        pass
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 + 1


@observation("memory of a stream of 1 000 000", unit="MiB + 1", reference="1 message")
def memory(stack: ExitStack) -> Variants:
    """Constant, however long the stream is."""
    return {
        "1 message": lambda: _growth(1, batch=False),
        "1 000 000 messages": lambda: _growth(1_000_000, batch=False),
        "1 000 000 messages, batch": lambda: _growth(1_000_000, batch=True),
    }
