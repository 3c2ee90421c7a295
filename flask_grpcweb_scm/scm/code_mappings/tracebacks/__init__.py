"""Reader of stack traces anywhere in a text: logs with their prefixes, JSON, notebooks, mails; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flask_grpcweb_scm.scm.code_mappings.libraries import installed_package, library_of_path
from flask_grpcweb_scm.scm.code_mappings.tracebacks.compiled import CSHARP, GO, NATIVE, RUST, SWIFT
from flask_grpcweb_scm.scm.code_mappings.tracebacks.dynamic import DART, ELIXIR, PHP, RUBY
from flask_grpcweb_scm.scm.code_mappings.tracebacks.failures import frames_of_failure
from flask_grpcweb_scm.scm.code_mappings.tracebacks.javascript import JAVASCRIPT
from flask_grpcweb_scm.scm.code_mappings.tracebacks.jvm import JVM
from flask_grpcweb_scm.scm.code_mappings.tracebacks.language import (
    Later,
    Stream,
    TracebackFrame,
    completed,
    matched_frame,
)
from flask_grpcweb_scm.scm.code_mappings.tracebacks.objects import LISTS, frame_of_object
from flask_grpcweb_scm.scm.code_mappings.tracebacks.prefixes import (
    PARTIAL,
    cuts,
    stream_name,
    unknown_cuts,
    without_numbers,
)
from flask_grpcweb_scm.scm.code_mappings.tracebacks.python import PYTHON
from flask_grpcweb_scm.scm.code_mappings.tracebacks.sections import (
    Kind,
    Mark,
    Section,
    find_mark,
    section_after,
)
from flask_grpcweb_scm.scm.code_mappings.tracebacks.texts import clean, json_value, strings, unescaped

__all__ = ["LANGUAGES", "TooManyLines", "TracebackFrame", "parse_failure", "parse_traceback"]

_LANGUAGES = (PYTHON, JVM, JAVASCRIPT, CSHARP, GO, RUST, RUBY, PHP, SWIFT, DART, ELIXIR, NATIVE)
_ROWS = tuple((language.platform, *row) for language in _LANGUAGES for row in language.rows)
_ANNOUNCEMENT = re.compile("|".join(language.announcement for language in _LANGUAGES if language.announcement))
LANGUAGES = (
    "Python, Java, Kotlin, Scala, Groovy, Clojure, JavaScript, C#, Go, Ruby, PHP, Rust, Swift, Dart, Elixir or C"
)
"""The languages whose stack traces are read, for people."""

MAX_FRAME_CHARACTERS = 5000  # more than a path may have anywhere
MAX_DEPTH = 4  # of strings in strings
ANNOUNCED = 3  # lines
MAX_JOINED = 500  # frames in one line

_CLOSING = re.compile(r"(?:, referer: \S*|\s\+|<br ?/?>|</[a-z-]+>|\]\]>|\\r?)$")
MAX_CLOSINGS = 4
_WORTH = re.compile(r"\d|\)$| in ")  # in every frame
_PATH_ALONE = re.compile(r"(?:~?/|[A-Za-z]:\\)[^\s\":]{1,4000}(?::\d{0,9})?(?: in)?")  # in Rich's boxes
_NAMED = re.compile(r"\w")
_JOINT = re.compile(r'(?<=[\s|;>])(?=at )|(?=File ")|(?=#\d{1,4} )')


def parse_traceback(text: str) -> Iterator[TracebackFrame]:
    """Yield the frames of all stack traces in a text, in its order; other lines are skipped."""
    reader = _Reader()
    reader.read(text)
    yield from reader.finish().values()


class TooManyLines(ValueError):
    """Raised for a text that has more lines than are wanted, also in the strings of its JSON."""


def parse_failure(text: str, *, max_lines: int | None = None) -> list[TracebackFrame]:
    """Return the frames of the last stack trace in a text: the outermost call first, and last the one that failed.

    Those of exceptions that the first cause led to come before its own; the module of failures says more.

    :raises TooManyLines: for a text with more lines than that.
    """
    reader = _Reader(max_lines)
    reader.read(text)
    return frames_of_failure(reader.sections, reader.finish())


def _content(rest: str) -> str:
    """Return the rest of a line without spaces, and without what a box, a list or a log puts behind it."""
    if len(rest) > MAX_FRAME_CHARACTERS:
        return ""
    text = rest.strip()
    for _ in range(MAX_CLOSINGS):
        shorter = _CLOSING.sub("", text).rstrip("*` \t│┃║|,;")
        if shorter == text:
            break
        text = shorter
    return text


@dataclass(slots=True)
class _Reader:
    """The frames of a text, and the streams of lines that it is made of."""

    max_lines: int | None = None
    lines: int = 0
    frames: list[TracebackFrame] = field(default_factory=list)
    streams: dict[str, Stream] = field(default_factory=dict)
    latest: dict[str, Stream] = field(default_factory=dict)
    """By the names without their numbers: that to which the latest line belongs."""
    dropped: set[int] = field(default_factory=set)
    """Indexes of frames that are none unless they are completed."""
    sections: list[Section] = field(default_factory=list)

    def finish(self) -> dict[int, TracebackFrame]:
        """Return the frames by their indexes."""
        found = {}
        for index, frame in enumerate(self.frames):
            if index not in self.dropped:
                path = frame.frame.path
                library = "" if frame.not_ours or installed_package(path) else library_of_path(path)
                found[index] = replace(frame, not_ours=library) if library else frame
        return found

    def read(self, text: str, name: str = "", depth: int = 0) -> bool:
        """Read a text; tell whether it has frames."""
        count = len(self.frames)
        value = json_value(text.strip())
        if value is not None:
            self._read_value(value, name, depth)
        else:
            for line in text.splitlines():
                self._read_line(line, name, depth)
        return len(self.frames) > count

    def _read_value(self, value: Any, name: str, depth: int) -> None:
        """Read a value of JSON, however deep: its strings, and the objects that are frames."""
        left: list[tuple[Any, str]] = [(value, "")]  # with the name that it has
        while left:
            item, key = left.pop()
            if isinstance(item, str) and depth < MAX_DEPTH:
                self.read(item, f"{name}{{{key}", depth + 1)
            elif isinstance(item, list):
                if LISTS.fullmatch(key):
                    self._begin_list(name, key)
                left.extend((one, key) for one in reversed(item))
            elif isinstance(item, dict):
                frame = frame_of_object(item) if LISTS.fullmatch(key) else None
                if frame is not None:
                    self._add(name, frame)
                else:
                    left.extend((one, key) for key, one in reversed(item.items()))

    def _begin_list(self, name: str, key: str) -> None:
        """Begin a section for a list of frames: trackers have the outermost call first, and first the first cause."""
        stream = self._stream(name)
        before = stream.section
        in_tracker = key == "frames"
        kind = Kind.EFFECT if in_tracker and before is not None and before.mark.failing_last else Kind.TRACE
        stream.section = self._begun(section_after(before, Mark(kind, in_tracker or None), 0))

    def _begun(self, section: Section | None) -> Section | None:
        if section is not None and section.number < 0:
            section.number = len(self.sections)
            self.sections.append(section)
        return section

    def _add(self, name: str, frame: TracebackFrame) -> int:
        """Add a frame to the present section; return its index."""
        self.frames.append(frame)
        stream = self._stream(name)
        if stream.section is None:
            stream.section = self._begun(Section(Mark(Kind.TRACE)))
        assert stream.section is not None
        index = len(self.frames) - 1
        stream.section.indexes.append(index)
        stream.section.platform = stream.section.platform or frame.frame.platform
        return index

    def _read_line(self, line: str, name: str, depth: int) -> None:
        self.lines += 1
        if self.max_lines is not None and self.lines > self.max_lines:
            raise TooManyLines(f"more than {self.max_lines} lines")
        if "#012" in line:
            # A line feed, as rsyslog writes it.
            for part in line.split("#012"):
                self._read_line(part, name, depth)
            return
        line = clean(self._whole(line, name))
        if not line:
            return
        if "\n" in line:  # it was a character of XML
            for part in line.splitlines():
                self._read_line(part, name, depth)
            return
        places = cuts(line)
        rests = [(line[:place], line[place:]) for place in reversed(places)]
        streams = [name + stream_name(prefix) for prefix, _ in rests]
        texts = [_content(rest) for _, rest in rests]
        if "│" in rests[0][0]:
            box = max(index for index, (prefix, _) in enumerate(rests) if "│" in prefix)
            text = self._unwrapped(self._stream(streams[box]), texts[box])
            if text != texts[box]:
                rests, streams, texts = [rests[box]], [streams[box]], [text]
        self._read_mark(rests, streams, texts)
        read = self._read_json(rests, streams[0], depth) or any(
            self._complete(stream, text) or self._read_frame(stream, prefix, rest, text)
            for stream, (prefix, rest), text in zip(streams, rests, texts, strict=True)
        )
        if not read and not self._read_inside(line, streams[0], depth):
            self._read_anywhere(line, streams[-1])
        self._note(streams, texts)

    def _note(self, streams: Sequence[str], texts: Sequence[str]) -> None:
        """Note a line that was read, for the next ones of its streams."""
        section, longer = None, streams[0]
        for key, text in zip(streams, texts, strict=True):
            stream = self.latest[without_numbers(key)] = self._stream(key)
            stream.before = text
            # What has no name, such as the side of a box, is no prefix of another program.
            section = None if _NAMED.search(longer[len(key) :]) else section
            stream.section = section = stream.section or section
            longer = key
            if stream.section is not None and text.startswith(("raise ", "raise(")):
                stream.section.raised = len(stream.section.indexes)
            stream.announced = ANNOUNCED if _ANNOUNCEMENT.fullmatch(text) else max(stream.announced - 1, 0)

    def _read_mark(self, rests: Sequence[tuple[str, str]], streams: Sequence[str], texts: Sequence[str]) -> None:
        """Begin a section, if that is what a line does: for its stream, and for those with longer prefixes."""
        place, mark = find_mark(texts)
        newest: Section | None = None
        for number, name in reversed([*enumerate(streams)]):
            stream = self._stream(name)
            if stream.section is not None and (newest is None or stream.section.number > newest.number):
                newest = stream.section
            if mark is not None and number == place:
                rest = rests[number][1]
                newest = self._begun(section_after(newest, mark, len(rest) - len(rest.lstrip())))
            stream.section = newest

    def _whole(self, line: str, name: str) -> str:
        """Return a line with its beginning, if a container runtime cut it; empty as long as its end is not there."""
        mark = PARTIAL.match(line)
        if mark is None:
            return line
        stream = self._stream(name + stream_name(mark["prefix"]))
        text, stream.partial = stream.partial + line[mark.end() :], ""
        if mark["kind"] == "F":
            return mark[0] + text
        stream.partial = text
        return ""

    def _unwrapped(self, stream: Stream, text: str) -> str:
        """Return the text of a line in a box; with the lines before, when a path is too long for the box."""
        start, stream.wrapped = stream.wrapped, ""
        if start:
            text = start + (" " if start.endswith(" in") or text.startswith("in ") else "") + text
        if _PATH_ALONE.fullmatch(text):
            stream.wrapped = text
        return text

    def _stream(self, name: str) -> Stream:
        stream = self.streams.get(name)
        if stream is None:
            # The first line with a prefix goes on from one that differs in numbers: of lines, or of seconds.
            before = self.latest.get(without_numbers(name))
            stream = self.streams[name] = Stream() if before is None else replace(before)
        return stream

    def _complete(self, name: str, line: str) -> bool:
        """Complete a frame by a line after it; tell whether there is such a frame."""
        stream = self._stream(name)
        if stream.unfinished is None:
            return False
        index, later, left = stream.unfinished
        match = later.pattern.fullmatch(line.rpartition("\t")[2]) or later.pattern.fullmatch(line)
        if match is not None:
            self.frames[index] = completed(self.frames[index], match)
            self.dropped.discard(index)
        stream.unfinished = (index, later, left - 1) if match is None and left > 1 else None
        return match is not None

    def _read_frame(self, name: str, prefix: str, rest: str, text: str) -> bool:
        """Read the rest of a line after a prefix, and its content; tell whether it is a frame."""
        found = self._frame(name, prefix, rest, text)
        if found is None:
            return False
        frame, later = found
        index = self._add(name, frame)
        self._stream(name).unfinished = None if later is None else (index, later, later.within)
        if later is not None and later.required:
            self.dropped.add(index)
        return True

    def _frame(self, name: str, prefix: str, rest: str, text: str) -> tuple[TracebackFrame, Later | None] | None:
        if _WORTH.search(text) is None:
            return None
        stream = self._stream(name)
        stream.prefix, stream.indented = prefix, rest.startswith(("\t", "  "))
        for platform, needle, pattern, read, later in _ROWS:
            if needle in text and (match := pattern.fullmatch(text)) is not None:
                frame = read(match, stream) if read is not None else matched_frame(match, platform)
                if frame is not None:
                    stream.announced = ANNOUNCED + 1 if stream.announced else 0
                    return frame, later
        return None

    def _read_json(self, rests: list[tuple[str, str]], name: str, depth: int) -> bool:
        """Read a line of JSON; tell whether it is one."""
        value = next((value for _, rest in rests if (value := json_value(rest)) is not None), None)
        if value is not None and depth < MAX_DEPTH:
            self._read_value(value, name, depth + 1)
        return value is not None

    def _read_inside(self, line: str, name: str, depth: int) -> bool:
        """Read the strings in a line; tell whether they have frames."""
        found = False
        if depth >= MAX_DEPTH:
            return found
        # Frames of Ruby have quotes of their own.
        for quote in ('"',) if ":in `" in line or ":in '" in line else ('"', "'"):
            if not found and quote in line:
                for text in strings(line, quote):
                    found = self.read(text, name + "{", depth + 1) or found
        if not found and ("\\n" in line or "\\t" in line):
            found = self.read(unescaped(line), name, depth + 1)
        return found

    def _read_anywhere(self, line: str, name: str) -> None:
        """Read a trace whose lines were joined, or a frame after a prefix that is not known."""
        pieces = [_content(piece) for piece in _JOINT.split(line, MAX_JOINED)]
        parts = pieces if len(pieces) > 1 else []
        found = [frame for part in parts if (frame := self._frame(name, "", part, part)) is not None]
        if len(found) > 1:
            for each, _ in found:
                self._add(name, each)
            return
        before, indentation = self._stream(name).before, len(line) - len(line.lstrip())
        for place in unknown_cuts(line):
            end = len(line[:place].strip())
            # The line before has the same prefix, but perhaps for numbers.
            same = without_numbers(before[: end // 2]) == without_numbers(line[indentation:][: end // 2])
            self._stream(name).before = before[end:].strip() if same else ""
            if self._read_frame(name, line[:place], "  ", _content(line[place:])):
                return
        if '"' in line:
            rest = line.partition('"')[0]  # the last line of a quoted text
            self._read_frame(name, "", rest, _content(rest))
