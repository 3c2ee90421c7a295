"""Parser for stack traces of Python, Java, JavaScript and Go anywhere in a text; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from flask_grpcweb_scm.scm.code_mappings.frames import StackFrame

__all__ = ["TracebackFrame", "parse_traceback"]


@dataclass(frozen=True, slots=True)
class TracebackFrame:
    """A frame of a printed stack trace."""

    frame: StackFrame
    line: int
    """0 when unknown."""
    function: str
    not_ours: str = ""
    """Reason why the file is in no repository of the organization; empty when it may be in one."""

    def __str__(self) -> str:
        place = self.frame.path or f"{self.frame.module} ({self.frame.abs_path})"
        return place + (f":{self.line}" if self.line else "") + (f" in {self.function}" if self.function else "")


MAX_LINE_CHARACTERS = 5000  # the time of the patterns may be quadratic

# The prefixes of containers, logs and groups of exceptions: "web-1  | ", "  | ".
_MARGIN = r'(?:[^|"@]*\|)*[\s+]*'


def parse_traceback(text: str) -> Iterator[TracebackFrame]:
    """Yield the frames of all stack traces in a text, in its order; other lines are skipped."""
    before = ""
    for line in text.splitlines():
        if len(line) > MAX_LINE_CHARACTERS:
            continue
        for pattern, read in _LANGUAGES:
            match = pattern.fullmatch(line)
            if match is not None:
                yield read(match, before)
                break
        before = line


# File "x.py", line 3, in f
_PYTHON = re.compile(_MARGIN + r"""File "(?P<path>[^"]+)", line (?P<line>\d+)(?:, in (?P<function>.+))?""")
_PYTHON_LIBRARY = re.compile(r"[/\\]lib(?:64)?[/\\]python\d[\d.]*[/\\]|[/\\]python[\d.]*[/\\]lib[/\\]|\.zip[/\\]", re.I)
_PYTHON_PACKAGE = re.compile(r"[/\\](?:site|dist)-packages[/\\]")


def _read_python(match: re.Match[str], before: str) -> TracebackFrame:
    path = match["path"]
    if _PYTHON_PACKAGE.search(path):
        reason = "an installed package"
    else:
        reason = "Python's own library" if _PYTHON_LIBRARY.search(path) else ""
    return TracebackFrame(StackFrame(path, platform="python"), int(match["line"]), match["function"] or "", reason)


# StackTraceElement.toString() of Java: "com.foo.loader/foo@9.0/com.foo.Main.run(Main.java:101)"; either of loader and
# module may be missing. A class that was made at run time has a slash of its own: "Main$$Lambda/0x0123.run(…)".
_JAVA = re.compile(
    _MARGIN + r"at (?P<origin>(?:[^\s()/]*/){0,2}?)(?P<module>[^\s()/]+(?:/0x[0-9a-f]+)?)\.(?P<function>[^()/.]+)"
    r"\((?P<file>[^():]+)(?::(?P<line>\d+))?\)(?:\s.*)?"
)
_JAVA_LIBRARY = re.compile(r"(?:java|javax|jdk|sun|com\.sun|kotlin|scala|clojure|groovy)\..*")
_JAVA_MODULE = re.compile(r"(?:java|jdk)\.[\w.]+(?:@[^/]*)?/")


def _read_java(match: re.Match[str], before: str) -> TracebackFrame:
    file = match["file"]
    reason = ""
    if _JAVA_MODULE.fullmatch(match["origin"]) or _JAVA_LIBRARY.fullmatch(match["module"]):
        reason = "the library of the language"
    elif file in {"Native Method", "Unknown Source"}:
        reason = "without a file name"
    frame = StackFrame(module=match["module"], abs_path=file, platform="java")
    return TracebackFrame(frame, int(match["line"] or 0), match["function"], reason)


# "at f (x.js:1:2)", "at async Promise.all (index 0)", "at x.js:1:2" of V8; "f@x.js:1:2" of Firefox and Safari.
_V8 = re.compile(
    _MARGIN + r"at (?:async )?(?P<named>(?P<function>.*?) \()?(?P<path>\S.*?):(?P<line>\d+):(?P<column>\d+)"
    r"(?(named)\))(?:,? \{)?"
)
_V8_NOWHERE = re.compile(_MARGIN + r"at (?:async )?(?P<function>.*?) \((?P<path><anonymous>|native|index \d+)\)")
_AT_SIGN = re.compile(
    r"(?P<function>(?:global|module|eval) code|[^@\s]*)@(?P<path>\S.*?):(?P<line>\d+):(?P<column>\d+)"
)
_SCHEME = re.compile(r"file://(?=/)|webpack(?:-internal)?://[^/]*/|rsc://[^/]*/[^/]*/(?=file:)")
_WINDOWS_DRIVE = re.compile(r"/[A-Za-z]:/")


def _read_javascript(match: re.Match[str], before: str) -> TracebackFrame:
    groups = match.groupdict()
    path = groups["path"]
    reason = ""
    if path.startswith(("node:", "internal/", "native")):
        reason = "Node's own library"
    elif re.search(r"(?:^|[/\\])node_modules[/\\]", path):
        reason = "an installed package"
    elif path == "<anonymous>" or path.startswith(("index ", "eval at ")):
        reason = "without a file name"
    frame = StackFrame(_url_path(path), platform="javascript")
    return TracebackFrame(frame, int(groups.get("line") or 0), groups["function"] or "", reason)


def _url_path(url: str) -> str:
    """Return the path in the URL of a file or of a webpack module; any other text unchanged."""
    path = _SCHEME.sub("", url, count=1)
    if path == url:
        return url
    path = unquote(path.partition("?")[0])
    return path[1:] if _WINDOWS_DRIVE.match(path) else path


# A line with the function, then "\t/srv/main.go:12 +0x1d".
_GO = re.compile(_MARGIN + r"(?<=\s)(?P<path>\S.*?\.(?:go|s)):(?P<line>\d+)(?: \+0x[0-9a-f]+)?\s*")
_GO_FUNCTION = re.compile(_MARGIN + r"(?:created by )?(?P<name>\S.*?)(?:\([^()]*\))?(?: in goroutine \d+)?\s*")
_GO_MODULE = re.compile(r"(?:^|[/\\])pkg[/\\]mod[/\\]|^[^/\\]+\.[^@]*@v|[/\\]vendor[/\\]")
_GO_STANDARD = (
    "archive|bufio|bytes|cmp|compress|container|context|crypto|database|debug|embed|encoding|errors|expvar|flag|fmt|go|"
    "hash|html|image|internal|io|iter|log|maps|math|mime|net|os|path|plugin|reflect|regexp|runtime|slices|sort|strconv|"
    "strings|sync|syscall|testing|text|time|unicode"
)
_GO_LIBRARY = re.compile(rf"(?:.*[/\\]go[^/\\]*[/\\]src[/\\])?(?:{_GO_STANDARD})[/\\].*")


def _read_go(match: re.Match[str], before: str) -> TracebackFrame:
    path = match["path"]
    if _GO_LIBRARY.fullmatch(path):
        reason = "Go's own library"
    else:
        reason = "a third-party module" if _GO_MODULE.search(path) else ""
    function = _GO_FUNCTION.fullmatch(before)
    frame = StackFrame(path, platform="go")
    return TracebackFrame(frame, int(match["line"]), function["name"] if function else "", reason)


_LANGUAGES: list[tuple[re.Pattern[str], Callable[[re.Match[str], str], TracebackFrame]]] = [
    (_PYTHON, _read_python),
    (_V8, _read_javascript),
    (_V8_NOWHERE, _read_javascript),
    (_JAVA, _read_java),
    (_GO, _read_go),
    (_AT_SIGN, _read_javascript),
]
