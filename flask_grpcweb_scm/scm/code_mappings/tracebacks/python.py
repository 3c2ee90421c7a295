"""Frames of Python: tracebacks, pytest, IPython, Rich, faulthandler, py-spy; pure."""

from __future__ import annotations

import re

from flask_grpcweb_scm.scm.code_mappings.frames import StackFrame
from flask_grpcweb_scm.scm.code_mappings.tracebacks.language import (
    Language,
    Later,
    Row,
    Stream,
    TracebackFrame,
    matched_frame,
)

__all__ = ["PYTHON"]

# A path in front of everything else has spaces only when it is absolute: else they are of a prefix.
_FREE = r'(?!\')(?:(?:[A-Za-z]:|~|\.{1,2})?[\\/](?=[^\s/])[^:"()|]*|[^\s:"()]+)'
_PY = rf"(?P<path>{_FREE}(?<=\.py|pyx|pyw|pyi|pxd))"
_LINE = r"(?P<line>\d{1,9})"

# The place below the code of pytest's long entries has the class of the exception, that of --tb=line its text too.
# A warning is printed alike, and is no frame.
_ERROR = re.compile(r"(?:[\w.]*\.)?\w*(?:Error|Exception|Failed|Exit|Interrupt|Iteration|Timeout|timeout|Group)")


def _read_pytest(match: re.Match[str], stream: Stream) -> TracebackFrame | None:
    error, text = match["error"], match["text"]
    known = not error or _ERROR.fullmatch(error) or (stream.announced and not text)
    return matched_frame(match, "python") if known else None


def _read_file(match: re.Match[str], stream: Stream) -> TracebackFrame | None:
    """Read a frame; without a function it is the place of a syntax error, in a file that is one of Python's."""
    known = match["function"] or re.search(r"[./\\<]", match["path"])
    return matched_frame(match, "python") if known else None


def _read_cell(match: re.Match[str], stream: Stream) -> TracebackFrame:
    frame = StackFrame(match["cell"], platform="python")
    return TracebackFrame(frame, int(match.groupdict().get("line") or 0), "", "a cell of a notebook")


def _read_box(match: re.Match[str], stream: Stream) -> TracebackFrame | None:
    """Read the head of a frame in a box of Rich; a script without an extension needs the box around it."""
    known = re.search(r"\.py\w?$", match["path"]) or (match["path"][0] in "/~" and re.search("[│|]", stream.prefix))
    return matched_frame(match, "python") if known else None


def _read_py_spy(match: re.Match[str], stream: Stream) -> TracebackFrame | None:
    return matched_frame(match, "python") if stream.indented or stream.announced else None


_DJANGO_CODE = Later(re.compile(r"(?P<line>\d{1,9})\.(?: .*)?"), required=True)
_IPYTHON_ARROW = Later(re.compile(r"-+> (?P<line>\d{1,9})(?: .*)?"), within=12, required=True)

PYTHON = Language(
    "Python",
    "python",
    (
        # File "x.py", line 3, in f · faulthandler has no comma · quotes of mails and chats
        Row("File ", re.compile(rf'File ["“”«]{{1,2}}(?P<path>[^"“”«»]+)["“”»]{{1,2}}, line {_LINE}'
                                  r"(?:,? in (?P<function>[^|;]+)(?:[|;].*)?|,)?"), _read_file),
        Row("File '", re.compile(rf"File '(?P<path>[^']+)', line {_LINE}(?:,? in (?P<function>.+)|,)?"), _read_file),
        # Django's pages: the number is before the code in the next line.
        Row('File "', re.compile(r'File "(?P<path>[^"]+)" in (?P<function>.+)'), None, _DJANGO_CODE),
        # gdb with Python's own commands
        Row("for file ", re.compile(
            rf"(?:#\d+ +)?Frame 0x[0-9a-f]+, for file (?P<path>[^,]+), line {_LINE}, in (?P<function>.+)"
        )),
        # pytest: "x.py:3: in f", "x.py:3: KeyError", "x.py:3: "
        Row(": in ", re.compile(rf"{_PY}:{_LINE}: in (?P<function>.+)")),
        Row(".py", re.compile(rf"{_PY}:{_LINE}:(?: (?P<error>[A-Za-z_][\w.]*)(?P<text>: .*)?)?"), _read_pytest),
        # pytest, a fixture that is missing
        Row("file ", re.compile(rf"file {_PY}, line {_LINE}")),
        # IPython 8: "File ~/x.py:3, in f(a)", "Cell In[3], line 1"; 7: "~/x.py in f(a)", then "----> 3 code"
        Row("File ", re.compile(
            rf'File (?P<path>(?:[A-Za-z]:(?=[\\/]))?[^:"]+):{_LINE}(?:, in (?P<function>[^(]+)(?:\(.*)?)?'
        )),
        Row("In", re.compile(rf"(?P<cell>(?:Cell|Input) In ?\[\d+\])(?:, line {_LINE}|, in .*)"), _read_cell),
        Row(" in ", re.compile(r"(?P<cell><ipython-input-[^<>]*>) in .*"), _read_cell),
        Row(" in ", re.compile(rf"{_PY} in (?P<function>[\w.<>]+)(?:\(.*\))?"), None, _IPYTHON_ARROW),
        Row(" at line ", re.compile(rf"{_PY} in (?P<function>\S+) at line {_LINE}")),
        # Rich: "/x.py:3 in f"
        Row(" in ", re.compile(rf"(?P<path>{_FREE}):{_LINE} in (?P<function>\S+)"), _read_box),
        # py-spy dump: "f (x.py:3)"
        Row(".py", re.compile(rf"(?P<function>[\w.<>]+) \({_PY}:{_LINE}\)"), _read_py_spy),
    ),
    # The text of an exception in pytest, the head of a thread in py-spy
    announcement=r"E(?: {3}.*)?|(?:Thread|Process) \w.*",
)  # fmt: skip
