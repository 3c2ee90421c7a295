"""Hints for people who misspelt a name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence "X is unknown": the nearest known name, or nothing."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""


def nearest(name: str, known: Iterable[str], similarity: float = 0.6) -> str | None:
    """Return the nearest known name that is at least so similar; 1 is equal."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=similarity)), None)
