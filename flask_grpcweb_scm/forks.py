"""State that a forked child must not share with its parent."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["renew_after_fork"]

T = TypeVar("T")

_renewals: weakref.WeakKeyDictionary[Any, Callable[[Any], object]] = weakref.WeakKeyDictionary()
_inherited: list[object] = []


def renew_after_fork(owner: T, renew: Callable[[T], object]) -> None:
    """Call `renew` with the owner in every forked child, as long as the owner exists.

    `renew` replaces what only the parent may use, before any other code runs in the child. It may not wait, start
    threads or close anything: gevent's loop is still the parent's, and the child may be about to exec.

    :param renew: holds no reference to the owner. The child keeps its result: a finalizer could, for example, roll
        back a transaction over the parent's connection.
    """
    _watch_forks()
    _renewals[owner] = renew


@functools.cache
def _watch_forks() -> None:
    if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks either
        os.register_at_fork(after_in_child=_renew)


def _renew() -> None:
    for owner, renew in list(_renewals.items()):
        _inherited.append(renew(owner))
