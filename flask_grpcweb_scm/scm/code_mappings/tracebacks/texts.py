"""Texts inside of texts: strings of JSON, escapes of loggers, colours of terminals; pure."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["clean", "json_value", "strings", "unescaped"]

SHORTEST_STRING = 8  # of a frame

# ECMA-48: control sequences, and strings such as the links of terminals. Loggers write the escape character in other
# ways, or leave it out.
_COLOUR = re.compile(
    r"(?:(?:\x1b|\\x1b|\\u001[bB]|\\033|\\e|#033|\^\[)\[|\x9b)[0-9;:?]{0,30}[A-Za-z]"
    r"|\x1b[\]P_^][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[()][A-Za-z0-9]|\[[0-9]{1,3}(?:;[0-9]{1,3}){0,9}m"
)
_HTML = re.compile(r"&(?:quot|apos|lt|gt|amp|nbsp|#\d{1,5}|#x[0-9a-fA-F]{1,4});")
# Marks of the order of bytes, and other characters without a width.
_SPACES = {0xA0: " ", 0xFEFF: None, 0x200B: None, 0x200E: None, 0x2060: None}
_JSON = frozenset('{["')
_STRINGS = {
    '"': re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)(?:"|\\?$)'),
    "'": re.compile(r"'([^'\\]*(?:\\.[^'\\]*)*)(?:'|\\?$)"),
}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


def clean(line: str) -> str:
    """Return a line without colours, and with what syslog and HTML write for single characters."""
    if "[" in line or "\x1b" in line or "\x9b" in line:
        line = _COLOUR.sub("", line)
    if "#01" in line:
        line = line.replace("#011", "\t").replace("#015", "")
    if "&" in line and line[:1] not in _JSON and _HTML.search(line):
        line = html.unescape(line)
    return (line if line.isascii() else line.translate(_SPACES)).rstrip()


def unescaped(text: str) -> str:
    """Replace the escapes of JSON and of programming languages in a text."""
    found = _ESCAPE.sub(_character, text)
    return _encodable(found) if _SURROGATE.search(text) else found


def _character(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else _LETTERS.get(match[3], match[3])


def strings(line: str, quote: str) -> Iterator[str]:
    """Yield the contents of the strings of a line; the last one may be cut off."""
    for match in _STRINGS[quote].finditer(line):
        if match.end() - match.start() < SHORTEST_STRING:
            continue
        yield unescaped(match[1]) if "\\" in match[1] else match[1]


def json_value(text: str) -> Any:
    """Return the object or list that a text is in JSON; None when it is none."""
    if text[:1] not in {"{", "["} or text[-1:] not in {"}", "]"}:
        return None
    try:
        value = json.loads(text)
        if _SURROGATE.search(text) is None:
            return value
        return json.loads(_encodable(json.dumps(value, ensure_ascii=False)))
    except (ValueError, RecursionError):
        return None


def _encodable(text: str) -> str:
    """Replace halves of surrogate pairs, which cannot be printed."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
