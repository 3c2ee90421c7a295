"""Work that calls wait for, as others see it: runs of git, requests to providers, look-ups in caches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Work", "WorkObserver", "observed_work", "tell_of_cache", "watch_work"]


@dataclass(frozen=True)
class Work:
    """A piece of work outside of this process."""

    kind: str
    """``git`` or ``http``."""
    name: str
    """The git command; the HTTP method."""
    target: str = ""
    """The kind of provider."""
    attributes: dict[str, str | int] = field(default_factory=dict)
    """By the names of the semantic conventions of OpenTelemetry; more may come until the end."""


class WorkObserver(Protocol):
    """Somebody who watches the work of this process."""

    def begin_work(self, piece: Work) -> Callable[[BaseException | None], object]:
        """A piece of work begins; what is returned is called at its end, with the error that ended it."""

    def tell_of_cache(self, name: str, hit: bool) -> None:
        """A key was looked up."""


_observers: list[WorkObserver] = []


def watch_work(observer: WorkObserver) -> None:
    """Tell an observer of all work of this process from now on, whatever the app."""
    if observer not in _observers:
        _observers.append(observer)


@contextmanager
def observed_work(kind: str, name: str, target: str = "", **attributes: str | int) -> Iterator[Work]:
    """Tell of the work in a block. Keywords are attributes, with ``_`` for a dot."""
    piece = Work(kind, name, target, {key.replace("_", "."): value for key, value in attributes.items()})
    ends = [observer.begin_work(piece) for observer in _observers]
    error: BaseException | None = None
    try:
        yield piece
    except GeneratorExit:
        # The rest is not wanted.
        raise
    except BaseException as raised:
        error = raised
        raise
    finally:
        for end in ends:
            end(error)


def tell_of_cache(name: str, hit: bool) -> None:
    """A key was looked up in a cache."""
    for observer in _observers:
        observer.tell_of_cache(name, hit)
