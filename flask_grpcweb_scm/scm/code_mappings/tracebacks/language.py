"""Frames of printed stack traces, and tables of patterns that recognize the frames of a language; pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from flask_grpcweb_scm.scm.code_mappings.frames import StackFrame
from flask_grpcweb_scm.scm.code_mappings.tracebacks.sections import Section

__all__ = ["NO_FILE", "Language", "Later", "Row", "Stream", "TracebackFrame", "matched_frame"]

NO_FILE = "without a file name"


@dataclass(frozen=True, slots=True)
class TracebackFrame:
    """A frame of a printed stack trace."""

    frame: StackFrame
    line: int
    """0 when unknown."""
    function: str
    not_ours: str = ""
    """Reason why it names no file of a repository; empty when it may: packages that are installed are not left out."""
    bundle: bool = False
    """True for a file that a bundler wrote: the source map that leads to the sources is missing."""
    outermost_first: bool = False
    """True when it is printed before what it called, other than its language does."""

    def __str__(self) -> str:
        if not self.frame.path and not self.frame.abs_path:
            return self.frame.module  # which is the function too
        place = self.frame.path or f"{self.frame.module} ({self.frame.abs_path})"
        return place + (f":{self.line}" if self.line else "") + (f" in {self.function}" if self.function else "")


class Later(NamedTuple):
    """A completion of a frame by one of the lines after it."""

    pattern: re.Pattern[str]
    """Matches that line; its groups are `line` or `function`."""
    within: int = 1
    """Number of lines in which it comes."""
    required: bool = False
    """True when the frame is none without it."""


@dataclass(slots=True)
class Stream:
    """Lines with the same prefix, which one program printed."""

    before: str = ""
    """The line before, without prefix and spaces around it."""
    prefix: str = ""
    """Prefix of the present line."""
    indented: bool = False
    """True when the present line has a tab or two spaces after its prefix."""
    announced: int = 0
    """Number of lines for which it is good that a line has announced frames."""
    partial: str = ""
    """Beginning of a line that a container runtime cut."""
    wrapped: str = ""
    """Beginning of a path that was too long for a line of its box."""
    section: Section | None = None
    """The one that the next frame belongs to."""
    unfinished: tuple[int, Later, int] | None = None
    """The index of a frame that a later line completes, and the number of lines in which it may come."""


Reader = Callable[["re.Match[str]", Stream], "TracebackFrame | None"]


class Row(NamedTuple):
    """A way in which a language prints a frame."""

    needle: str
    """Text that every such line has: it is looked for first, because that is fast."""
    pattern: re.Pattern[str]
    """Matches the whole line, without prefix and spaces around it."""
    read: Reader | None = None
    """Reader of a match; by default of its groups `path`, `line` and `function`."""
    later: Later | None = None


@dataclass(frozen=True, slots=True)
class Language:
    """The frames of a language, as its runtimes and tools print them."""

    name: str
    """Name for people."""
    platform: str
    """Platform of its frames."""
    rows: tuple[Row, ...]
    announcement: str = ""
    """Pattern of lines that announce frames which are not to be told from other texts by themselves."""


def matched_frame(match: re.Match[str], platform: str, *, function: str = "", not_ours: str = "") -> TracebackFrame:
    """Make a frame of the groups `path`, `line` and `function` of a match, as far as it has them."""
    groups = match.groupdict()
    frame = StackFrame(groups["path"].strip(), platform=platform)
    return TracebackFrame(frame, int(groups.get("line") or 0), (groups.get("function") or function).strip(), not_ours)


def completed(frame: TracebackFrame, match: re.Match[str]) -> TracebackFrame:
    """Return a frame with the line or the function of a later line of its stream."""
    groups = match.groupdict()
    line, function = groups.get("line"), groups.get("function")
    return replace(frame, line=int(line or frame.line), function=function or frame.function)
