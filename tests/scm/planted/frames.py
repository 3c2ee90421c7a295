"""Stack traces as error trackers send them: frames, read from the texts by other rules than those under test."""

from __future__ import annotations

import re
from pathlib import PurePath

from flask_grpcweb_scm.pb import scm_pb2

__all__ = ["frames_of"]

_JAVA = r"\tat (?:[\w.]+/)?(?P<module>[\w.$]+)\.(?P<function>[\w$<>]+)\((?P<file>\w+\.java):(?P<line>\d+)\)"
_FRAMES = {
    "python": re.compile(r'  File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)'),
    "java": re.compile(_JAVA),
    "javascript": re.compile(r" +at (?:(?P<function>[^(]+) \()?(?P<file>[^() ]+):(?P<line>\d+):\d+\)?(?: \{)?"),
    "go": re.compile(r"\t(?P<file>/.+\.go):(?P<line>\d+)(?: \+0x.*)?"),
}  # fmt: skip
_CAUSES = {
    "python": re.compile(r"\nThe above exception was the direct cause of the following exception:\n"),
    "java": re.compile(r"\nCaused by: "),
    "javascript": re.compile(r"\n  \[cause\]: "),
    "go": re.compile(r"\ngoroutine "),
}


def frames_of(language: str, text: str, folder: PurePath) -> list[scm_pb2.StackFrame]:
    """Return the frames, with the outermost call first, and last what failed, not what handled it."""
    found: list[scm_pb2.StackFrame] = []
    parts = _CAUSES[language].split(text)
    if language == "go":
        handlers, panic, failed = parts[1].rpartition("\npanic(")  # the goroutine that failed; others are waiting
        parts = [handlers, panic + failed]
    for part in reversed(parts) if language == "python" else parts:
        matches = [match for line in part.splitlines() if (match := _FRAMES[language].fullmatch(line))]
        found += [_frame(language, match, folder) for match in (matches if language == "python" else reversed(matches))]
    return found


def _frame(language: str, match: re.Match[str], folder: PurePath) -> scm_pb2.StackFrame:
    facts = match.groupdict()
    path = PurePath(facts["file"])
    return scm_pb2.StackFrame(
        path=str(path.relative_to(folder) if path.is_relative_to(folder) else path),
        abs_path=str(path) if path.is_absolute() else "",
        module=facts.get("module") or "",
        function=facts.get("function") or "",
        line=int(facts["line"]),
        platform=language,
    )
