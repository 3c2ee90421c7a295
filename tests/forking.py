"""Forks in tests: from a new process, because pytest's has threads."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

SECONDS = 30
# Its children have neither threads nor connections of this process, and have imported what they need.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(
    [
        *("pytest", "tests.faults.create_issue", "tests.faults.import_git", "tests.faults.trackers"),
        *("tests.faults.worker", "tests.warm"),
    ]
)


class Child:
    """A process at work; unless told otherwise a forked copy of this one."""

    def __init__(self, work: Callable[..., Any], *arguments: Any, start: str = "fork") -> None:
        processes: Any = multiprocessing.get_context(start)
        self._results, its_end = processes.Pipe(duplex=False)
        self._process = processes.Process(target=_send, args=[its_end, work, *arguments])
        self._process.start()
        its_end.close()

    def result(self, seconds: float = SECONDS) -> Any:
        """What the work has returned; EOFError when it raised."""
        try:
            assert self._results.poll(seconds), "the process hangs"
            return self._results.recv()
        finally:
            self._results.close()
            self._process.kill()
            self._process.join()


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of a module returns in a new process."""
    return Child(function, *arguments, start="forkserver").result(2 * SECONDS)


def _send(results: Connection, work: Callable[..., Any], *arguments: Any) -> None:
    results.send(work(*arguments))
