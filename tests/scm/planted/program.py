"""Programs with bugs, in any state of their history.

A ``.txt`` file beside this one is a program in one language, as it is after all events of its history. A line has
behind ``<--`` the event that made it so, and the text that it had before; without a text it is new. ``=== path`` begins
a file; the lines between ``<<<`` and ``>>>`` are at ``^^^`` until they are moved; comments come at ``~~~``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KINDS", "LANGUAGES", "Program", "read_program"]

LANGUAGES = ("python", "java", "javascript", "go")
KINDS = ("direct", "helper", "recursion", "overflow", "chained", "library", "callback")
"""Bugs: each is an event that breaks a line, and an argument of the program, which then fails."""
CODE = {"python": ".py", "java": ".java", "javascript": ".js", "go": ".go"}

_EVENT = re.compile(r"\s+<-- (\w+)(?:: (.*?))?(?=\s+<-- |$)")


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    before: tuple[tuple[str, str | None], ...] = ()
    """Events, the newest first, with the text before each."""

    def at(self, events: Set[str]) -> str | None:
        """The text of the line after some events; None before there was such a line."""
        text: str | None = self.text
        for event, before in self.before:
            if event in events:
                break
            text = before
        return text


@dataclass(frozen=True, slots=True)
class _File:
    name: _Line
    lines: tuple[tuple[_Line, bool], ...]
    """With True for those that are moved."""

    def ordered(self, moved: bool) -> Iterator[_Line]:
        """Yield the lines before or after the move."""
        for line, moves in self.lines:
            if line.text == "^^^":
                yield from ([] if moved else [line for line, moves in self.lines if moves])
            elif moved or not moves:
                yield line


@dataclass(frozen=True, slots=True)
class Program:
    """A program in one language."""

    language: str
    files: tuple[_File, ...]
    events: frozenset[str]
    """All those that change it, but for reformats, moves and comments."""

    def at(self, events: Set[str]) -> dict[str, str]:
        """Return its files after some events, by path."""
        found = {}
        gaps = 0
        for file in self.files:
            path = file.name.at(events)
            lines = []
            for line in file.ordered("move_lines" in events):
                if line.text == "~~~":
                    lines += self._comments(gaps, events)
                    gaps += 1
                elif (text := line.at(events)) is not None:
                    lines.append(text if "reformat" in events else _unformatted(text, self.language))
            if path is None:
                # A package that is not there yet.
                assert not lines
            else:
                found[path] = "".join(f"{line}\n" for line in lines)
        return found

    def _comments(self, gap: int, events: Set[str]) -> list[str]:
        mark = "#" if self.language == "python" else "//"
        count = sum(line.text == "~~~" for file in self.files for line, _ in file.lines)
        numbers = sorted(int(event[4:]) for event in events if event.startswith("note"))
        return [f"{mark} Note {number}: see the manual." for number in numbers if number % count == gap]


def _unformatted(text: str, language: str) -> str:
    """A line before the reformat, which also gives a variable a longer name."""
    code = text.lstrip(" \t")
    indentation = text[: len(text) - len(code)].replace("\t", "    ")
    code = re.sub(r"\bitem\b", "it", code)
    if language in {"python", "javascript"} and "'" not in code:
        code = code.replace('"', "'")
    if language == "javascript":
        code = code.removesuffix(";")
    return indentation[::2] + code


def read_program(language: str) -> Program:
    """Read the program of a language."""
    files: list[tuple[_Line, list[tuple[_Line, bool]]]] = []
    moves = False
    for text in Path(__file__).with_name(f"{language}.txt").read_text().splitlines():
        line = _read_line(text.removeprefix("=== "))
        if text.startswith("=== "):
            files.append((line, []))
        elif text in {"<<<", ">>>"}:
            moves = text == "<<<"
        else:
            files[-1][1].append((line, moves))
    lines = [line for _, lines in files for line, _ in lines]
    events = {event for line in lines for event, _ in line.before}
    parts = tuple(_File(name, tuple(lines)) for name, lines in files)
    return Program(language, parts, frozenset(events - {"reformat", "move_file", "move_lines"}))


def _read_line(text: str) -> _Line:
    found = _EVENT.findall(text)
    final = text[: next(_EVENT.finditer(text)).start()] if found else text
    indentation = final[: len(final) - len(final.lstrip())]
    return _Line(final, tuple((event, indentation + before if before else None) for event, before in found))
