"""Failures: which sections of a text say what failed, and in which order their frames called; pure.

In a chain of exceptions the first cause is what failed: of Java the deepest ``Caused by``, of Python the traceback that
the others follow. An exception that was not raised on purpose, while another one was handled, failed by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from flask_grpcweb_scm.scm.code_mappings.tracebacks.language import TracebackFrame
from flask_grpcweb_scm.scm.code_mappings.tracebacks.sections import Kind, Section

__all__ = ["frames_of_failure"]

_GO_PANIC = re.compile(r"(?:.*/)?runtime/panic\.go")
_GO_RUNTIME = re.compile(r"panic|runtime[./].*")


def frames_of_failure(sections: Sequence[Section], frames: Mapping[int, TracebackFrame]) -> list[TracebackFrame]:
    """Return the frames of the last stack trace: the outermost call first, and last the one that failed.

    Those of the exceptions that the first cause led to come before its own.

    :param frames: by index, without those that turned out to be none.
    """
    chains: list[list[Section]] = []
    chain_of: dict[Section, list[Section]] = {}
    for section in sections:
        if not section.indexes:
            continue
        previous = section.previous
        kind = section.mark.kind
        if kind is Kind.TRACE or previous not in chain_of:
            chain = [section]
            chains.append(chain)
        else:
            chain = chain_of[previous]
            if kind is Kind.EFFECT or (kind is Kind.CONTEXT and section.raises()):
                chain.insert(0, section)
            elif kind is not Kind.ASIDE:
                chain.append(section)
        chain_of[section] = chain
    ordered = [[frame for section in chain for frame in _in_order(section, frames)] for chain in chains]
    telling = [found for found in ordered if any(not frame.not_ours for frame in found)]
    return (telling or ordered or [[]])[-1]


def _in_order(section: Section, frames: Mapping[int, TracebackFrame]) -> list[TracebackFrame]:
    found = [frames[index] for index in section.indexes if index in frames]
    failing_last = section.mark.failing_last
    if failing_last is None:
        failing_last = section.platform == "python"
    if not failing_last:
        outer = [frame for frame in found if frame.outermost_first]
        found = [*outer, *[frame for frame in reversed(found) if not frame.outermost_first]]
    if section.platform == "go":
        panic = next((place for place, frame in enumerate(found) if _GO_PANIC.fullmatch(frame.frame.path)), -1)
        if panic >= 0:
            # What was called after the first panic handled it.
            found = [*found[panic + 1 :], *found[:panic]]
        found = [frame for frame in found if _GO_RUNTIME.fullmatch(frame.function) is None]
    return _without_repeated_heads(found) if section.platform in {"php", "rust"} else found


def _without_repeated_heads(frames: Sequence[TracebackFrame]) -> list[TracebackFrame]:
    """Leave out places without a function that another frame has too: those in the line of the exception."""
    named = {_place(frame) for frame in frames if frame.function}
    kept: list[TracebackFrame] = []
    seen: set[tuple[str, int]] = set()
    for frame in reversed(frames):  # the nearest to the failure stays
        place = _place(frame)
        if not frame.function and (place in named or place in seen):
            continue
        seen.add(place)
        kept.append(frame)
    return kept[::-1]


def _place(frame: TracebackFrame) -> tuple[str, int]:
    return frame.frame.text.removeprefix("./"), frame.line
