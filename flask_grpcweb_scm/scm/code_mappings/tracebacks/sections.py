"""Sections of texts, each of one exception or thread, and the lines that begin them; pure."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Kind", "Mark", "Section", "find_mark", "section_after"]


class Kind(enum.Enum):
    """Relation of a section to the one before it."""

    TRACE = enum.auto()
    """Another stack trace."""
    HEAD = enum.auto()
    """Another stack trace, unless it is the end of one: the line of an exception."""
    CAUSE = enum.auto()
    EFFECT = enum.auto()
    CONTEXT = enum.auto()
    """An effect if it was raised on purpose, else what failed."""
    ASIDE = enum.auto()
    """Neither: an exception while something was closed, another thread."""


class Mark(NamedTuple):
    """A line that begins a section."""

    kind: Kind
    failing_last: bool | None = None
    """Order of the frames; None when the line does not say it."""
    others: bool = False
    """True when the stack traces of other threads follow."""


_ORDER = re.compile(r"(?P<other>Thread 0x.*)?.*\(most recent call (?P<order>last|first)\):?.*")
_PY_SPY = re.compile(r"Thread (?:0x)?[0-9A-Fa-f]+ \((?:idle|active)[\w+]*\).*")
_GOROUTINE = re.compile(r"goroutine \d+ (?:gp=.*)?\[(?P<state>[^\[\]]*)\]:.*")
_ERROR = r"(?:[\w$]+[./\\:]+)*[\w$]*(?:Error|Exception|Throwable|Failure|Panic)"
_MARKS = (
    (Mark(Kind.EFFECT), r"The above exception was the direct cause of the following exception:|Wrapped by: .*|"
                        r"Next [\w\\]+(?:: .*)? in .*:\d+"),
    (Mark(Kind.CONTEXT), r"During handling of the above exception, another exception occurred:"),
    (Mark(Kind.CAUSE), r"(?:\[?[Cc]aused by:?\]?(?:: ?| |$)|\[cause\]: ?|\[previous exception\]).*"),
    (Mark(Kind.CAUSE), r"\+-\+-+ 1 -+"),  # of a group of exceptions of Python, the first one
    (Mark(Kind.ASIDE), r"Suppressed: .*|runtime stack:|\[errors\]: \[|\+-+ \d+ -+"),
    (Mark(Kind.TRACE, others=True), r"(?:panic|fatal error): .*"),
    (Mark(Kind.TRACE), r"_{3,} \S.* _{3,}|thread '.*' (?:\(\d+\) )?panicked at .*"),  # pytest, Rust
    # Ruby prints a cause after what it caused.
    (Mark(Kind.CAUSE), r"\S+:\d+:in [`'\u2018][^'\u2019]*['\u2019]: .*\([A-Z][\w:]*\)"),
    (Mark(Kind.HEAD), rf"(?:Exception in thread \".*\" |(?:PHP )?Fatal error: +|Unhandled \w+: )?(?:Uncaught )?{_ERROR}"
                      r"(?: ?\[\w+\]| ?\(.*\))?(?::.*)?"),
)  # fmt: skip
_KNOWN = [(mark, re.compile(pattern)) for mark, pattern in _MARKS]
_WORTH = re.compile(
    r"exception|Exception|Error|Throwable|Failure|Panic|[Cc]aused by|\[cause\]|Wrapped by|Suppressed|panic|goroutine|"
    r"most recent call|fatal error|runtime stack|___|:in |Next |\[errors\]|---- \d+ ---|\((?:idle|active)"
)
MAX_MARK_CHARACTERS = 2000


@dataclass(slots=True, eq=False)
class Section:
    """A stack trace, or the part of one that belongs to one exception."""

    mark: Mark
    previous: Section | None = None
    """The one before it in the same stream of lines."""
    number: int = -1
    """Its place in the text; -1 before it has one."""
    indentation: int = 0
    indexes: list[int] = field(default_factory=list)
    """Of its frames, in the order of the text."""
    raised: int = -1
    """Number of frames before the last line that begins with ``raise``."""
    platform: str = ""

    def raises(self) -> bool:
        """Tell whether the exception was raised on purpose, as far as the lines of code say it."""
        # pytest prints the code before the place.
        return self.raised >= len(self.indexes) - 1 > -1


def find_mark(texts: Sequence[str]) -> tuple[int, Mark | None]:
    """Return what a line begins, and the place of the text that says it; None when it begins no section.

    :param texts: the line without what may be its prefix, the shortest text first.
    """
    if len(texts[-1]) > MAX_MARK_CHARACTERS or _WORTH.search(texts[-1]) is None:
        return 0, None
    found = [(place, mark) for place, text in enumerate(texts) if (mark := _mark_of(text)) is not None]
    # Of "[cause]: TypeError" the beginning is no prefix, and anything may be before "(most recent call last)".
    return min(found, key=_preference, default=(0, None))


def _preference(found: tuple[int, Mark]) -> tuple[bool, int]:
    place, mark = found
    return mark.kind is Kind.HEAD, -place if mark.failing_last is None else place


def _mark_of(text: str) -> Mark | None:
    if (order := _ORDER.fullmatch(text)) is not None:
        return Mark(Kind.ASIDE if order["other"] else Kind.TRACE, order["order"] == "last")
    if _PY_SPY.fullmatch(text) is not None:
        return Mark(Kind.ASIDE, failing_last=False)
    if (goroutine := _GOROUTINE.fullmatch(text)) is not None:
        return Mark(Kind.TRACE if goroutine["state"].startswith("running") else Kind.ASIDE)
    return next((mark for mark, pattern in _KNOWN if pattern.fullmatch(text) is not None), None)


def section_after(current: Section | None, mark: Mark, indentation: int) -> Section | None:
    """Return the section that a line begins; the current one, perhaps changed, when it begins none."""
    if current is None:
        return None if mark.kind is Kind.HEAD else Section(mark, None, indentation=indentation)
    kind, others = mark.kind, mark.others
    if not current.indexes:
        # "Traceback …" below "The above exception …", a line of an exception below "Caused by".
        kept = current.mark.kind if kind in {Kind.TRACE, Kind.HEAD} else kind
        order = current.mark.failing_last if mark.failing_last is None else mark.failing_last
        # Below "runtime stack:" the goroutine that failed is still to come.
        current.mark = Mark(kept, order, (current.mark.others or others) and kept is not Kind.ASIDE)
        return current
    if current.mark.failing_last and kind is Kind.CAUSE and current.platform == "ruby":
        return current  # the head is the last line
    is_nested = current.mark.kind is Kind.ASIDE and indentation >= current.indentation > 0
    if kind is Kind.HEAD:
        if current.platform in {"python", ""} or current.mark.failing_last:
            return current
        kind = Kind.ASIDE if is_nested else Kind.TRACE
    if kind is Kind.TRACE and current.mark.others and not others and current.platform == "go":
        kind, others = Kind.ASIDE, True
    elif kind is Kind.ASIDE:
        others = current.mark.others
    if kind is Kind.CAUSE and is_nested:
        kind = Kind.ASIDE
    return Section(Mark(kind, mark.failing_last, others), current, indentation=indentation)
