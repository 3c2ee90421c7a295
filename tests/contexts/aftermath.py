"""What a lost response may leave, and may not."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from tests.contexts.app import FAST, LANES
from tests.contexts.callers import Caller, Outcome, Traces, call, post
from tests.contexts.faults import AS_FLASK, Fault

ANY_LANE = "any lane"
ANY_HOOKED = "any lane with hooks"
ANY_ERROR = "any error"

PATIENCE = 10.0
"""Seconds that a server may take to notice that a client has gone."""


@dataclass(frozen=True)
class World:
    """An app of one lane that is called in one way."""

    caller: Caller
    traces: Traces
    lane: str
    has_one_thread: bool = True
    """Whether all requests are served in one thread."""

    def lose(self, fault: Fault, **headers: str) -> Outcome:
        """Lose the response of a stream, and check what is left of its request."""
        error = self.error_of_flask(fault, **headers) if fault.error == AS_FLASK else fault.error
        self.traces.new()
        outcome = call(self.caller, "ServerStream", x_fault=fault.name, **headers)
        self.check_end(error, has_begun=fault.has_begun)
        assert outcome.http_status == 200 or fault.may_break
        assert fault.code in {None, outcome.code}
        assert fault.messages in {None, outcome.messages}
        return outcome

    def error_of_flask(self, fault: Fault, **headers: str) -> str:
        """The class of the error that teardown functions get after the same fault of a view."""
        if len(LANES) == 1:
            # Other versions of Flask lose their own streams, and with them what comes after.
            return ANY_ERROR
        self.traces.new()
        post(self.caller, "/twin", x_fault=fault.name, **headers)
        # Twice in this version of Flask, after the view and after the stream.
        return [words[1] for words in self.notes() if words[0] == "teardown_appcontext"][-1]

    def notes(self) -> list[list[str]]:
        """What was noted since the last look; a server may end a request after its response."""
        self.caller.outside()
        return [line.split() for line in self.traces.new()]

    def check_end(self, error: str, *, has_begun: bool = True) -> list[list[str]]:
        """Check that a request has ended once, in order, and that nothing of it is left.

        :param error: the class of the error that teardown functions have got.
        :returns: what was noted of it.
        """
        notes = self.wait_for_teardown()
        closed = [note for note in notes if note[0] == "closed"]
        assert [note[3:] for note in closed] == ([[]] if has_begun else []), notes
        torn_down = [note for note in notes if note[0].startswith("teardown")]
        ends = [[note[0], error if error == ANY_ERROR else note[1]] for note in torn_down]
        expected = [["teardown_appcontext", error]]
        if self.lane not in {FAST, ANY_LANE}:
            expected = [["teardown_request", error], *expected]
        assert ends == expected, notes
        # What the generator holds is free before its database session ends.
        assert all(notes.index(note) < notes.index(torn_down[0]) for note in closed), notes
        started = [note for note in notes if note[0] == "started"]
        assert self.lane in {ANY_LANE, ANY_HOOKED} or all(" ".join(note[2:]) == self.lane for note in started), notes
        state = self.check_outside()
        if self.has_one_thread:
            assert {int(note[1]) for note in started} <= {state["thread"]}
        self.check_next_requests()
        return notes

    def wait_for_teardown(self) -> list[list[str]]:
        stop = time.monotonic() + PATIENCE
        notes = self.notes()
        while not any(note[0] == "teardown_appcontext" for note in notes) and time.monotonic() < stop:
            if self.has_one_thread:
                # The request before this one was at its end.
                break
            time.sleep(0.02)
            notes += self.notes()
        return notes

    def check_outside(self) -> dict[str, Any]:
        state = self.caller.outside()
        left = {name: value for name, value in state.items() if name != "thread"}
        assert left == {"app context": False, "request context": False, "current_rpc": False}
        return state

    def check_next_requests(self) -> None:
        """Check that the next three requests have a `g` each, and commit no row of another."""
        committing = call(self.caller, "Unary", text="commit")
        host = post(self.caller, "/host")
        stream = call(self.caller, "ServerStream", count=1)
        assert (committing.code, stream.code) == (0, 0)
        assert host.answer is not None
        assert host.answer.body == b"host"
        notes = self.notes()
        assert not any(note[0] in {"stale", "left"} for note in notes), notes
        assert [note[1] for note in notes if note[0] == "teardown_appcontext"] == ["NoneType"] * 3, notes
        assert self.traces.rows() == [f"committed by {committing.name}"]
        self.check_outside()

    def check_many_requests(self, count: int = 50) -> None:
        """Check that no request fails, or sees what is not of it, while garbage is collected in the middle of it."""
        for number in range(count):
            if number % 8 == 0:
                outcome = call(self.caller, "ServerStream", x_collect="1")
            else:
                outcome = call(self.caller, "Unary", x_collect="1")
            assert outcome.code == 0, outcome
        notes = self.notes()
        assert not any(note[0] in {"stale", "left"} for note in notes), notes
        assert [note[1] for note in notes if note[0] == "teardown_appcontext"] == ["NoneType"] * count
        self.check_outside()
