"""Functions that may hang, called for a limited time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from flask_grpcweb_scm.forks import renew_after_fork

__all__ = ["TimeLimit"]

T = TypeVar("T")

MAX_THREADS = 64


class TimeLimit:
    """Calls functions that have no timeout themselves, such as the system's resolver, in threads of their own.

    :param purpose: for the error messages and the names of the threads.
    """

    def __init__(self, purpose: str) -> None:
        self._purpose = purpose
        self._renew()
        renew_after_fork(self, TimeLimit._renew)

    def _renew(self) -> None:
        self._free = threading.Semaphore(MAX_THREADS)

    def call(self, seconds: float, function: Callable[[], T], *, discard: Callable[[T], object] | None = None) -> T:
        """Call a function, and wait for it no longer than that; its exceptions are raised here.

        :param discard: called with a result that comes after that.
        :raises TimeoutError: when there is no result in time. The thread goes on until the function returns; there are
            at most 64 of them.
        """
        free = self._free
        if not free.acquire(timeout=seconds):
            raise TimeoutError(f"{self._purpose}: {MAX_THREADS} threads wait already")
        outcome = _Outcome(discard)

        def run() -> None:
            try:
                outcome.set(function(), None)
            except BaseException as error:
                outcome.set(None, error)
            finally:
                free.release()

        threading.Thread(target=run, name=self._purpose, daemon=True).start()
        if not outcome.is_known(seconds):
            raise TimeoutError(f"{self._purpose}: no result in {seconds:.3g} s")
        result: T = outcome.get()
        return result


class _Outcome:
    """The result or the exception of a function that somebody waits for, or has waited for."""

    def __init__(self, discard: Callable[[Any], object] | None) -> None:
        self._discard = discard
        self._lock = threading.Lock()
        self._known = threading.Event()
        self._is_given_up = False
        self._result: Any = None
        self._error: BaseException | None = None

    def set(self, result: Any, error: BaseException | None) -> None:
        with self._lock:
            self._result, self._error = result, error
            self._known.set()
            is_unwanted = self._is_given_up and error is None
        if is_unwanted and self._discard is not None:
            self._discard(result)

    def is_known(self, seconds: float) -> bool:
        """Wait for it; once that was in vain, the result is discarded."""
        self._known.wait(seconds)
        with self._lock:
            self._is_given_up = not self._known.is_set()
        return not self._is_given_up

    def get(self) -> Any:
        # Not kept here, because its traceback refers to the frame that refers to this.
        error, self._error = self._error, None
        if error is not None:
            raise error
        return self._result
