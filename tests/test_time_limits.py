"""Functions that may hang, called for a limited time."""

from __future__ import annotations

import threading

import pytest

from flask_grpcweb_scm import time_limits
from flask_grpcweb_scm.time_limits import TimeLimit
from tests.forking import Child

SECONDS = 60


@pytest.fixture
def limit() -> TimeLimit:
    return TimeLimit("counting")


@pytest.mark.parametrize("result", [1, None])
def test_a_result_is_returned(limit: TimeLimit, result: object) -> None:
    assert limit.call(SECONDS, lambda: result) is result


@pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt()])
def test_an_exception_is_raised(limit: TimeLimit, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        limit.call(SECONDS, fail)


def test_a_result_that_comes_too_late_is_discarded(limit: TimeLimit) -> None:
    begun, discarded = threading.Event(), threading.Event()
    with pytest.raises(TimeoutError, match=r"^counting: no result in 0\.01 s$"):
        limit.call(0.01, lambda: begun.wait(SECONDS), discard=lambda result: discarded.set())
    begun.set()
    assert discarded.wait(SECONDS)


def hang_once(limit: TimeLimit, end: threading.Event) -> None:
    with pytest.raises(TimeoutError, match="no result"):
        limit.call(0.01, lambda: end.wait(SECONDS))


def test_so_many_may_hang(limit: TimeLimit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limits, "MAX_THREADS", 1)
    limit, end = TimeLimit("counting"), threading.Event()
    hang_once(limit, end)
    with pytest.raises(TimeoutError, match=r"^counting: 1 threads wait already$"):
        limit.call(0.01, lambda: None)
    end.set()
    assert limit.call(SECONDS, lambda: 1) == 1


def test_a_child_begins_without_threads_that_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limits, "MAX_THREADS", 1)
    limit, end = TimeLimit("counting"), threading.Event()
    hang_once(limit, end)
    assert Child(limit.call, SECONDS, lambda: 1).result() == 1
    end.set()
