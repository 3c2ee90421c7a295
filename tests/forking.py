"""Forks in tests: from a new process, because pytest's has threads."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

SECONDS = 30

_SPAWN = multiprocessing.get_context("spawn")
_FORK = multiprocessing.get_context("fork")


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in a new process; it returns and raises here."""
    with ProcessPoolExecutor(1, mp_context=_SPAWN) as pool:
        return pool.submit(function, *arguments).result(2 * SECONDS)


class Child:
    """A forked copy of this process, at work."""

    def __init__(self, work: Callable[..., Any], *arguments: Any) -> None:
        self._results, its_end = _FORK.Pipe(duplex=False)
        self._process = _FORK.Process(target=_send, args=[its_end, work, *arguments])
        self._process.start()
        its_end.close()

    def result(self) -> Any:
        """What the work has returned; EOFError when it raised."""
        try:
            assert self._results.poll(SECONDS), "the child hangs"
            return self._results.recv()
        finally:
            self._results.close()
            self._process.kill()
            self._process.join()


def _send(results: Connection, work: Callable[..., Any], *arguments: Any) -> None:
    results.send(work(*arguments))
