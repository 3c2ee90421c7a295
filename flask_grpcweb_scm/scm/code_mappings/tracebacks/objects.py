"""Frames that are objects of JSON, as error trackers and loggers write them; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask_grpcweb_scm.scm.code_mappings.frames import NOT_IN_APP, StackFrame, extension
from flask_grpcweb_scm.scm.code_mappings.tracebacks.language import TracebackFrame

__all__ = ["LISTS", "frame_of_object"]

LISTS = re.compile(
    r"(?:call_?|parsed_?|extended_?)?(?:stack|frames|trace|backtrace)s?(?:_?(?:trace|frames|lines))?|traceback",
    re.IGNORECASE,
)
"""Names of lists whose objects are frames: a place in another object is where the logger was called."""

_IN_APP = ("in_app", "inApp")
_ABSOLUTE = ("abs_path", "absPath")
_PATH = ("filename", "fileName", "file_name", "file", "path", "source", "url")
_LINE = ("lineno", "lineNo", "line", "lineNumber", "line_number", "number")
_FUNCTION = ("function", "func", "methodName", "method", "name", "label", "function_name")
_MODULE = ("module", "className", "declaringClass", "class")

_PLATFORMS = {
    extension: platform
    for platform, extensions in {
        "python": "py pyx",
        "javascript": "js jsx mjs cjs ts tsx mts cts vue svelte",
        "go": "go",
        "java": "java kt kts scala sc groovy clj cljc",
        "ruby": "rb rake",
        "php": "php",
        "rust": "rs",
        "swift": "swift",
        "csharp": "cs fs vb",
        "dart": "dart",
        "elixir": "ex exs",
        "native": "c cc cpp h hpp m mm",
    }.items()
    for extension in extensions.split()
}


def frame_of_object(fields: Mapping[str, Any]) -> TracebackFrame | None:
    """Return the frame that an object in a list of frames is; None when it is none."""
    path, absolute, module = _text(fields, _PATH), _text(fields, _ABSOLUTE), _text(fields, _MODULE)
    place = fields["line"] if isinstance(fields.get("line"), dict) else fields  # Elastic has "line": {"number": 7}
    line = re.fullmatch(r"\d{1,9}", _text(place, _LINE))
    platform = _PLATFORMS.get(extension(path or absolute).lower(), "")
    if line is None or not platform:
        return None
    function = _text(fields, _FUNCTION)
    reason = NOT_IN_APP if any(fields.get(name) is False for name in _IN_APP) else ""
    frame = StackFrame(path or absolute, "", absolute, platform)
    if platform == "java" and module and "/" not in path:
        frame = StackFrame(module=module, abs_path=path, platform=platform)
    return TracebackFrame(frame, int(line[0]), function, reason)


def _text(fields: Mapping[str, Any], names: tuple[str, ...]) -> str:
    values = (fields.get(name) for name in names)
    return next((str(value) for value in values if isinstance(value, str | int) and value != ""), "")
