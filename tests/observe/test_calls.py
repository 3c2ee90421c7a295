"""An observation ends once, and every observer that was told of the beginning is told of the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flask_grpcweb_scm import CallContext, RpcError, StatusCode
from flask_grpcweb_scm.observe import Observation, Outcome, observed_work, trace_id
from flask_grpcweb_scm.observe.work import Work, watch_work

LOST = RpcError(StatusCode.DATA_LOSS, "torn")


class Noting:
    """An observer that notes what it is told, and may raise."""

    def __init__(self, name: str, notes: list[str], fails_at: str = "") -> None:
        self.name, self.notes, self.fails_at = name, notes, fails_at

    def begin(self, call: Any, started: float) -> Callable[[Outcome], object]:
        self.note("begin")
        return lambda outcome: self.note("end", f" {outcome.code.name} {outcome.reason}".rstrip())

    def note(self, what: str, more: str = "") -> None:
        self.notes.append(f"{self.name} {what}{more}")
        if self.fails_at == what:
            raise ZeroDivisionError(self.name)


def observe(fails_at: str = "") -> list[str]:
    """What three observers note, the last of which may fail."""
    notes: list[str] = []
    observation = Observation(CallContext())  # type: ignore[arg-type]
    try:
        observation.begin([Noting("a", notes), Noting("b", notes), Noting("c", notes, fails_at)])
    except ZeroDivisionError:
        notes.append("raised")
    try:
        observation.end(LOST, "a reason")
    except ZeroDivisionError:
        notes.append("raised")
    observation.end(None)
    return notes


END = "end DATA_LOSS a reason"


@pytest.mark.parametrize(
    ("fails_at", "notes"),
    [
        ("", ["a begin", "b begin", "c begin", f"c {END}", f"b {END}", f"a {END}"]),
        ("end", ["a begin", "b begin", "c begin", f"c {END}", f"b {END}", f"a {END}", "raised"]),
        ("begin", ["a begin", "b begin", "c begin", "raised", f"b {END}", f"a {END}"]),
    ],
)
def test_whoever_was_told_of_the_beginning_is_told_of_the_end_once(fails_at: str, notes: list[str]) -> None:
    assert observe(fails_at) == notes


# Traces

ID, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (None, ""),
        ("", ""),
        (f"00-{ID}-{PARENT}-01", ID),
        (f"00-{ID}-{PARENT}-00", ID),
        (f"cc-{ID}-{PARENT}-01-what-the-future-will-be-like", ID),
        (f"ff-{ID}-{PARENT}-01", ""),
        (f"00-{'0' * 32}-{PARENT}-01", ""),
        (f"00-{ID.upper()}-{PARENT}-01", ""),
        (f"00-{ID}-{PARENT}-011", ""),
        (f"00-{ID}-{PARENT}", ""),
        (f"00-{ID[1:]}-{PARENT}-01", ""),
        (f" 00-{ID}-{PARENT}-01", ""),
        (f"00-{ID[1:]}\n-{PARENT}-01", ""),
    ],
)
def test_a_trace_is_named_by_a_header_of_its_standard_alone(sent: str | None, found: str) -> None:
    assert trace_id({} if sent is None else {"HTTP_TRACEPARENT": sent}) == found


# Work


class Worker:
    """Notes the work of this process that is of a kind of its own."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def begin_work(self, piece: Work) -> Callable[[BaseException | None], object]:
        return lambda error: piece.kind == "test" and self.notes.append((piece.attributes, type(error).__name__))

    def tell_of_cache(self, name: str, hit: bool) -> None:
        self.notes.append((name, hit))


def test_work_that_nobody_wants_any_more_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flask_grpcweb_scm.observe.work._observers", [])
    worker = Worker()
    watch_work(worker)

    def steps() -> Any:
        with observed_work("test", "step", server_address="a") as piece:
            piece.attributes["more"] = 1
            yield

    generator = steps()
    next(generator)
    generator.close()
    with pytest.raises(KeyError), observed_work("test", "step"):
        raise KeyError
    assert worker.notes == [({"server.address": "a", "more": 1}, "NoneType"), ({}, "KeyError")]
