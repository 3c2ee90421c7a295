"""Help texts from the comments of a .proto file, which descriptors do not have."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["read_comments"]

_BLOCK = re.compile(r"(?:message|enum|service|oneof|rpc)\s+(\w+)")
_FIELD = re.compile(r"(?:[\w.]+|map<.*>)(?:\s+[\w.]+)*\s+(\w+)\s*=\s*\d+")


def read_comments(proto: str) -> Mapping[str, str]:
    """Read the comments directly above definitions, by the name of the definition and those around it.

    These are ``"Service.Method"`` and ``"Message.field"``; definitions without a comment are left out. Paragraphs are
    separated by an empty line. The file is one of ours: one definition a line, comments on lines of their own.
    """
    comments: dict[str, str] = {}
    around: list[str] = []
    above: list[str] = []
    for line in map(str.strip, proto.splitlines()):
        if line.startswith("//"):
            above.append(line[2:].strip())
            continue
        match = _BLOCK.match(line) or _FIELD.match(line)
        if match and above:
            comments[".".join([*filter(None, around), match[1]])] = "\n".join(above)
        above = []
        if line.endswith("{"):
            around.append(match[1] if match and not line.startswith("oneof") else "")
        elif line.startswith("}"):
            around.pop()
    return comments
